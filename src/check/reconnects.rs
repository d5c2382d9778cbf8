//! Every listener whose connection was lost comes back, hears of its jobs, and learns how those ended that ended without it;
//! and the jobs went on meanwhile.

use super::noise::Bearing;
use super::{Check, Ruling, Verdict, View};
use crate::driver::StateWord;
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::{JobState, Via};
use crate::journal::facts::{JobFacts, Loss};
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::record;

const EXPECTED: &str = "every lost listener comes back, hears of its jobs, and learns how they ended; the jobs go on without it";
const SHOWN: usize = 8;

record! {
    /// Every listener whose connection was lost comes back and learns what it missed.
    pub struct Reconnects {
        /// Connected again, counted from the moment that nothing kept it from it.
        within: WallTime = WallTime::secs(10),
        /// First news of each open job of which there is any (it starts, where the target pushes that, or it has ended), from the return.
        update_within: WallTime = WallTime::secs(5),
        /// The end of a job that has ended, from the return or from that end, whichever is later.
        end_within: WallTime = WallTime::secs(5),
    }
}

/// What is said of one loss, or of one job of it.
enum Said {
    Fine,
    Wrong(String),
    NotYet(String),
    /// Nobody will ever know: we hung up.
    Cut(String),
}

impl Check for Reconnects {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn needs_time(&self) -> bool {
        true
    }
    /// Clients that have nothing more to send hang up, and would not hear what they are owed.
    fn needs_load(&self) -> Option<Time> {
        Some(Time(self.within.0 + self.update_within.0 + self.end_within.0))
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let losses = losses(record);
        let faults_over = record.faults_over();
        if losses.is_empty() {
            return match record.ended || faults_over {
                true => Verdict::inconclusive(EXPECTED, "no listener lost its connection"),
                false => Verdict::pending(EXPECTED, "no listener has lost its connection yet"),
            };
        }
        let said: Vec<Said> = losses.iter().flat_map(|(name, loss)| self.of_loss(name, loss, view)).collect();
        let wrong: Vec<String> = said.iter().filter_map(|s| if let Said::Wrong(why) = s { Some(why.clone()) } else { None }).collect();
        let observed = format!("{} losses, {} things wrong", losses.len(), wrong.len());
        if !wrong.is_empty() {
            return Verdict::failed(EXPECTED, observed).with(wrong.into_iter().take(SHOWN)).with(cases(&losses, record));
        }
        let open: usize = losses.iter().map(|(_, loss)| loss.open.len()).sum();
        if !faults_over || (!record.ended && said.iter().any(|s| matches!(s, Said::NotYet(_)))) {
            return Verdict::pending(EXPECTED, observed);
        }
        let open_ends: Vec<String> = said.into_iter().filter_map(|s| if let Said::NotYet(what) | Said::Cut(what) = s { Some(what) } else { None }).collect();
        if !open_ends.is_empty() {
            let undecided = open_ends.len();
            let ends = open_ends.into_iter().take(SHOWN);
            let are = if undecided == 1 { "question is" } else { "questions are" };
            let observed = format!("{undecided} {are} open over {} losses: chaos stopped listening before the time was over", losses.len());
            return Verdict::inconclusive(EXPECTED, observed).with(ends).with(cases(&losses, record));
        }
        let slowest = losses.iter().filter_map(|(_, loss)| Some(loss.back_t? - from(loss, record)?)).fold(0.0, f64::max);
        let passed = format!("{} losses with {open} open jobs; the slowest return took {slowest:.2} s", losses.len());
        let verdict = if open == 0 { Verdict::new(Ruling::Inconclusive, EXPECTED, format!("{passed}: no job was open, so nothing was missed")) } else { Verdict::passed(EXPECTED, passed) };
        verdict.measuring(format!("{slowest:.2} s")).with(cases(&losses, record))
    }
}

/// Losses that a fault caused, by taking the connection or by ending the target.
fn losses(record: &Record) -> Vec<(&str, &Loss)> {
    let first = record.baseline_end().unwrap_or(f64::INFINITY);
    let until = record.load_stopped_t.unwrap_or(f64::INFINITY);
    let all = record.listeners.iter().flat_map(|(name, facts)| facts.losses.iter().map(move |loss| (name.as_str(), loss)));
    all.filter(|(_, loss)| (first..until).contains(&loss.t)).collect()
}

