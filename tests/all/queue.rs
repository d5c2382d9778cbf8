//! The queue of a target that tells none, or tells one that its own jobs contradict.

use std::sync::Arc;

use chaos::check::Ruling::{self, Failed, Inconclusive, Passed, Pending};
use chaos::check::{Verdict, View};
use chaos::driver::AnswerIs;
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState};

use crate::common::script::{Script, submitting, view};

/// What happens, in any order; a script takes it in the order of time.
#[derive(Default, Clone)]
struct Story {
    events: Vec<(f64, Event)>,
    jobs: u32,
    /// 25 s, where nothing else is said.
    fault_over_t: Option<f64>,
    goes_on: bool,
}

impl Story {
    fn job(&mut self, sent_t: f64) -> u32 {
        self.job_of("users", JobShape::default(), sent_t)
    }

    fn job_of(&mut self, load: &str, shape: JobShape, sent_t: f64) -> u32 {
        self.jobs += 1;
        let job = self.jobs - 1;
        self.events.push((sent_t, submitting(job, sent_t, load, shape)));
        job
    }

    /// Sent, and answered with the result.
    fn synchronous(&mut self, sent_t: f64, answered_t: Option<f64>) {
        let job = self.job(sent_t);
        if let Some(t) = answered_t {
            self.answered(job, t);
        }
    }

