//! Records made by hand, so that a check can be shown each case without a run.

use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState, JobView, Line, Phase, ProcessEvent, ResultLook, Tokens, Via};
use chaos::journal::record::Record;

use super::sim;

/// A record under construction.
pub struct Script {
    pub record: Record,
    /// The journal that the record came from.
    pub lines: Vec<Line>,
    /// A long one need not remember them.
    pub keep_lines: bool,
}

pub fn view(state: JobState) -> JobView {
    JobView { attempts: Some(1), batch: Some(4), ..JobView::of(state) }
}

pub fn submitting(job: u32, t: f64, load: &str, shape: JobShape) -> Event {
    let mark = format!("chaos-{job:016x}");
    Event::Submitting { job, load: load.to_owned(), client: 0, shape, mark, intended_t: t }
}

impl Script {
    /// A run with one check, a flood at second 20, and a load called `users`.
    pub fn new(check: &str) -> Self {
        Self::from(&format!(
            "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\nfaults: [{{ flood: {{ at: 20s, jobs: 1 }} }}]\nchecks: [{check}]\n"
        ))
    }

    pub fn from(yaml: &str) -> Self {
        super::gives_way();
        let mut script = Self { record: Record::default(), lines: Vec::new(), keep_lines: true };
        let plan = Box::new(sim::plan(yaml, 1));
        script.at(
            0.0,
            Event::RunStarted {
                schema: 1,
                run_id: "r".into(),
                version: "t".into(),
                began: "2026-01-01T00:00:00Z".into(),
                overrides: vec![],
                host: "h".into(),
                plan,
            },
        );
        script.at(0.0, Event::Process { event: ProcessEvent::Started { pid: 7, generation: 1 } });
        script.at(0.0, Event::Phase { phase: Phase::Baseline });
        script
    }

    pub fn at(&mut self, t: f64, event: Event) -> &mut Self {
        let line = Line { t, event };
        self.record.apply(&line);
        if self.keep_lines {
            self.lines.push(line);
        }
        self
    }

    /// The fault begins at 20 and its cause is gone at 25.
    pub fn fault(&mut self) -> &mut Self {
        self.at(20.0, Event::FaultInjecting { fault: "flood".into(), planned_t: 20.0 });
        self.at(25.0, Event::FaultInjected { fault: "flood".into(), error: None });
        self.at(25.0, Event::FaultOver { fault: "flood".into() })
    }

    /// A job that is sent; nothing is answered yet.
    pub fn submitting(&mut self, t: f64, load: &str, shape: JobShape) -> u32 {
        let job = self.record.jobs.len() as u32;
        self.at(t, submitting(job, t, load, shape));
        job
    }

    pub fn submitted(&mut self, t: f64, answer: Answer) -> u32 {
        let job = self.submitting(t, "users", JobShape::default());
        self.at(t, Event::Answered { job, answer });
        job
    }

    /// What is read of the target.
    pub fn sample(&mut self, t: f64, name: &str, value: f64) {
        self.at(t, Event::Sample { values: [(name.to_owned(), value)].into() });
    }

    pub fn accepted(&mut self, t: f64) -> u32 {
        let id = format!("job-{}", self.record.jobs.len());
        self.submitted(t, Answer::Accepted { id })
    }

    /// A job that goes well, from `t` on.
    pub fn completed(&mut self, t: f64, seconds: f64) -> u32 {
        let job = self.accepted(t);
        self.ends(job, t + seconds, view(JobState::Completed));
        self.result(job, t + seconds, 10_000, Some(job));
        job
    }

    /// A job whose answer was streamed.
    pub fn streamed(&mut self, t: f64, count: u32, first_s: f64, gap_s: f64) -> u32 {
        let job = self.accepted(t);
        let end = t + first_s + gap_s * f64::from(count - 1);
        let tokens = Some(Tokens { count, first_s, gap_s, longest_gap_s: gap_s });
        self.ends(job, end, JobView { tokens, ..view(JobState::Completed) });
        self.result(job, end, 10_000, Some(job));
        job
    }

    pub fn ends(&mut self, job: u32, t: f64, view: JobView) -> &mut Self {
        self.at(t, Event::Ended { job, view, via: Via::Socket })
    }

    pub fn result(&mut self, job: u32, t: f64, bytes: u64, of: Option<u32>) -> &mut Self {
        let mark = of.map(|n| format!("chaos-{n:016x}"));
        let digest = of.map_or(1, |n| u64::from(n) + 100);
        self.at(
            t,
            Event::ResultSeen {
                job,
                look: ResultLook {
                    status: 200,
                    bytes,
                    digest,
                    kind: "png".into(),
                    mark,
                    other_mark: None,
                    size: None,
                    error: None,
                },
            },
        )
    }

    /// Ends the load and the run.
    pub fn end(&mut self, t: f64) -> &mut Self {
        self.at(t, Event::LoadStopped {});
        self.at(t, Event::Phase { phase: Phase::Drain });
        self.at(t, Event::RunEnded {})
    }

    /// The verdict of the one check of the script.
    pub fn verdict(&self) -> chaos::check::Verdict {
        let view = chaos::check::View::of(&self.record);
        let all = chaos::check::judge_all(&view);
        all.into_iter().find(|(_, kind, _)| kind != "fault_proven").expect("the script has a check").2
    }
}
