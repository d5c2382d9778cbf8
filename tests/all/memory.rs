//! What a level of GPU memory means: lost, kept by an allocator for later jobs, or at its limit.

use crate::common::script::{Script, view};
use crate::common::sim::{self, Sabotage};
use chaos::check::Ruling::{self, Failed, Inconclusive, Passed};
use chaos::check::Verdict;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent};

const GIB: f64 = (1u64 << 30) as f64;

fn sample(script: &mut Script, t: f64, values: &[(&str, f64)]) {
    script.at(t, Event::Sample { values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() });
}

/// A job at work from `from` to `to`, with the gauge as it is before, while it works, and after it.
struct Work {
    size: u32,
    gauge: [f64; 3],
    state: JobState,
    load: &'static str,
}

impl Work {
    fn carry_out(&self, s: &mut Script, from: f64, to: f64) {
        let shape = chaos::experiment::JobShape { width: self.size, height: self.size, ..Default::default() };
        let job = s.submitting(from, self.load, shape);
        s.at(from, Event::Answered { job, answer: chaos::journal::event::Answer::Accepted { id: format!("job-{job}") } });
        sample(s, from, &[("queue.running", 0.0), ("gpu.memory_used_bytes", self.gauge[0] * GIB)]);
        s.at(from + 0.1, Event::Progress { job, view: view(JobState::Running) });
        sample(s, from + 0.1, &[("queue.running", 1.0), ("gpu.memory_used_bytes", self.gauge[1] * GIB)]);
        let error = (self.state == JobState::Failed).then(|| "CUDA out of memory. Tried to allocate".to_owned());
        s.ends(job, to, chaos::journal::event::JobView { error, ..view(self.state) });
        if self.state == JobState::Completed {
            s.result(job, to, 10_000, Some(job));
        }
        sample(s, to, &[("queue.running", 0.0), ("gpu.memory_used_bytes", self.gauge[2] * GIB)]);
    }
}

/// One usual job before, one large one that runs out of memory at 20 s, and what follows: each 10 s long.
fn after(check: &str, later: &[Work]) -> Verdict {
    let mut s = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nsample_every: 500ms\nload: [{{ name: users, users: 1 }}]\nfaults: [{{ flood: {{ at: 60s, jobs: 1 }} }}, {{ flood: {{ name: probe, at: 140s, jobs: 1 }} }}]\nchecks: [{check}]\n"
    ));
    sample(&mut s, 0.1, &[("gpu.memory_total_bytes", 24.0 * GIB)]);
    let usual = |gauge: [f64; 3]| Work { size: 512, gauge, state: JobState::Completed, load: "users" };
    for at in 0..3 {
        usual([6.0, 8.0, 6.0]).carry_out(&mut s, 1.0 + f64::from(at) * 15.0, 11.0 + f64::from(at) * 15.0);
    }
    s.at(60.0, Event::FaultInjecting { fault: "flood".into(), planned_t: 60.0 });
    let large = Work { size: 1024, gauge: [6.0, 24.0, later[0].gauge[0]], state: JobState::Failed, load: "flood" };
    large.carry_out(&mut s, 60.0, 70.0);
    s.at(70.0, Event::FaultInjecting { fault: "probe".into(), planned_t: 70.0 });
    for fault in ["flood", "probe"] {
        s.at(70.0, Event::FaultInjected { fault: fault.into(), error: None });
        s.at(70.0, Event::FaultOver { fault: fault.into() });
    }
    for (at, work) in later.iter().enumerate() {
        work.carry_out(&mut s, 80.0 + 15.0 * at as f64, 90.0 + 15.0 * at as f64);
    }
    s.end(80.0 + 15.0 * later.len() as f64);
    s.verdict()
}

fn usual(gauge: [f64; 3]) -> Work {
    Work { size: 512, gauge, state: JobState::Completed, load: "users" }
}

const OUTCOME: &str = "oom_outcome: { allow: [failed] }";

#[test]
fn back_is_back() {
    let back = || [usual([6.0, 8.0, 6.0]), usual([6.0, 8.0, 6.0])];
    assert_eq!(after(OUTCOME, &back()).ruling, Passed);
}

