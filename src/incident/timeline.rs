//! One line of time: what came when, and which facts are one event.

use jiff::{SignedDuration, Timestamp};

use super::{Fact, Read, What};

/// Ends and starts closer together than this are one restart.
const ONE_RESTART: SignedDuration = SignedDuration::from_secs(30);
/// A server that has ended is waited for this long.
const DOWN_AT_MOST: SignedDuration = SignedDuration::from_secs(600);
/// Lost connections closer together than this are one event.
const ONE_DROP: SignedDuration = SignedDuration::from_secs(2);
/// Connections that are lost this close to a restart are its consequence.
const BY_RESTART: SignedDuration = SignedDuration::from_secs(10);

/// An incident on one line of time; times are seconds from `begin`.
#[derive(Debug, Default)]
pub struct Incident {
    pub begin: Timestamp,
    pub lasts_s: f64,
    pub arrivals: Vec<Fact>,
    pub restarts: Vec<Restart>,
    pub drops: Vec<Vec<Fact>>,
    pub gpu_out_of_memory: Vec<Fact>,
    pub doubts: Vec<String>,
}

/// The target was gone for a while.
#[derive(Debug, Clone)]
pub struct Restart {
    pub at: Timestamp,
    pub until: Option<Timestamp>,
    pub killed: bool,
    pub for_memory: bool,
    /// When it ended was not recorded: only its last sign of life, or its next start.
    pub end_unknown: bool,
    pub facts: Vec<Fact>,
}

impl Incident {
    pub fn at_s(&self, moment: Timestamp) -> f64 {
        moment.duration_since(self.begin).as_secs_f64().max(0.0)
    }

    /// # Errors
    /// Nothing arrived in the window.
    pub fn of(read: Read, from: Option<Timestamp>, until: Option<Timestamp>) -> Result<Self, String> {
        let Read { facts, mut doubts, .. } = read;
        let within = |fact: &&Fact| from.is_none_or(|f| fact.at >= f) && until.is_none_or(|u| fact.at < u);
        let facts: Vec<Fact> = facts.iter().filter(within).cloned().collect();
        let of = |is: fn(&What) -> bool| facts.iter().filter(|f| is(&f.what)).cloned().collect::<Vec<Fact>>();
        let arrivals = of(|what| matches!(what, What::Posted(_)));
        let (Some(first), Some(last)) = (arrivals.first().map(|a| a.at), facts.last().map(|f| f.at)) else {
            return Err(
                "no job was submitted in what was recorded of this time: give an access log, or another --from and --until"
                    .to_owned(),
            );
        };
        let begin = from.unwrap_or(first);
        let mut restarts = restarts(&facts, first);
        let last_arrival = arrivals.last().map_or(last, |arrival| arrival.at);
        // Nobody came any more: the end of what was recorded, and not of the server.
        restarts.retain(|restart| {
            let counts = restart.until.is_some() || restart.at <= last_arrival;
            if !counts {
                let at = restart.facts.first().map_or("", |fact| fact.source.as_str());
                doubts.push(format!(
                    "the target ended at {} ({at}), and nothing came after it: is that a part of the incident?",
                    restart.at
                ));
            }
            counts
        });
        let drops = drops(&facts, &restarts);
        Ok(Self {
            begin,
            lasts_s: until.unwrap_or(last).duration_since(begin).as_secs_f64().max(1.0),
            arrivals,
            restarts,
            drops,
            gpu_out_of_memory: of(|what| *what == What::GpuOutOfMemory),
            doubts,
        })
    }
}

fn restarts(facts: &[Fact], first_arrival: Timestamp) -> Vec<Restart> {
    let mut all: Vec<Restart> = Vec::new();
    for fact in facts.iter().filter(|f| matches!(f.what, What::Started | What::LastSign | What::Ended { .. } | What::OomKilled)) {
        let started = fact.what == What::Started;
        let open = all.last_mut().filter(|restart| match (restart.until, started) {
            (None, true) => fact.at.duration_since(restart.at) < DOWN_AT_MOST,
            (Some(until), true) => fact.at.duration_since(until) < ONE_RESTART,
            (None, false) => fact.at.duration_since(restart.at) < ONE_RESTART,
            (Some(_), false) => false,
        });
        if open.is_none() && started && fact.at <= first_arrival {
            continue;
        }
        let restart = match open {
            Some(restart) => restart,
            None => {
                all.push(Restart {
                    at: fact.at,
                    until: None,
                    killed: false,
                    for_memory: false,
                    end_unknown: started,
                    facts: Vec::new(),
                });
                // Just pushed.
                let Some(last) = all.last_mut() else { continue };
                last
            }
        };
        if started && restart.until.is_none() {
            restart.until = Some(fact.at);
        }
        if matches!(fact.what, What::Ended { .. } | What::OomKilled) && restart.end_unknown {
            // The first who knows it: what came before was only a sign of life.
            (restart.at, restart.end_unknown) = (fact.at, false);
        }
        restart.killed |= matches!(fact.what, What::Ended { killed: true } | What::OomKilled);
        restart.for_memory |= fact.what == What::OomKilled;
        restart.facts.push(fact.clone());
    }
    // What started before the first job was no restart.
    all.retain(|restart| restart.until.is_none_or(|until| until > first_arrival));
    all
}

fn drops(facts: &[Fact], restarts: &[Restart]) -> Vec<Vec<Fact>> {
    let near = |fact: &Fact| {
        restarts.iter().any(|r| {
            let until = r.until.unwrap_or(r.at);
            fact.at > r.at.saturating_sub(BY_RESTART).unwrap_or(r.at)
                && fact.at < until.saturating_add(BY_RESTART).unwrap_or(until)
        })
    };
    let mut all: Vec<Vec<Fact>> = Vec::new();
    for fact in facts.iter().filter(|f| f.what == What::Disconnected && !near(f)) {
        match all.last_mut().filter(|drop| drop.last().is_some_and(|last| fact.at.duration_since(last.at) < ONE_DROP)) {
            Some(drop) => drop.push(fact.clone()),
            None => all.push(vec![fact.clone()]),
        }
    }
    all
}
