//! The loop: look, do, wait. What must not be forgotten is in the store before it is done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::file::{Job, Schedule};
use super::keeper::{Keeper, later};
use super::notices;
use super::store::{COULD_NOT_START, Ending, Letter, Occurrence, Store, TIMED_OUT};
use crate::notify::{Notice, Notify};

/// The loop looks at least this often: the machine may have slept, its clock may have been set.
const LOOK_AT_LEAST: Duration = Duration::from_secs(60);
/// A letter is tried so often, at growing distances from the first to the second of these.
const MOST_TRIES: u32 = 12;
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// After the memory could not be used.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// What starts the runs.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Starts a claimed occurrence and returns when it has ended in the store.
    async fn run(&self, one: &Occurrence, job: &Job);
    /// Waits for one that is running already.
    async fn watch(&self, one: &Occurrence);
    /// Stops one that takes too long. May be called again.
    fn stop(&self, one: &Occurrence);
}

/// What carries the letters.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// # Errors
    /// A sentence; the letter is tried again.
    async fn carry(&self, channel: &Notify, notice: &Notice) -> Result<(), String>;
}

/// Straight to the channel.
pub struct Direct;

#[async_trait]
impl Carrier for Direct {
    async fn carry(&self, channel: &Notify, notice: &Notice) -> Result<(), String> {
        channel.send(notice).await
    }
}

/// The wall clock; simulated in tests.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub struct Daemon {
    pub keeper: Keeper,
    pub runner: Arc<dyn Runner>,
    pub carrier: Arc<dyn Carrier>,
    pub wall: Wall,
    /// When the loop last looked, and could: for `/health`.
    pub looked: watch::Sender<Timestamp>,
    in_hand: HashSet<i64>,
    tasks: JoinSet<Done>,
    /// Letters on their way, by id and channel.
    on_the_way: HashSet<(String, String)>,
    /// Those that were stopped for taking too long.
    too_long: HashMap<i64, Timestamp>,
}

enum Done {
    Run(i64),
    Letter(Letter, Result<(), String>),
}

impl Daemon {
    pub fn new(schedule: Schedule, store: Arc<Store>, runner: Arc<dyn Runner>, carrier: Arc<dyn Carrier>, wall: Wall) -> Self {
        let looked = watch::Sender::new(wall());
        Self {
            keeper: Keeper { schedule, store },
            runner,
            carrier,
            wall,
            looked,
            in_hand: HashSet::new(),
            tasks: JoinSet::new(),
            on_the_way: HashSet::new(),
            too_long: HashMap::new(),
        }
    }