/// 24 GiB stay with an allocator, and a job of the size that failed works in them.
#[test]
fn what_later_jobs_can_use_is_no_leak() {
    let kept = || usual([22.0, 22.0, 22.0]);
    let probe = |gauge: [f64; 3], state| Work { size: 1024, gauge, state, load: "probe" };
    let reused = after(OUTCOME, &[kept(), probe([22.0, 22.0, 22.0], JobState::Completed), kept()]);
    assert_eq!(reused.ruling, Passed, "{reused:?}");
    assert!(reused.evidence.iter().any(|e| e.contains("worked in it")), "{reused:?}");
    // The same gauge without such a job: nobody knows.
    let unknown = after(OUTCOME, &[kept(), kept(), kept()]);
    assert_eq!(unknown.ruling, Inconclusive, "{unknown:?}");
    assert!(unknown.evidence.iter().any(|e| e.contains("memory_reusable")), "it says what would show it: {unknown:?}");
    // It could not.
    let starved = after(OUTCOME, &[kept(), probe([22.0, 22.0, 22.0], JobState::Failed), kept()]);
    assert_eq!(starved.ruling, Failed, "{starved:?}");
    assert!(starved.observed.contains("did not come back"), "{starved:?}");
    // It took new memory beside what was kept.
    let beside =
        after(OUTCOME, &[usual([12.0, 12.0, 12.0]), probe([12.0, 18.0, 12.0], JobState::Completed), usual([12.0, 12.0, 12.0])]);
    assert_eq!(beside.ruling, Failed, "{beside:?}");
}

/// Memory that is lost while jobs go on taking and giving back their own, as a driver does without an allocator between.
#[test]
fn what_jobs_take_anew_beside_it_is_a_leak() {
    let lost = after(OUTCOME, &[usual([14.0, 16.0, 14.0]), usual([14.0, 16.0, 14.0]), usual([14.0, 16.0, 14.0])]);
    assert_eq!(lost.ruling, Failed, "{lost:?}");
    assert!(lost.evidence.iter().any(|e| e.contains("take new memory")), "{lost:?}");
}

/// PyTorch with a CUDA stream for each job: the gauge saws between a quarter and all of the device, whatever is held.
#[test]
fn a_gauge_that_varies_by_itself_decides_nothing() {
    let saw = |at: f64| Work {
        size: 512,
        gauge: [17.0 + at, 20.0 + 3.0 * at, 18.0 + 2.0 * at],
        state: JobState::Completed,
        load: "users",
    };
    let verdict = after(OUTCOME, &[saw(0.0), saw(1.0), saw(-3.0), saw(1.3), saw(-2.0)]);
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    assert!(verdict.evidence.iter().any(|e| e.contains("varies by")), "{verdict:?}");
}

/// A usual job, smaller than the one that failed, runs out of memory although nothing else is there.
#[test]
fn a_usual_job_that_starves_afterwards_shows_that_it_is_kept() {
    let starved = Work { size: 512, gauge: [23.0, 23.0, 23.0], state: JobState::Failed, load: "users" };
    let verdict = after(OUTCOME, &[usual([23.0, 23.0, 23.0]), starved, usual([23.0, 23.0, 23.0])]);
    assert_eq!(verdict.ruling, Failed, "{verdict:?}");
}

/// What the allocator itself says counts.
#[test]
fn reusable_memory_is_not_held() {
    let mut s = Script::new(OUTCOME);
    sample(&mut s, 0.5, &[("gpu.memory_total_bytes", 24.0 * GIB), ("queue.running", 1.0), ("gpu.memory_used_bytes", 7.0 * GIB)]);
    s.completed(1.0, 1.0);
    s.fault();
    let job = s.accepted(21.0);
    let error = Some("CUDA out of memory. Tried to allocate".to_owned());
    s.ends(job, 30.0, chaos::journal::event::JobView { error, ..view(JobState::Failed) });
    sample(&mut s, 31.0, &[("gpu.memory_used_bytes", 23.0 * GIB), ("gpu.memory_reusable_bytes", 16.0 * GIB)]);
    s.completed(32.0, 1.0);
    s.end(90.0);
    assert_eq!(s.verdict().ruling, Passed, "{:?}", s.verdict());
}