    fn answered(&mut self, job: u32, t: f64) {
        self.events.push((t, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
        self.ends(job, t);
    }

    fn ends(&mut self, job: u32, t: f64) {
        self.events.push((t, Event::Ended { job, view: view(JobState::Completed), via: chaos::journal::event::Via::Poll }));
    }

    /// Accepted, seen waiting, seen running, and ended a second later.
    fn asynchronous(&mut self, sent_t: f64, running_t: f64) {
        let job = self.job(sent_t);
        self.events.push((sent_t, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
        self.events.push((sent_t + 0.1, Event::Progress { job, view: view(JobState::Queued) }));
        self.events.push((running_t, Event::Progress { job, view: view(JobState::Running) }));
        self.ends(job, running_t + 1.0);
    }

    fn gauge(&mut self, t: f64, depth: f64) {
        self.events.push((t, Event::Sample { values: [("queue.depth".to_owned(), depth)].into() }));
    }

    fn told(self, check: &str, answer: AnswerIs, end: f64) -> Script {
        let mut script = Script::new(check);
        Arc::make_mut(script.record.plan.as_mut().unwrap()).driver.submit.answer = answer;
        self.take_place(script, end)
    }

    /// Of a target whose figures are read so seldom.
    fn sampled(self, check: &str, every_s: f64, end: f64) -> Script {
        let mut script = Script::new(check);
        Arc::make_mut(script.record.plan.as_mut().unwrap()).sample_every_s = every_s;
        self.take_place(script, end)
    }

    fn take_place(mut self, mut script: Script, end: f64) -> Script {
        let fault = || "flood".to_owned();
        self.events.push((20.0, Event::FaultInjecting { fault: fault(), planned_t: 20.0 }));
        let over_t = self.fault_over_t.unwrap_or(25.0);
        self.events.push((over_t, Event::FaultInjected { fault: fault(), error: None }));
        self.events.push((over_t, Event::FaultOver { fault: fault() }));
        self.events.retain(|(t, _)| *t <= end);
        self.events.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Jobs are numbered as they are sent.
        let mut numbers = std::collections::HashMap::new();
        for (_, event) in &mut self.events {
            if let Event::Submitting { job, .. } = event {
                let next = numbers.len() as u32;
                numbers.insert(*job, next);
            }
            match event {
                Event::Submitting { job, .. }
                | Event::Answered { job, .. }
                | Event::Progress { job, .. }
                | Event::Ended { job, .. } => *job = numbers[job],
                _ => {}
            }
        }
        for (t, event) in self.events {
            script.at(t, event);
        }
        if !self.goes_on {
            script.end(end);
        }
        script
    }
}

fn contradicts(script: &Script) -> bool {
    chaos::report::findings::of(&View::of(&script.record)).iter().any(|line| line.contains("contradict each other"))
}

/// Two users whose jobs take a second each, and a flood of twelve that is worked off, one a second, from `worked_off_t` on.
fn flooded(flood: usize, worked_off_t: f64, end: f64) -> Story {
    let mut story = Story::default();
    for i in 0..(end as u32) {
        let t = f64::from(i);
        story.synchronous(t + 0.02, Some(t + 0.98));
        story.synchronous(t + 0.52, Some(t + 1.48));
    }
    (0..flood).for_each(|i| story.synchronous(20.1, Some(worked_off_t + i as f64)));
    story
}

fn synchronous(check: &str, flood: usize, worked_off_t: f64, end: f64) -> Verdict {
    flooded(flood, worked_off_t, end).told(check, AnswerIs::Result, end).verdict()
}

const DRAINS: &str = "queue_drains: { within: 20s }";

#[test]
fn a_queue_of_whoever_answers_with_the_result_is_who_waits_longer_than_a_job_takes() {
    let passed = synchronous(DRAINS, 12, 21.0, 90.0);
    assert_eq!(passed.ruling, Passed, "{passed:?}");
    assert!(passed.evidence.iter().any(|line| line.contains("1.5 times as long as the longest job")), "{passed:?}");
    let late = synchronous(DRAINS, 12, 60.0, 90.0);
    assert_eq!(late.ruling, Failed, "{late:?}");
    let never = synchronous(DRAINS, 12, 200.0, 90.0);
    assert!(never.ruling == Failed && never.observed.contains("12 jobs still wait"), "{never:?}");
    let short = synchronous(DRAINS, 12, 60.0, 40.0);
    assert_eq!(short.ruling, Inconclusive, "{short:?}");
    let calm = synchronous(DRAINS, 0, 21.0, 90.0);
    assert!(calm.ruling == Inconclusive && calm.observed.contains("nothing to drain"), "{calm:?}");
}

/// What only warms up or watches takes its own time, and so does whatever the baseline began with, when it began late.
#[test]
fn the_measure_is_of_the_second_half_of_the_baseline_and_of_its_load() {
    let slow = |load: &str, sent_t: f64, begins_t: f64| {
        let mut story = flooded(0, 0.0, 90.0);
        let job = story.job_of(load, JobShape::default(), sent_t);
        story.answered(job, sent_t + 4.0);
        (0..12).for_each(|_| story.synchronous(20.1, Some(24.5)));
        story.fault_over_t = Some(20.3);
        let mut script = story.told("queue_drains: { within: 2s }", AnswerIs::Result, 90.0);
        script.record.phases[0].0 = begins_t;
        script.verdict()
    };
    for (load, sent_t, begins_t) in [("users", 10.5, 10.0), ("canary", 14.0, 0.0), ("warm-up", 12.0, 0.0)] {
        let verdict = slow(load, sent_t, begins_t);
        assert!(verdict.ruling == Failed && verdict.observed.contains("drained only 3.24 s"), "{load}: {verdict:?}");
    }
    let usual = slow("users", 14.0, 0.0);
    assert_eq!(usual.ruling, Inconclusive, "four seconds are usual there: {usual:?}");
}

/// To read ten times the words and to write ten times the words takes ten times as long, not a hundred.
#[test]
fn a_long_prompt_and_a_long_answer_are_one_after_the_other() {
    let of = |words: u32| JobShape { tokens: words, prompt: words, ..JobShape::default() };
    let mut story = Story { fault_over_t: Some(20.3), ..Story::default() };
    for i in 0..90 {
        let job = story.job_of("users", of(10), f64::from(i));
        story.answered(job, f64::from(i) + 0.9);
    }
    for _ in 0..12 {
        let job = story.job_of("flood", of(100), 20.1);
        story.answered(job, 60.0);
    }
    let verdict = story.told(DRAINS, AnswerIs::Result, 90.0).verdict();
    assert_eq!(verdict.ruling, Failed, "{verdict:?}");
}

/// More users than in the baseline, each of them served at once: nobody waits.
#[test]
fn more_at_once_than_before_is_no_queue_by_itself() {
    let mut ramp = flooded(0, 0.0, 90.0);
    for i in 25..90 {
        (0..18).for_each(|_| ramp.synchronous(f64::from(i) + 0.01, Some(f64::from(i) + 0.97)));
    }
    for check in [DRAINS, "backpressure_is_honest: {}"] {
        let ramp = ramp.clone().told(check, AnswerIs::Result, 90.0);
        assert_eq!(ramp.verdict().ruling, Inconclusive, "{check}: {:?}", ramp.verdict());
    }
}

#[test]
fn whoever_answers_nobody_any_more_has_not_drained() {
    let mut dead = Story::default();
    (0..20).for_each(|i| dead.synchronous(f64::from(i), Some(f64::from(i) + 0.9)));
    for i in 0..70 {
        let t = if i < 12 { 20.1 } else { 13.0 + f64::from(i) };
        let job = dead.job(t);
        let answer = Answer::NoAnswer { reason: "connection reset".into() };
        dead.events.push((if i < 12 { 24.0 } else { t + 0.01 }, Event::Answered { job, answer }));
    }
    let verdict = dead.told(DRAINS, AnswerIs::Result, 90.0).verdict();
    assert!(verdict.ruling == Inconclusive && verdict.observed.contains("is anybody there"), "{verdict:?}");
    // What a driver makes of a connection that breaks while the result is awaited: a job that was taken, and failed.
    let mut killed = Story::default();
    (0..20).for_each(|i| killed.synchronous(f64::from(i), Some(f64::from(i) + 0.9)));
    for i in 0..40 {
        let (sent_t, ended_t) = if i < 12 { (20.1, 28.0) } else { (20.0 + f64::from(i), 20.01 + f64::from(i)) };
        let job = killed.job(sent_t);
        killed.events.push((ended_t, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
        let via = chaos::journal::event::Via::Answer;
        killed.events.push((ended_t, Event::Ended { job, view: view(JobState::Failed), via }));
    }
    let verdict = killed.told(DRAINS, AnswerIs::Result, 90.0).verdict();
    assert!(verdict.ruling == Inconclusive && verdict.observed.contains("is anybody there"), "{verdict:?}");
    // And one that had answered nobody before the fault shows nothing that a wait could be held against.
    let mut cold = Story::default();
    (0..12).for_each(|i| cold.synchronous(15.0, Some(60.0 + f64::from(i))));
    let verdict = cold.told(DRAINS, AnswerIs::Result, 90.0).verdict();
    assert!(verdict.ruling == Inconclusive && verdict.observed.contains("second half of the baseline"), "{verdict:?}");
}

#[test]
fn how_many_of_them_wait_is_known_only_where_they_are_few() {
    let of = |below: u32, flood| synchronous(&format!("queue_depth: {{ below: {below} }}"), flood, 21.0, 90.0);
    assert_eq!(of(30, 12).ruling, Passed, "{:?}", of(30, 12));
    let unknown = of(5, 12);
    assert_eq!(unknown.ruling, Inconclusive, "{unknown:?}");
    assert!(unknown.evidence.iter().any(|line| line.contains("a `queue` in the driver")), "{unknown:?}");
}

#[test]
fn who_waits_longer_than_a_job_takes_is_pressure() {
    let of = |flood| synchronous("backpressure_is_honest: {}", flood, 21.0, 90.0);
    let flooded = of(12);
    assert!(flooded.ruling == Passed && flooded.observed.contains("at most 11 waited"), "{flooded:?}");
    assert_eq!(of(0).ruling, Inconclusive, "{:?}", of(0));
}

/// Headers that come with the first token, after a moment in which the prompt is read: whoever is read to does not wait.
#[test]
fn a_stream_that_has_begun_does_not_wait() {
    let judged = |begins_after: f64| {
        let mut story = Story::default();
        let mut streamed = |sent_t: f64, begun_t: f64| {
            let job = story.job(sent_t);
            story.events.push((begun_t, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
            story.events.push((begun_t, Event::Progress { job, view: view(JobState::Running) }));
            story.ends(job, begun_t + 3.0);
        };
        (0..85).for_each(|i| streamed(f64::from(i), f64::from(i) + 0.9));
        (0..12).for_each(|i| streamed(20.1, 20.1 + begins_after * f64::from(i)));
        story.told(DRAINS, AnswerIs::Stream, 90.0).verdict()
    };
    assert_eq!(judged(1.0).ruling, Passed, "{:?}", judged(1.0));
    assert_eq!(judged(6.0).ruling, Failed, "{:?}", judged(6.0));
}

/// States that say `pending` until the job is done: two users at a server for one have somebody waiting all the time, or running.
#[test]
fn jobs_that_never_say_that_they_run_wait_when_they_take_longer_than_before() {
    let judged = |check: &str, flood_ends: f64| {
        let mut story = Story::default();
        let mut pending = |sent_t: f64, ended_t: f64| {
            let job = story.job(sent_t);
            story.events.push((sent_t, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
            story.events.push((sent_t + 0.1, Event::Progress { job, view: view(JobState::Queued) }));
            story.ends(job, ended_t);
        };
        for i in 0..85 {
            let t = f64::from(i);
            pending(t, t + 0.9);
            pending(t + 0.45, t + 1.4);
        }
        (0..8).for_each(|i| pending(20.1, 21.0 + flood_ends * f64::from(i)));
        story.told(check, AnswerIs::Acceptance, 90.0).verdict()
    };
    assert_eq!(judged(DRAINS, 1.0).ruling, Passed, "{:?}", judged(DRAINS, 1.0));
    assert_eq!(judged(DRAINS, 9.0).ruling, Failed, "{:?}", judged(DRAINS, 9.0));
    let pressure = judged("backpressure_is_honest: {}", 1.0);
    assert_eq!(pressure.ruling, Passed, "{pressure:?}");
}

/// Nobody who was just sent has waited for long: whether the queue drains shows only later.
#[test]
fn a_queue_is_not_empty_because_its_jobs_are_young() {
    let burst = |worked_off: bool, goes_on: bool, end: f64| {
        let mut story = Story { fault_over_t: Some(20.3), goes_on, ..Story::default() };
        (5..7).for_each(|t| story.synchronous(f64::from(t), Some(f64::from(t) + 9.0)));
        (0..8).for_each(|i| story.synchronous(20.1, worked_off.then(|| 25.0 + 2.0 * f64::from(i))));
        (0..30).for_each(|i| story.synchronous(45.0 + f64::from(i), Some(54.0 + f64::from(i))));
        story.told(DRAINS, AnswerIs::Result, end)
    };
    let live = burst(false, true, 21.0);
    assert_eq!(live.verdict().ruling, Pending, "{:?}", live.verdict());
    let stuck = burst(false, false, 200.0).verdict();
    assert_eq!(stuck.ruling, Failed, "{stuck:?}");
    let drained = burst(true, false, 200.0).verdict();
    assert_eq!(drained.ruling, Passed, "{drained:?}");
}

/// Sixty jobs wait from second 21 on, and one a second is begun from second 30 on. `told` is what the gauge makes of a depth.
fn told(check: &str, told: impl Fn(f64) -> f64, late_s: f64) -> Script {
    let mut story = Story::default();
    (0..19).for_each(|t| story.asynchronous(f64::from(t), f64::from(t) + 0.3));
    story.gauge(0.5, 0.0);
    story.gauge(21.0 + late_s, told(60.0));
    for i in 0..60 {
        let begun_t = 30.0 + f64::from(i);
        story.asynchronous(21.0, begun_t);
        story.gauge(begun_t + late_s, told(59.0 - f64::from(i)));
    }
    story.told(check, AnswerIs::Acceptance, 200.0)
}

#[test]
fn a_gauge_that_its_own_jobs_contradict_decides_nothing_by_being_low() {
    let page = |depth: f64| depth.min(20.0);
    let judged = |check: &str, seen: &dyn Fn(f64) -> f64| told(check, seen, 0.0).verdict();
    let cut = told("queue_depth: { below: 30 }", page, 0.0);
    assert_eq!(cut.verdict().ruling, Inconclusive, "{:?}", cut.verdict());
    assert!(cut.verdict().observed.contains("the target told a queue of 20"), "{:?}", cut.verdict());
    assert!(contradicts(&cut));
    // The limit is kept by both, or by neither.
    assert_eq!(judged("queue_depth: { below: 70 }", &page).ruling, Passed);
    assert_eq!(judged("queue_depth: { below: 10 }", &page).ruling, Failed);
    // A gauge that shows one of three is empty when twenty still wait.
    let third = |depth: f64| (depth / 3.0 - 10.0).max(0.0);
    let drains = judged("queue_drains: { within: 40s, hold: 5s }", &third);
    assert_eq!(drains.ruling, Inconclusive, "{drains:?}");
    // Both are empty in time: how they differed before is a finding.
    let both = told("queue_drains: { within: 70s, hold: 5s }", third, 0.0);
    assert_eq!((both.verdict().ruling, contradicts(&both)), (Passed, true), "{:?}", both.verdict());
}

#[test]
fn what_time_or_a_few_that_were_taken_in_advance_explain_is_no_contradiction() {
    let rules = |seen: &dyn Fn(f64) -> f64, late_s| {
        let script = told("queue_depth: { below: 70 }", seen, late_s);
        (script.verdict().ruling, contradicts(&script))
    };
    let fine: (Ruling, bool) = (Passed, false);
    assert_eq!(rules(&|depth| depth, 0.0), fine, "the truth");
    assert_eq!(rules(&|depth| depth, 4.0), fine, "told four seconds late");
    assert_eq!(rules(&|depth| (depth - 3.0).max(0.0), 0.0), fine, "three are with the workers");
    assert!(!rules(&|depth| depth + 40.0, 0.0).1, "others have jobs there, too");
    // Begun at once, ten a second, and seen to run when they are asked about.
    let mut late = Story::default();
    late.gauge(0.5, 0.0);
    late.gauge(10.0, 1.0);
    (0..600).for_each(|i| late.asynchronous(21.0 + f64::from(i) / 10.0, 23.5 + f64::from(i) / 10.0));
    assert!(!contradicts(&late.told("queue_depth: { below: 70 }", AnswerIs::Acceptance, 200.0)));
    // A figure that is read every 30 s.
    let mut seldom = Story::default();
    (0..19).for_each(|t| seldom.asynchronous(f64::from(t), f64::from(t) + 0.3));
    (0..60).for_each(|i| seldom.asynchronous(45.0, 80.0 + f64::from(i)));
    [(0.5, 0.0), (10.0, 1.0), (40.0, 0.0), (70.0, 60.0), (100.0, 40.0), (130.0, 10.0), (160.0, 0.0)]
        .iter()
        .for_each(|(t, depth)| seldom.gauge(*t, *depth));
    let seldom = seldom.sampled("queue_depth: { below: 70 }", 30.0, 200.0);
    assert!(!contradicts(&seldom));
    // Jobs of which nobody is told whether they run.
    let mut story = Story::default();
    (0..60).for_each(|_| {
        let job = story.job(21.0);
        story.events.push((21.0, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
        story.events.push((21.1, Event::Progress { job, view: view(JobState::Queued) }));
        story.ends(job, 80.0);
    });
    [(0.5, 0.0), (22.0, 1.0), (90.0, 0.0)].iter().for_each(|(t, depth)| story.gauge(*t, *depth));
    assert!(!contradicts(&story.told("queue_depth: { below: 70 }", AnswerIs::Acceptance, 200.0)));
    // Some that say so, and others that only say that they are done.
    let mut quiet = Story::default();
    quiet.gauge(0.5, 0.0);
    quiet.gauge(10.0, 1.0);
    quiet.asynchronous(11.0, 11.5);
    for i in 0..40 {
        let job = quiet.job(21.0);
        quiet.events.push((21.0, Event::Answered { job, answer: Answer::Accepted { id: format!("j{job}") } }));
        quiet.events.push((21.1, Event::Progress { job, view: view(JobState::Queued) }));
        quiet.ends(job, 60.0 + f64::from(i));
    }
    assert!(!contradicts(&quiet.told("queue_depth: { below: 70 }", AnswerIs::Acceptance, 200.0)));
    // A figure that could not be read is none of that moment.
    let mut dark = Story::default();
    (0..19).for_each(|t| dark.asynchronous(f64::from(t), f64::from(t) + 0.3));
    (0..60).for_each(|i| dark.asynchronous(21.0, 30.0 + f64::from(i)));
    dark.gauge(0.5, 0.0);
    dark.gauge(10.0, 1.0);
    dark.events.push((20.5, Event::Sample { values: [("unread:queue.depth".to_owned(), 1.0)].into() }));
    assert!(!contradicts(&dark.told("queue_depth: { below: 70 }", AnswerIs::Acceptance, 200.0)));
}

fn ruling_of(script: &Script) -> Ruling {
    script.verdict().ruling
}

#[test]
fn a_gauge_says_when_the_queue_has_drained() {
    let check = "queue_drains: { within: 10s }";
    let gauge = |points: &[(f64, f64)], end: f64| {
        let mut script = Script::new(check);
        script.sample(1.0, "queue.depth", 0.0);
        script.fault();
        points.iter().for_each(|(t, v)| script.sample(*t, "queue.depth", *v));
        script.end(end);
        script
    };
    assert_eq!(ruling_of(&gauge(&[(22.0, 9.0), (30.0, 0.0)], 40.0)), Passed);
    assert_eq!(ruling_of(&gauge(&[(22.0, 9.0), (38.0, 0.0)], 60.0)), Failed, "too late");
    assert_eq!(ruling_of(&gauge(&[(22.0, 9.0)], 60.0)), Failed, "never");
    assert_eq!(ruling_of(&gauge(&[(22.0, 9.0), (30.0, 0.0), (30.2, 4.0)], 60.0)), Failed, "a dip is no drain");
    assert_eq!(ruling_of(&gauge(&[], 60.0)), Inconclusive, "nothing ever waited");
    let mut frozen = Script::new(check);
    frozen.sample(1.0, "queue.depth", 0.0);
    frozen.fault();
    let job = frozen.accepted(22.0);
    frozen.ends(job, 28.0, view(JobState::Completed)).end(60.0);
    assert_eq!(ruling_of(&frozen), Inconclusive, "the gauge stood still while a job waited");
    let mut derived = Script::new(check);
    derived.fault();
    let job = derived.accepted(22.0);
    derived.at(27.0, Event::Progress { job, view: view(JobState::Running) });
    derived.ends(job, 28.0, view(JobState::Completed)).end(60.0);
    assert_eq!(ruling_of(&derived), Passed, "without a gauge the ledger tells: {:?}", derived.verdict());
    // Two users at a server for one: somebody waits all the time, with and without a fault. Nine who still wait are more.
    let busy = |after: f64| {
        let mut script = Script::new(check);
        (0..40).for_each(|i| script.sample(f64::from(i) / 2.0, "queue.depth", 1.0 + f64::from(i % 2)));
        script.fault();
        [(22.0, 9.0), (30.0, after), (30.5, 1.0_f64.max(after - 1.0))]
            .iter()
            .for_each(|(t, v)| script.sample(*t, "queue.depth", *v));
        script.end(60.0);
        script
    };
    assert_eq!(ruling_of(&busy(2.0)), Inconclusive, "{:?}", busy(2.0).verdict());
    assert!(busy(2.0).verdict().observed.contains("the load itself keeps the queue"), "{:?}", busy(2.0).verdict());
    assert_eq!(ruling_of(&busy(9.0)), Failed, "{:?}", busy(9.0).verdict());
}