    /// Runs until it is stopped. Runs that have begun go on without it.
    pub async fn serve(mut self, mut reloads: mpsc::Receiver<Schedule>, stop: CancellationToken) {
        loop {
            let now = (self.wall)();
            let wait = match self.look(now) {
                Ok(next) => {
                    self.looked.send_replace(now);
                    until(next, now)
                }
                Err(error) => {
                    tracing::error!("the schedule's memory cannot be used: {error}");
                    AFTER_TROUBLE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Some(done) = self.tasks.join_next() => self.note(done.ok()),
                Some(schedule) = reloads.recv() => self.keeper.schedule = schedule,
                () = stop.cancelled() => break,
            }
        }
        // The processes are not this scheduler's to stop.
        self.tasks.detach_all();
    }

    fn look(&mut self, now: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
        let store = self.keeper.store.clone();
        notices::look(&self.keeper.schedule, &store, now)?;
        let step = self.keeper.step(now, &self.in_hand)?;
        for one in step.start {
            self.start(one, now)?;
        }
        for one in step.adopt {
            let runner = self.runner.clone();
            self.in_hand.insert(one.id);
            self.tasks.spawn(async move {
                runner.watch(&one).await;
                Done::Run(one.id)
            });
        }
        for one in step.stop {
            self.too_long.entry(one.id).or_insert(now);
            self.runner.stop(&one);
        }
        self.deliver(now)?;
        let silence = notices::next_silence(&self.keeper.schedule, &store, now)?;
        Ok([step.next, silence, store.next_letter()?.map(|at| at.max(later(now, Duration::from_secs(1))))]
            .into_iter()
            .flatten()
            .min())
    }

    fn start(&mut self, one: Occurrence, now: Timestamp) -> rusqlite::Result<()> {
        let Some(job) = self.keeper.job(&one.entry).cloned() else {
            // Claimed before the file was changed, and never begun: its target must not wait for it.
            let ending =
                Ending { outcome: COULD_NOT_START.to_owned(), why: Some("no longer scheduled".to_owned()), ..Ending::default() };
            return self.keeper.store.finish(one.id, &ending, now).map(drop);
        };
        let runner = self.runner.clone();
        tracing::info!("{} due {}: starting", one.entry, one.due);
        self.in_hand.insert(one.id);
        self.tasks.spawn(async move {
            runner.run(&one, &job).await;
            Done::Run(one.id)
        });
        Ok(())
    }

    fn deliver(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        for letter in self.keeper.store.letters(now)? {
            let key = (letter.id.clone(), letter.channel.clone());
            let channel = self.keeper.schedule.notify.iter().find(|n| n.name.value == letter.channel).cloned();
            let notice = serde_json::from_str::<Notice>(&letter.body);
            let (Some(channel), Ok(notice)) = (channel, notice) else {
                self.keeper.store.sent(&letter, Err(("there is no such channel any more", None)))?;
                continue;
            };
            if !self.on_the_way.insert(key) {
                continue;
            }
            let carrier = self.carrier.clone();
            self.tasks.spawn(async move {
                let result = carrier.carry(&channel, &notice).await;
                Done::Letter(letter, result)
            });
        }
        Ok(())
    }

    fn note(&mut self, done: Option<Done>) {
        let noted = match done {
            Some(Done::Run(id)) => self.note_run(id),
            Some(Done::Letter(letter, result)) => self.note_letter(&letter, result),
            // A task that panicked, and nobody knows which: everything is taken up again. A run begins once in any case, and a
            // letter's second copy has the id of the first.
            None => {
                self.in_hand.clear();
                self.on_the_way.clear();
                Ok(())
            }
        };
        if let Err(error) = noted {
            tracing::error!("the schedule's memory cannot be used: {error}");
        }
    }

    fn note_run(&mut self, id: i64) -> rusqlite::Result<()> {
        let store = &self.keeper.store;
        self.in_hand.remove(&id);
        if self.too_long.remove(&id).is_some() {
            store.rename_outcome(id, TIMED_OUT)?;
        }
        if let Some(one) = store.get(id)? {
            let more = [&one.run_id, &one.why].into_iter().flatten().map(|text| format!(", {text}")).collect::<String>();
            tracing::info!("{} due {}: {}{more}", one.entry, one.due, one.outcome.unwrap_or_default());
        }
        Ok(())
    }

    fn note_letter(&mut self, letter: &Letter, result: Result<(), String>) -> rusqlite::Result<()> {
        self.on_the_way.remove(&(letter.id.clone(), letter.channel.clone()));
        let again = (letter.tries + 1 < MOST_TRIES).then(|| later((self.wall)(), backoff(letter.tries)));
        match result {
            Ok(()) => {
                tracing::info!("{} was told: {}", letter.channel, letter.id);
                self.keeper.store.sent(letter, Ok(()))
            }
            Err(why) => {
                tracing::warn!("{} could not be told: {why}", letter.channel);
                self.keeper.store.sent(letter, Err((&why, again)))
            }
        }
    }
}

fn backoff(tries: u32) -> Duration {
    FIRST_RETRY.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_RETRY)
}

fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next.map_or(SignedDuration::MAX, |next| next.duration_since(now));
    Duration::try_from(wait).unwrap_or_default().min(LOOK_AT_LEAST)
}