/// After a restart: a worker that stayed behind, and an allocator that keeps what the backlog took.
#[test]
fn a_restart_that_leaves_memory_behind() {
    let after = |gauge: [f64; 3]| {
        let mut s = Script::from(
            "version: 1\nname: script\ntarget: { url: embedded }\nsample_every: 500ms\nload: [{ name: users, users: 1 }]\nfaults: [{ restart: { at: 60s } }]\nchecks: [{ restarts_cleanly: {} }]\n",
        );
        sample(&mut s, 0.1, &[("gpu.memory_total_bytes", 24.0 * GIB)]);
        s.at(0.2, Event::Process { event: ProcessEvent::Ready { generation: 1, after_s: 0.2 } });
        for at in 0..3 {
            // The most that the first process ever used is 12 GiB.
            usual([6.0, if at == 0 { 12.0 } else { 8.0 }, 6.0]).carry_out(
                &mut s,
                1.0 + f64::from(at) * 15.0,
                11.0 + f64::from(at) * 15.0,
            );
        }
        s.at(60.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 60.0 });
        let exited = ProcessEvent::Exited { generation: 1, status: "code 0".into(), asked: true, elsewhere: false };
        s.at(61.0, Event::Process { event: exited });
        s.at(62.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
        s.at(62.2, Event::Process { event: ProcessEvent::Ready { generation: 2, after_s: 0.2 } });
        s.at(63.0, Event::FaultInjected { fault: "restart".into(), error: None });
        s.at(63.0, Event::FaultOver { fault: "restart".into() });
        for at in 0..4 {
            usual(gauge).carry_out(&mut s, 70.0 + f64::from(at) * 15.0, 80.0 + f64::from(at) * 15.0);
        }
        s.end(130.0);
        s.verdict()
    };
    assert_eq!(after([6.0, 8.0, 6.0]).ruling, Passed, "{:?}", after([6.0, 8.0, 6.0]));
    assert_eq!(after([12.0, 14.0, 12.0]).ruling, Failed, "jobs take memory beside it");
    assert_eq!(after([20.0, 20.0, 20.0]).ruling, Failed, "more than was ever used");
    let kept = after([12.0, 12.0, 12.0]);
    assert_eq!(kept.ruling, Inconclusive, "{kept:?}");
}

/// A gauge of 24 GiB over eight hours, sampled each ten seconds; `starved`: from when on usual jobs run out of memory.
fn grown(gauge: impl Fn(f64) -> f64, starved: Option<f64>) -> Verdict {
    let mut s = Script::from(
        "version: 1\nname: script\ntarget: { url: embedded }\nsample_every: 10s\nduration: 8h\nload: [{ name: users, users: 1 }]\nchecks: [{ memory_growth: { series: gpu.memory_used_bytes, per_hour: 5% } }]\n",
    );
    let hours = |h: f64| h * 3600.0;
    sample(&mut s, 0.1, &[("gpu.memory_total_bytes", 24.0 * GIB), ("queue.running", 1.0)]);
    for at in 0..2880 {
        let t = 1.0 + f64::from(at) * 10.0;
        let wave = 0.05 * (f64::from(at) * 0.7).sin();
        sample(&mut s, t, &[("gpu.memory_used_bytes", (gauge(t / hours(1.0)) + wave) * GIB)]);
        if at % 12 == 0 {
            let job = s.accepted(t);
            if starved.is_some_and(|from| t >= hours(from)) {
                let error = Some("CUDA out of memory. Tried to allocate".to_owned());
                s.ends(job, t + 8.0, chaos::journal::event::JobView { error, ..view(JobState::Failed) });
            } else {
                s.ends(job, t + 8.0, view(JobState::Completed)).result(job, t + 8.0, 10_000, Some(job));
            }
        }
    }
    s.end(hours(8.0));
    s.verdict()
}

fn is(verdict: &Verdict, ruling: Ruling, says: &str) {
    let told = format!("{} {:?}", verdict.observed, verdict.evidence);
    assert!(verdict.ruling == ruling && told.contains(says), "expected {ruling:?} and {says:?}: {verdict:#?}");
}

#[test]
fn what_is_full_is_not_flat() {
    // A leak that fills the device within two hours, and jobs that run out of memory from then on.
    let leak = |h: f64| (8.0 + 8.0 * h).min(23.1);
    is(&grown(leak, Some(1.9)), Failed, "ran out of memory");
    // The same gauge, where jobs still find room: an allocator's warm-up has this shape too.
    is(&grown(leak, None), Inconclusive, "at its limit, 24.0 GiB");
    // It grows for most of the run.
    is(&grown(|h| (8.0 + 2.5 * h).min(23.1), None), Failed, "");
    // Full from the start, as an engine that takes it all at once.
    is(&grown(|_| 23.3, None), Inconclusive, "at its limit");
    // Not the device's limit, but no room for a job either.
    is(&grown(|h| (8.0 + 8.0 * h).min(20.0), Some(1.5)), Failed, "ran out of memory");
    // Its allocator touches the limit early, and saws until the leak has taken all of it.
    let sawing = |h: f64| if h < 2.5 { (10.0 + 4.0 * h + 13.0 * (h * 7.0).fract()).min(23.3) } else { 23.3 };
    is(&grown(sawing, Some(2.6)), Failed, "ran out of memory");
    // Room enough: flat is flat, whatever it was before.
    is(&grown(|h| (8.0 + 8.0 * h).min(21.6), None), Passed, "");
    is(&grown(|_| 21.6, None), Passed, "");
}

