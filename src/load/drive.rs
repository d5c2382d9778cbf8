//! One job, from before its submission to its end and a look at what came out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::driver::results::NOT_TOLD;
use crate::driver::{Ask, Port, Seen};
use crate::experiment::{JobShape, Listen};
use crate::journal::event::{Answer, Event, JobNo, JobState, JobView, ResultLook, Via};
use crate::journal::facts::Loss;
use crate::journal::writer::Journal;
use crate::listen::registry::Registry;
use crate::listen::websocket::{Listener, Setup, Updates};
use crate::seed::{Seed, fnv};

/// Behind a WebSocket the job is asked after this often, or as often as the driver polls if that is rarer.
pub const SAFETY_NET: Duration = Duration::from_secs(2);
/// A socket that says nothing of an end for this long after the target told it when asked has missed it.
const SOCKET_GRACE: Duration = Duration::from_secs(1);
/// Progress is written down in steps of this many percent.
const PROGRESS_STEP: f64 = 20.0;
/// A target that cannot answer a question about a result now (429, 502 to 504) is asked again for so long.
const RESULT_LATER_S: f64 = 30.0;
/// ... and for the place where it is for so many: who has not told it by then does not tell it.
const PLACE_LATER_S: f64 = 5.0;
/// ... and so often.
const PLACE_LATER: u32 = 15;
/// ... and for so long when the run is over.
const LAST_TRIES_S: f64 = 2.0;

/// What every client shares. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    pub port: Arc<dyn Port>,
    pub journal: Journal,
    pub clock: Clock,
    pub seed: Seed,
    /// No new jobs.
    pub stop: CancellationToken,
    /// Nobody waits for the old ones any more.
    pub give_up: CancellationToken,
    pub tasks: TaskTracker,
    pub listeners: Registry,
    /// Progress is pushed to whoever listens; of any other target everybody has to ask.
    pub is_told: bool,
    pub poll_every: Duration,
    /// A 404 this soon after the acceptance means "not yet".
    pub unknown_for: Duration,
}

/// A client: it has a name, and perhaps a socket.
#[derive(Clone)]
pub struct Client {
    pub load: String,
    pub number: u32,
    listener: Option<Listener>,
    /// After this long it gives up on a job.
    pub patience: Option<Duration>,
}

impl Client {
    pub fn new(shop: &Shop, load: &str, number: u32, listen: Listen) -> Self {
        let name = format!("{load}/{number}");
        let listener = (listen == Listen::Websocket && shop.is_told).then(|| {
            let setup = Setup {
                rng: shop.seed.stream(&format!("listener/{name}")),
                client: client_id(shop.seed, &name),
                name,
                port: shop.port.clone(),
                journal: shop.journal.clone(),
                clock: shop.clock,
                registry: shop.listeners.clone(),
                stop: shop.give_up.clone(),
            };
            Listener::start(setup, &shop.tasks)
        });
        Self { load: load.to_owned(), number, listener, patience: None }
    }

    /// What a client does that has sent its last job: one whose connection was lost, and that was not told of every job since,
    /// goes on listening to the end. Otherwise our own leaving would be the reason why it heard nothing.
    pub async fn leave(self, shop: &Shop) {
        let name = format!("{}/{}", self.load, self.number);
        let owed = |loss: &Loss| {
            let told = |id: &String| loss.heard.iter().any(|(_, of, state)| of == id && state.is_terminal());
            !loss.open.iter().all(told)
        };
        if shop.journal.read(|record| record.listeners.get(&name).is_some_and(|facts| facts.losses.iter().any(owed))) {
            shop.give_up.cancelled().await;
        }
    }
}

/// The mark of a job: the same for the same seed, client and place in the client's sequence.
pub fn mark(seed: Seed, load: &str, client: u32, index: u64) -> String {
    format!("chaos-{:016x}", fnv(format!("{}/{load}/{client}/{index}", seed.0).as_bytes()))
}