/// From when on nothing kept the listener from coming back.
fn from(loss: &Loss, record: &Record) -> Option<f64> {
    let freed = loss.freed_t?;
    let ready = |g: &crate::journal::facts::Generation| Some(g.started_t + g.ready_after_s?);
    // A connection that a fault took away was not lost with its process.
    let until = record.load_stopped_t.unwrap_or(f64::INFINITY);
    let ended_then = |(t, ..): &(f64, String, bool)| *t < until && (*t - loss.t).abs() < 5.0;
    let down = record.generations.iter().find(|g| loss.fault.is_none() && g.exited.as_ref().is_some_and(ended_then));
    let up_again = down.map(|g| record.generations.iter().filter(|next| next.number > g.number).find_map(ready));
    match up_again {
        None => Some(freed),
        Some(ready) => ready.map(|t| t.max(freed)),
    }
}

/// Until when chaos listened. A deadline that had not run out by then is not decided.
struct Horizon {
    t: f64,
    /// We hung up; otherwise the run goes on, or is over.
    closed: bool,
}

impl Horizon {
    /// Journals from before listeners' ends were written down: a listener may have been closed as soon as the load was.
    fn of(loss: &Loss, record: &Record) -> Self {
        let assumed = record.load_stopped_t.filter(|_| record.ended);
        let closed_t = loss.closed_t.or(assumed);
        Self { t: closed_t.unwrap_or(record.now).min(record.now), closed: closed_t.is_some() }
    }

    /// The time allowed since a moment is over, and we were there to see it.
    fn past(&self, since: f64, allowed: WallTime) -> bool {
        self.t - since > allowed.as_s()
    }

    fn undecided(&self, what: String) -> Said {
        if self.closed { Said::Cut(what) } else { Said::NotYet(what) }
    }

    /// How much of the time was seen, for one that is not over.
    fn told(&self, since: f64, allowed: WallTime) -> String {
        let verb = if self.closed { "chaos closed it" } else { "so far" };
        format!("{verb} {:.2} s later; {:.2} s are allowed", (self.t - since).max(0.0), allowed.as_s())
    }
}

impl Reconnects {
    fn of_loss(&self, name: &str, loss: &Loss, view: &View<'_>) -> Vec<Said> {
        let record = view.record;
        let Some(from) = from(loss, record) else { return vec![Said::NotYet(format!("{name}, lost at {:.1} s, was kept away to the end", loss.t))] };
        let horizon = Horizon::of(loss, record);
        let Some(back) = loss.back_t else {
            let lost = format!("{name}, lost at {:.1} s ({})", loss.t, loss.why);
            return match horizon.past(from, self.within) {
                true => vec![Said::Wrong(format!("{lost}, never came back"))],
                false => {
                    let told = horizon.told(from, self.within);
                    vec![horizon.undecided(format!("{lost}, is not back: it was free to return at {from:.1} s, and {told}"))]
                }
            };
        };
        let mut said = Vec::new();
        if back - from > self.within.as_s() {
            said.push(Said::Wrong(format!("{name} came back only after {:.1} s", back - from)));
        }
        let jobs = loss.open.iter().filter_map(|id| record.jobs.of_id(id, loss.t));
        said.extend(jobs.map(|job| self.of_job(name, job, (loss, back), &horizon, view)));
        said
    }