/// The limit of a container is one too.
#[test]
fn a_containers_limit_is_a_ceiling() {
    let grown = |limit: f64| {
        let mut s = Script::from(
            "version: 1\nname: script\ntarget: { url: embedded }\nsample_every: 10s\nduration: 4h\nload: [{ name: users, users: 1 }]\nchecks: [{ memory_growth: { series: container.memory_bytes, per_hour: 5% } }]\n",
        );
        for at in 0..1440 {
            let t = 1.0 + f64::from(at) * 10.0;
            let bytes = (1.0 + t / 3600.0 * 4.0).min(3.9) + 0.01 * (f64::from(at) * 0.7).sin();
            sample(&mut s, t, &[("container.memory_bytes", bytes * GIB), ("container.memory_limit_bytes", limit * GIB)]);
        }
        s.end(4.0 * 3600.0);
        s.verdict()
    };
    is(&grown(4.0), Inconclusive, "the container's limit");
    is(&grown(16.0), Passed, "");
}

const USERS: &str = "version: 1\nname: simulated\ntarget:\n  url: embedded\n  backend: { speed: 10, MODE }\nsample_every: 1s\nduration: 1600s\nload:\n  - { name: users, users: 3, think: 1s..3s }\nfaults:\n  - flood: { at: 500s, jobs: 12 }\n  - PROBE\nchecks:\n  - oom_outcome: {}\n";

/// The whole engine: a healthy backend whose allocator keeps its high-water mark, with and without anybody who tells; and one
/// that loses the memory.
#[tokio::test(start_paused = true)]
async fn an_allocators_memory_and_lost_memory_are_told_apart() {
    let probe = "flood: { name: probe, at: 1100s, jobs: 1 }";
    let none = "burst: { name: nothing, at: 1100s, jobs: 1, job: { width: 512, height: 512 } }";
    let cases = [
        (true, "modes: [caching-allocator]", none, "passed"),
        (false, "modes: [caching-allocator]", probe, "passed"),
        (false, "modes: [caching-allocator]", none, "inconclusive"),
        (false, "modes: [caching-allocator], defects: [vram-kept-after-oom]", none, "failed"),
        (false, "defects: [vram-kept-after-oom]", none, "failed"),
        (false, "defects: []", none, "passed"),
    ];
    for (told, mode, probe, right) in cases {
        for seed in [7] {
            let mut plan = sim::plan(&USERS.replace("MODE", mode).replace("PROBE", probe), seed);
            // Most servers tell nothing of their allocator.
            plan.driver.gpu.memory_reusable = plan.driver.gpu.memory_reusable.filter(|_| told);
            let done = sim::run_plan(plan, seed, Sabotage::default(), None).await;
            assert_eq!(done.verdict("oom_outcome"), right, "told: {told}, {mode} {probe}, seed {seed}: {}", done.trouble());
        }
    }
}

fn met_oom(state: JobState, attempts: u32, batch: u32, kept: f64) -> Verdict {
    let mut s = Script::new("oom_outcome: {}");
    sample(&mut s, 0.5, &[("gpu.memory_total_bytes", 24e9)]);
    sample(&mut s, 0.5, &[("queue.running", 1.0)]);
    sample(&mut s, 0.5, &[("gpu.memory_used_bytes", 7e9)]);
    s.completed(1.0, 1.0);
    s.fault();
    let job = s.accepted(21.0);
    let mut end = view(state);
    (end.attempts, end.batch) = (Some(attempts), Some(batch));
    end.error = (state == JobState::Failed).then(|| "CUDA out of memory. Tried to allocate".to_owned());
    s.ends(job, 30.0, end);
    if state == JobState::Completed {
        s.result(job, 30.0, 10_000, Some(job));
    }
    sample(&mut s, 31.0, &[("gpu.memory_used_bytes", kept)]);
    s.completed(32.0, 1.0);
    s.end(90.0);
    s.verdict()
}