/// The name under which a client is known to the target, on its connection and in its submissions.
fn client_id(seed: Seed, name: &str) -> String {
    format!("chaos-client-{:016x}", fnv(format!("{}/{name}", seed.0).as_bytes()))
}

/// What a client does next with its time.
pub enum After {
    /// The job has ended, well or not.
    Ended,
    /// It was not taken; come back after this long.
    NotTaken(Option<Duration>),
    /// The run is over.
    RunOver,
}

impl Shop {
    /// Sends one job and follows it to its end.
    pub async fn drive(&self, client: &Client, shape: &JobShape, mark: &str, intended_t: f64) -> After {
        let (number, answer) = self.submit(client, shape, mark, intended_t).await;
        match answer {
            Answer::Accepted { id } => self.follow(client, number, &id).await,
            Answer::Refused { retry_after_s, .. } => {
                After::NotTaken(retry_after_s.and_then(|s| Duration::try_from_secs_f64(s).ok()))
            }
            _ => After::NotTaken(None),
        }
    }

    /// Sends one job; the answer is in the journal when this returns.
    pub async fn submit(&self, client: &Client, shape: &JobShape, mark: &str, intended_t: f64) -> (JobNo, Answer) {
        let number = self.journal.emit_job(|job| Event::Submitting {
            job,
            load: client.load.clone(),
            client: client.number,
            shape: shape.clone(),
            mark: mark.to_owned(),
            intended_t,
        });
        let client = client_id(self.seed, &format!("{}/{}", client.load, client.number));
        let ask = Ask::new(shape.clone(), mark, client);
        let answer = self.port.submit(&ask).await;
        self.journal.emit(Event::Answered { job: number, answer: answer.clone() });
        (number, answer)
    }

    /// Cancels a job that its client no longer wants. What becomes of it is watched on the side.
    async fn abandon(&self, number: JobNo, id: &str) -> After {
        if self.given_to(number).is_some() {
            return After::Ended;
        }
        self.journal.emit(Event::GivingUp { job: number });
        let error = self.port.cancel(id).await.err();
        self.journal.emit(Event::Cancelled { job: number, error });
        let (shop, id) = (self.clone(), id.to_owned());
        self.tasks.clone().spawn(async move { shop.watch_abandoned(number, &id).await });
        After::Ended
    }

    /// The target tells of another job when it is asked about this one, and would cancel that.
    fn given_to(&self, number: JobNo) -> Option<JobNo> {
        self.journal.read(|record| record.jobs.get(number as usize)?.given_to()).map(|given| given.to)
    }