    fn of_job(&self, name: &str, job: &JobFacts, (loss, back): (&Loss, f64), horizon: &Horizon, view: &View<'_>) -> Said {
        let (id, shown) = (job.id().unwrap_or("?"), job.shown_id());
        // What is said after its id was given to another job is of that one.
        let until = job.given_to().map_or(f64::INFINITY, |given| given.t);
        let news: Vec<_> = loss.heard.iter().filter(|(t, of, _)| of == id && *t < until).collect();
        let ended = job.ended.as_ref().map(|(t, view, _)| (*t, view.state));
        match ended {
            Some((_, JobState::Failed | JobState::Cancelled)) => {
                return Said::Wrong(format!("{shown} of {name} did not go on without it: {}", job.error().unwrap_or("it was cancelled")));
            }
            None if job.vanished_t().is_some() => return Said::Wrong(format!("{shown} of {name} was lost")),
            _ => {}
        }
        let told_end = news.iter().any(|(_, _, state)| state.is_terminal());
        if told_end {
            return Said::Fine;
        }
        if let Some(given) = job.given_to() {
            return match is_lost(job, view) {
                true => Said::Wrong(format!("{shown} of {name} was lost")),
                false => Said::Cut(format!("{name} cannot be told how {shown} ended: its id is job {}'s since {:.1} s", given.to, given.t)),
            };
        }
        let to_tell = to_tell(job, back, view.record);
        if news.is_empty() && to_tell.is_some_and(|t| horizon.past(t, self.update_within)) {
            return Said::Wrong(format!("{name} came back at {back:.1} s and heard nothing of {shown}"));
        }
        match ended {
            Some((t, _)) if horizon.past(t.max(back), self.end_within) => {
                Said::Wrong(format!("{name} came back at {back:.1} s and was never told that {shown} had ended"))
            }
            Some((t, _)) => {
                let told = horizon.told(t.max(back), self.end_within);
                horizon.undecided(format!("{name}, back since {back:.1} s, has not heard that {shown} ended at {t:.1} s: {told}"))
            }
            // How long it may take is for the ledger to say.
            None if view.record.ended && is_lost(job, view) => Said::Wrong(format!("{shown} of {name} never ended")),
            None => {
                let told = match to_tell {
                    Some(t) => horizon.told(t, self.update_within),
                    None => "it is as it was, and there was nothing to tell".to_owned(),
                };
                horizon.undecided(format!("{name} is back since {back:.1} s, and {shown} has not ended: {told}"))
            }
        }
    }
}

/// From when on, after the return, there was something to tell of the job: it started, where this target pushes that, or had ended. Of
/// one that waits or works for minutes many have no news.
fn to_tell(job: &JobFacts, back: f64, record: &Record) -> Option<f64> {
    let started = job.running_t.filter(|t| *t >= back && pushes_starts(record));
    // A later end has a time of its own.
    let ended = job.ended.as_ref().map(|e| e.0).filter(|t| *t <= back);
    started.or(ended.map(|_| back))
}

/// The driver knows such messages, or one was heard.
fn pushes_starts(record: &Record) -> bool {
    let driver = &record.plan().driver;
    let socket = driver.websocket.iter().flat_map(|socket| &socket.events);
    let socketio = driver.socketio.iter().flat_map(|socket| &socket.events);
    let sse = driver.sse.iter().flat_map(|stream| &stream.events);
    let mut losses = record.listeners.values().flat_map(|facts| &facts.losses);
    socket.chain(socketio).chain(sse).any(|rule| rule.state == StateWord::Running)
        || losses.any(|loss| loss.heard.iter().any(|(.., state)| *state == JobState::Running))
}

fn is_lost(job: &JobFacts, view: &View<'_>) -> bool {
    view.ledger.class(job) == Class::Lost
}

/// The three cases of a return, each of which breaks in its own way.
fn cases(losses: &[(&str, &Loss)], record: &Record) -> Vec<String> {
    let (mut before, mut after, mut polled) = (0, 0, 0);
    for (_, loss) in losses {
        let Some(back) = loss.back_t else { continue };
        for job in loss.open.iter().filter_map(|id| record.jobs.of_id(id, loss.t)) {
            let Some((t, _, via)) = &job.ended else { continue };
            let first = loss.heard.iter().find(|(_, of, _)| Some(of.as_str()) == job.id());
            // Whoever hears of the end before anything else came back after it.
            if *t >= back && first.is_none_or(|(.., state)| !state.is_terminal()) { before += 1 } else { after += 1 }
            polled += usize::from(*via != Via::Socket && *t < back);
        }
    }
    vec![format!("back before the job's end: {before}; back after it: {after}, of which {polled} ends were learnt by asking meanwhile")]
}