#[test]
fn oom_outcome() {
    let good = met_oom(JobState::Completed, 2, 2, 7e9);
    assert_eq!(good.ruling, Passed, "{good:?}");
    assert_eq!(met_oom(JobState::Failed, 1, 4, 7e9).ruling, Failed);
    let kept = met_oom(JobState::Completed, 2, 2, 15e9);
    assert_eq!(kept.ruling, Inconclusive, "lost, or an allocator's: the tests above tell them apart");
    assert!(kept.observed.contains("is not known"), "{kept:?}");
    let mut none = Script::new("oom_outcome: {}");
    none.completed(1.0, 1.0);
    none.end(60.0);
    assert_eq!(none.verdict().ruling, Inconclusive);
}

/// The same words in an open refusal, in an error, and of what would happen; and an error of the flood that tells no reason.
#[test]
fn an_oom_in_an_answer_is_a_refusal_or_an_error() {
    let answered = |answer: Answer| {
        let mut s = Script::new("oom_outcome: {}");
        sample(&mut s, 0.5, &[("gpu.memory_total_bytes", 24e9), ("queue.running", 1.0), ("gpu.memory_used_bytes", 7e9)]);
        s.completed(1.0, 1.0);
        s.fault();
        s.submitted(21.0, answer);
        sample(&mut s, 31.0, &[("gpu.memory_used_bytes", 7e9), ("queue.running", 1.0)]);
        s.completed(32.0, 1.0);
        s.end(90.0);
        s.verdict()
    };
    let said = |reason: &str| reason.to_owned();
    let refused = |reason: &str| Answer::Refused { status: 503, retry_after_s: Some(1.0), reason: said(reason) };
    let error = |reason: &str| Answer::Error { status: 500, proxy: false, reason: said(reason) };
    let seen = |answer: Answer| answered(answer).observed;
    assert!(seen(refused("CUDA out of memory")).starts_with("1 refused"));
    assert!(seen(error("CUDA out of memory")).starts_with("1 failed"));
    for nothing in [error("the request would run out of memory"), error("internal error")] {
        let told = answered(nothing);
        assert!(told.ruling == Inconclusive && told.observed.starts_with("no job is known"), "{told:?}");
    }
}

/// A job that met an out-of-memory; one that its process was made to end then, and one whose process it brought down.
#[test]
fn an_oom_that_a_restart_cut_off_says_nothing() {
    let after = |asked: bool, check: &str, hit_t: f64, hit_in: u32| {
        let mut s = Script::new(check);
        let job = s.accepted(19.0);
        let line = |job: u32| format!("CUDA out of memory job={}", s.record.jobs[job as usize].id().unwrap());
        let hit = Event::LogLine { pattern: "oom".into(), line: line(job), generation: hit_in };
        if hit_in == 1 {
            s.at(hit_t, hit.clone());
        }
        let status = "signal: 9".into();
        s.at(21.0, Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked, elsewhere: false } });
        s.at(22.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
        if hit_in == 2 {
            s.at(hit_t, hit);
        }
        s.ends(job, 30.0, view(JobState::Completed)).result(job, 30.0, 10_000, Some(job));
        s.end(90.0);
        s.verdict().ruling
    };
    // The end of the run is not what became of it.
    let mut stuck = Script::new("oom_outcome: {}");
    let job = stuck.accepted(19.0);
    let line = format!("CUDA out of memory job={}", stuck.record.jobs[job as usize].id().unwrap());
    stuck.at(20.0, Event::LogLine { pattern: "oom".into(), line, generation: 1 });
    let exited = ProcessEvent::Exited { generation: 1, status: "signal: 15".into(), asked: true, elsewhere: false };
    stuck.at(80.0, Event::Process { event: exited });
    stuck.end(90.0);
    assert_eq!(stuck.verdict().ruling, Failed, "{:?}", stuck.verdict());
    for check in ["oom_outcome: {}", "retried_smaller: {}"] {
        assert_eq!(after(true, check, 20.9, 1), Inconclusive, "{check}: cut off");
        // The line may be read after the end of its process is known.
        assert_eq!(after(true, check, 21.1, 1), Inconclusive, "{check}: cut off");
        assert_eq!(after(true, check, 23.0, 2), Failed, "{check}: the new process met it, and said nothing of a smaller batch");
        assert_eq!(after(false, check, 20.9, 1), Failed, "{check}: the process died of it");
    }
}