    async fn watch_abandoned(&self, number: JobNo, id: &str) {
        while self.given_to(number).is_none() {
            match self.port.status(id).await {
                Seen::View(view) if view.state.is_terminal() => {
                    return self.journal.emit(Event::Ended { job: number, view, via: Via::Poll });
                }
                Seen::View(view) => self.journal.emit(Event::Progress { job: number, view }),
                Seen::Missing => return self.journal.emit(Event::Vanished { job: number }),
                Seen::Unclear(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(self.poll_every) => {}
                () = self.give_up.cancelled() => {
                    return self.journal.emit(Event::GaveUp { job: number, why: "the run's patience ended".into() });
                }
            }
        }
    }

    /// A failure that is told without its reason is asked about: what it was decides how the job counts.
    async fn with_reason(&self, id: &str, view: JobView) -> JobView {
        if view.state != JobState::Failed || view.error.is_some() {
            return view;
        }
        match self.port.status(id).await {
            Seen::View(asked) if asked.state == JobState::Failed => JobView { error: asked.error, ..view },
            _ => view,
        }
    }

    /// Follows an accepted job to its end.
    pub async fn follow(&self, client: &Client, number: JobNo, id: &str) -> After {
        if let Some(view) = self.port.known(id) {
            let mut job = Following { shop: self, number, accepted_t: self.clock.now_s(), told: None, lives: 0, unclear: None };
            job.hear(&view, Via::Answer);
            job.look_at_result(id).await;
            return After::Ended;
        }
        let mut updates = client.listener.as_ref().map(|listener| listener.follow(id));
        let every = if updates.is_some() { self.poll_every.max(SAFETY_NET) } else { self.poll_every };
        let mut asking = tokio::time::interval(every);
        asking.reset();
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut job = Following { shop: self, number, accepted_t: self.clock.now_s(), told: None, lives: 0, unclear: None };
        let mut patience = std::pin::pin!(patience_over(client.patience));
        // What is told of an id that was given again is told of the other job.
        while self.given_to(number).is_none() {
            tokio::select! {
                () = self.give_up.cancelled() => return job.last_look(id).await,
                () = &mut patience => return self.abandon(number, id).await,
                view = next(&mut updates) => if job.hear(&self.with_reason(id, view).await, Via::Socket) {
                    job.look_at_result(id).await;
                    break;
                },
                _ = asking.tick() => if job.ask(id, &mut updates).await {
                    job.look_at_result(id).await;
                    break;
                },
            }
        }
        After::Ended
    }
}

async fn patience_over(patience: Option<Duration>) {
    match patience {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// The next pushed update; never comes where nothing is pushed.
async fn next(updates: &mut Option<Updates>) -> JobView {
    if let Some(channel) = updates
        && let Some(view) = channel.recv().await
    {
        return view;
    }
    *updates = None;
    std::future::pending().await
}

/// The end of the job as it is pushed; never comes where nothing is pushed.
async fn next_end(updates: &mut Option<Updates>) -> JobView {
    loop {
        let view = next(updates).await;
        if view.state.is_terminal() {
            return view;
        }
    }
}

struct Following<'a> {
    shop: &'a Shop,
    number: JobNo,
    accepted_t: f64,
    told: Option<JobView>,
    /// How many lives of the target's process had begun when it was heard of last.
    lives: usize,
    /// Why the latest answer could not be read.
    unclear: Option<String>,
}

impl Following<'_> {
    /// Takes note of what was said; true when the job has ended.
    fn hear(&mut self, view: &JobView, via: Via) -> bool {
        let job = self.number;
        if view.state.is_terminal() {
            self.shop.journal.emit(Event::Ended { job, view: view.clone(), via });
            self.told = Some(view.clone());
            return true;
        }
        // The first word of each life of the target is news: it has the job still.
        let lives = self.shop.journal.read(|record| record.generations.len());
        if std::mem::replace(&mut self.lives, lives) != lives || self.is_news(view) {
            self.shop.journal.emit(Event::Progress { job, view: view.clone() });
            self.told = Some(view.clone());
        }
        false
    }

    fn is_news(&self, view: &JobView) -> bool {
        let Some(last) = &self.told else { return true };
        let step = view.progress.unwrap_or(0.0) - last.progress.unwrap_or(0.0);
        last.word != view.word
            || last.attempts != view.attempts
            || last.batch != view.batch
            || !(0.0..PROGRESS_STEP).contains(&step)
    }

    /// Asks the target; true when the job has ended or is gone.
    async fn ask(&mut self, id: &str, updates: &mut Option<Updates>) -> bool {
        match self.shop.port.status(id).await {
            Seen::View(view) if updates.is_some() && view.state.is_terminal() => {
                // The socket may be about to say the same: only one that stays silent has missed it.
                let told = tokio::time::timeout(SOCKET_GRACE, next_end(updates)).await;
                match told {
                    Ok(told) => self.hear(&told, Via::Socket),
                    // We have closed the socket ourselves meanwhile.
                    Err(_) if self.shop.give_up.is_cancelled() => self.hear(&view, Via::Poll),
                    Err(_) => self.hear(&view, Via::SafetyNet),
                }
            }
            Seen::View(view) => self.hear(&view, Via::Poll),
            Seen::Missing => self.missing(),
            Seen::Unclear(why) => {
                self.unclear = Some(why);
                false
            }
        }
    }

    fn missing(&self) -> bool {
        let (job, journal) = (self.number, &self.shop.journal);
        journal.emit(Event::Missing { job });
        let grace_over = self.shop.clock.now_s() - self.accepted_t > self.shop.unknown_for.as_secs_f64();
        if grace_over {
            journal.emit(Event::Vanished { job });
        }
        grace_over
    }

    async fn last_look(&mut self, id: &str) -> After {
        if self.ask(id, &mut None).await {
            self.look_at_result(id).await;
        } else {
            let unclear = self.unclear.as_ref().map_or_else(String::new, |why| format!("; when asked: {why}"));
            self.shop.journal.emit(Event::GaveUp { job: self.number, why: format!("the run's patience ended{unclear}") });
        }
        After::RunOver
    }

    /// Nobody who knows has answered: that is the target's fault only where it was given time.
    fn no_result(&self, look: ResultLook, began_t: f64) {
        let (job, asked_s) = (self.number, self.shop.clock.now_s() - began_t);
        let error = look.error.clone().unwrap_or_default();
        // Who called the job completed and names no place has answered.
        self.shop.journal.emit(match asked_s >= RESULT_LATER_S || look.status == NOT_TOLD {
            true => Event::ResultSeen { job, look },
            false => Event::GaveUp { job, why: format!("not had within {asked_s:.1} s, and the run was over: {error}") },
        });
    }

    async fn look_at_result(&self, id: &str) {
        let began_t = self.shop.clock.now_s();
        let (mut over_t, mut asked_t, mut answers) = (None, began_t, 0);
        let completed = self.told.as_ref().is_some_and(|view| view.state == JobState::Completed);
        while completed && let Some(look) = self.shop.port.result(id).await {
            // A server that goes down or is paused between the end and the result has not lost it yet.
            let nobody_there = look.status == 0;
            // One that has no room now has it soon, and some tell of the end before they have written down what came out.
            let now_t = self.shop.clock.now_s();
            // Who does not answer, or has no time for it, tells nothing.
            (asked_t, answers) = if look.status == NOT_TOLD { (asked_t, answers + 1) } else { (now_t, 0) };
            let since_t = if look.status == NOT_TOLD { asked_t } else { began_t };
            let comes_later = may_come_later(look.status, answers, now_t - since_t);
            if !(nobody_there || comes_later) {
                return self.shop.journal.emit(Event::ResultSeen { job: self.number, look });
            }
            // At the end all ask at once: whoever has no room for that has it a moment later.
            if self.shop.give_up.is_cancelled() {
                let over_t = *over_t.get_or_insert_with(|| self.shop.clock.now_s());
                if nobody_there || self.shop.clock.now_s() - over_t >= LAST_TRIES_S {
                    return self.no_result(look, began_t);
                }
            }
            tokio::time::sleep(self.shop.poll_every).await;
        }
    }
}

/// Whether so many answers of that status in place of a result, in so many seconds, may become one.
fn may_come_later(status: u16, answers: u32, after_s: f64) -> bool {
    match status {
        // A busy machine gives few of them in that time.
        NOT_TOLD => after_s < PLACE_LATER_S || (answers < PLACE_LATER && after_s < RESULT_LATER_S),
        429 | 502..=504 => after_s < RESULT_LATER_S,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_told_is_asked_for_a_few_seconds_and_a_few_times() {
        assert!(may_come_later(NOT_TOLD, 19, 4.9) && !may_come_later(NOT_TOLD, 20, 5.1));
        assert!(may_come_later(NOT_TOLD, 2, 12.0), "a busy machine has asked twice");
        assert!(!may_come_later(NOT_TOLD, 2, 31.0));
        assert!(may_come_later(503, 100, 29.0) && !may_come_later(503, 1, 31.0) && !may_come_later(200, 1, 0.0));
    }
}
