//! One line of time: what came when, and which facts are one event.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Fact, Read, What};
use crate::driver::gateway;

/// Ends and starts closer together than this are one restart.
const ONE_RESTART: SignedDuration = SignedDuration::from_secs(30);
/// A server that has ended is waited for this long.
const DOWN_AT_MOST: SignedDuration = SignedDuration::from_secs(600);
/// Clocks of several recorders, and samples, differ by less than this.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(2);
/// Lost connections closer together than this are one event.
const ONE_DROP: SignedDuration = SignedDuration::from_secs(2);
/// Connections that are lost this close to a restart are its consequence.
const BY_RESTART: SignedDuration = SignedDuration::from_secs(10);

/// So many connections that end at once are no users who went away.
const MANY: usize = 3;

/// An incident on one line of time; times are seconds from `begin`.
#[derive(Debug, Default)]
pub struct Incident {
    pub begin: Timestamp,
    pub lasts_s: f64,
    pub arrivals: Vec<Fact>,
    pub restarts: Vec<Restart>,
    pub drops: Vec<Vec<Fact>>,
    pub gpu_out_of_memory: Vec<Fact>,
    pub containers: BTreeSet<String>,
    pub doubts: Vec<String>,
}

/// The target was gone for a while.
#[derive(Debug, Clone)]
pub struct Restart {
    pub at: Timestamp,
    pub until: Option<Timestamp>,
    pub killed: bool,
    /// It was told that it ended by itself, or was asked to.
    pub asked: bool,
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
        let Read { facts, mut doubts, containers, .. } = read;
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
        let ran_on: Vec<usize> = (0..facts.len()).filter(|at| ran_on(&facts, *at)).collect();
        let ends = facts.iter().enumerate().filter(|(at, _)| !ran_on.contains(at)).map(|(_, fact)| fact.clone());
        let mut restarts = restarts(&ends.collect::<Vec<_>>(), first);
        doubts.extend(ran_on.first().map(|at| {
            let more = if ran_on.len() > 1 { format!(" (and {} more such lines)", ran_on.len() - 1) } else { String::new() };
            let fact = &facts[*at];
            format!(
                "the kernel killed a process for memory at {} ({}: {}){more}, and the target ran on: was it one of several workers, or a helper?",
                fact.at, fact.source, fact.text
            )
        }));
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
        let unanswered = facts.iter().filter(|fact| is_unanswered(&fact.what)).count();
        if unanswered > 0 && restarts.is_empty() {
            doubts.push(format!(
                "{unanswered} requests were answered with 502 or 504, and no restart was recorded: was the target gone for a while?"
            ));
        }
        let drops = together(&facts, &restarts, |what| *what == What::Disconnected);
        doubts.extend(upgraded(&facts, &restarts, begin).filter(|_| drops.is_empty()));
        Ok(Self {
            begin,
            lasts_s: until.unwrap_or(last).duration_since(begin).as_secs_f64().max(1.0),
            arrivals,
            restarts,
            drops,
            gpu_out_of_memory: of(|what| *what == What::GpuOutOfMemory),
            containers,
            doubts,
        })
    }
}

fn restarts(facts: &[Fact], first_arrival: Timestamp) -> Vec<Restart> {
    let mut all: Vec<Restart> = Vec::new();
    for fact in facts.iter().filter(|f| matches!(f.what, What::Started | What::LastSign) || is_end(&f.what)) {
        let started = fact.what == What::Started;
        let open = all.last_mut().filter(|restart| match (restart.until, started) {
            // Its last sign of life may be long past: a server without work has nothing to say.
            (None, _) if restart.end_unknown => true,
            (None, true) => fact.at.duration_since(restart.at) < DOWN_AT_MOST,
            (Some(until), true) => fact.at.duration_since(until) < ONE_RESTART,
            (None, false) => fact.at.duration_since(restart.at) < ONE_RESTART,
            // An end that seems to come just after the start that followed it.
            (Some(until), false) => {
                restart.end_unknown && !is_unanswered(&fact.what) && fact.at.duration_since(until) < CLOCKS_DIFFER
            }
        });
        // A gateway has many reasons for not reaching a server: alone it tells of no end.
        if open.is_none() && (started && fact.at <= first_arrival || is_unanswered(&fact.what)) {
            continue;
        }
        let restart = match open {
            Some(restart) => restart,
            None => {
                all.push(Restart {
                    at: fact.at,
                    until: None,
                    killed: false,
                    asked: false,
                    for_memory: false,
                    end_unknown: !is_end(&fact.what),
                    facts: Vec::new(),
                });
                // Just pushed.
                let Some(last) = all.last_mut() else { continue };
                last
            }
        };
        if started && restart.until.is_none() {
            restart.until = Some(fact.at);
            if restart.end_unknown && fact.at.duration_since(restart.at) > ONE_RESTART {
                restart.at = fact.at;
            }
        }
        if is_end(&fact.what) && restart.end_unknown {
            // The first who knows it: what came before was only a sign of life.
            (restart.at, restart.end_unknown) = (fact.at, false);
            restart.until = restart.until.map(|until| until.max(fact.at));
        }
        restart.killed |= matches!(fact.what, What::Ended { killed: true } | What::OomKilled);
        restart.asked |= fact.what == What::Ended { killed: false };
        restart.for_memory |= fact.what == What::OomKilled;
        restart.facts.push(fact.clone());
    }
    // What started before the first job was no restart.
    all.retain(|restart| restart.until.is_none_or(|until| until > first_arrival));
    all
}

/// The kernel killed a process, and the target did not end by it: it answered afterwards, and nobody tells of an end or a start.
fn ran_on(facts: &[Fact], at: usize) -> bool {
    let killed = &facts[at];
    if killed.what != What::OomKilled {
        return false;
    }
    let after = |fact: &Fact| fact.at.duration_since(killed.at);
    let ends = |fact: &&Fact| fact.what != What::OomKilled && is_end(&fact.what) && !is_unanswered(&fact.what);
    if facts.iter().filter(ends).any(|fact| (-CLOCKS_DIFFER..ONE_RESTART).contains(&after(fact))) {
        return false;
    }
    let life = facts.iter().filter(|fact| after(fact) > CLOCKS_DIFFER).find_map(|fact| match &fact.what {
        What::Started | What::LastSign | What::Ended { .. } | What::Gone => Some(false),
        what if is_unanswered(what) => Some(false),
        What::Posted(post) => post.status.map(|_| true),
        What::Other { status } => status.map(|_| true),
        _ => None,
    });
    let began_anew =
        facts.iter().any(|fact| fact.what == What::Started && (-CLOCKS_DIFFER..=CLOCKS_DIFFER).contains(&after(fact)));
    life == Some(true) && !began_anew
}

/// Somebody knows that the server was gone.
fn is_end(what: &What) -> bool {
    matches!(what, What::Ended { .. } | What::OomKilled | What::Gone) || is_unanswered(what)
}

fn is_unanswered(what: &What) -> bool {
    match what {
        What::Other { status } => status.is_some_and(|s| gateway::UNREACHED.contains(&s)),
        What::Posted(post) => post.status.is_some_and(|s| gateway::UNREACHED.contains(&s)),
        _ => false,
    }
}

/// Where only an access log tells of WebSockets: what it cannot say is asked.
fn upgraded(facts: &[Fact], restarts: &[Restart], begin: Timestamp) -> impl Iterator<Item = String> {
    let groups = together(facts, restarts, |what| *what == What::Other { status: Some(101) });
    groups.into_iter().filter(move |group| group.len() >= MANY && group[0].at >= begin).map(move |group| {
        format!(
            "{} WebSockets stand together from {} on: did they end then (nginx writes the end, Apache the beginning)? If so: `websocket_drop: {{ at: {:.3}s, listeners: all }}`",
            group.len(),
            group[0].source,
            group[0].at.duration_since(begin).as_secs_f64()
        )
    })
}

/// What came at once, and not by a restart.
fn together(facts: &[Fact], restarts: &[Restart], is: impl Fn(&What) -> bool) -> Vec<Vec<Fact>> {
    let near = |fact: &Fact| {
        restarts.iter().any(|r| {
            let until = r.until.unwrap_or(r.at);
            fact.at > r.at.saturating_sub(BY_RESTART).unwrap_or(r.at)
                && fact.at < until.saturating_add(BY_RESTART).unwrap_or(until)
        })
    };
    let mut all: Vec<Vec<Fact>> = Vec::new();
    for fact in facts.iter().filter(|f| is(&f.what) && !near(f)) {
        match all.last_mut().filter(|drop| drop.last().is_some_and(|last| fact.at.duration_since(last.at) < ONE_DROP)) {
            Some(drop) => drop.push(fact.clone()),
            None => all.push(vec![fact.clone()]),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, Post};
    use super::*;

    fn fact(second: i64, what: What) -> Fact {
        let at = Timestamp::from_second(1_795_478_400 + second).unwrap();
        Fact { at, what, source: format!("log:{second}"), text: String::new() }
    }

    fn post(status: u16) -> What {
        What::Posted(Post { path: "/jobs".into(), job: Default::default(), status: Some(status), known_by: Clock::Moment })
    }

    /// With jobs at 0 and at 9,000 seconds; begin, end and whether the begin is known of each restart.
    fn found(facts: &[(i64, What)]) -> (Vec<(f64, f64, bool)>, Vec<String>) {
        let mut all: Vec<Fact> = facts.iter().map(|(second, what)| fact(*second, what.clone())).collect();
        all.extend([fact(0, post(202)), fact(9000, post(202))]);
        all.sort_by_key(|fact| fact.at);
        let incident = Incident::of(Read { facts: all, ..Read::default() }, None, None).unwrap();
        let of = |r: &Restart| (incident.at_s(r.at), r.until.map_or(-1.0, |until| incident.at_s(until)), !r.end_unknown);
        (incident.restarts.iter().map(of).collect(), incident.doubts.clone())
    }

    const DIED: What = What::Ended { killed: true };
    const GET_502: What = What::Other { status: Some(502) };

    #[test]
    fn what_several_records_tell_of_one_restart_is_one() {
        let told = [(100, What::LastSign), (103, DIED), (104, What::Started), (105, What::Started)];
        assert_eq!(found(&told).0, [(103.0, 104.0, true)]);
        assert_eq!(found(&[(100, DIED), (200, What::Started), (300, DIED), (301, What::Started)]).0.len(), 2);
    }

    #[test]
    fn a_silent_end_is_known_by_whoever_could_not_reach_it_or_not_at_all() {
        assert_eq!(found(&[(100, What::LastSign), (104, What::Started)]).0, [(100.0, 104.0, false)]);
        assert_eq!(found(&[(100, What::LastSign), (103, post(502)), (104, What::Started)]).0, [(103.0, 104.0, true)]);
        // A server without work has nothing to say for an hour.
        assert_eq!(found(&[(100, What::LastSign), (3700, What::Started)]).0, [(3700.0, 3700.0, false)]);
        assert_eq!(found(&[(100, What::LastSign), (3600, DIED), (3700, What::Started)]).0, [(3600.0, 3700.0, true)]);
    }

    #[test]
    fn an_end_that_is_told_a_moment_too_late_is_no_second_restart() {
        // A start by the process itself, and then samples of whether it is up.
        assert_eq!(found(&[(100, What::Started), (101, What::LastSign), (103, What::Started)]).0, [(100.0, 100.0, false)]);
        assert_eq!(found(&[(100, What::Started), (101, DIED), (102, What::Started)]).0, [(101.0, 101.0, true)]);
        assert_eq!(found(&[(100, What::Started), (105, DIED), (106, What::Started)]).0.len(), 2);
        // One that is only just there is not reached yet.
        assert_eq!(found(&[(100, What::LastSign), (104, What::Started), (105, post(502))]).0, [(100.0, 104.0, false)]);
    }

    #[test]
    fn what_the_kernel_kills_inside_of_a_target_that_runs_on_is_no_restart() {
        let (restarts, doubts) = found(&[(100, What::OomKilled), (101, What::OomKilled), (110, post(202)), (120, post(202))]);
        let asked = doubts.iter().filter(|doubt| doubt.contains("and the target ran on")).count();
        assert!(restarts.is_empty() && asked == 1, "{restarts:?} {doubts:?}");
        // What ended by it: told by an end, a start (a slow one too), or whoever could not reach it.
        for told in [
            vec![(101, DIED), (102, What::Started)],
            vec![(99, DIED), (102, What::Started)],
            vec![(101, What::Started)],
            vec![(220, What::Started), (230, post(202))],
            vec![(103, post(502)), (140, What::Started)],
            vec![(103, post(521)), (140, What::Started)],
        ] {
            let told: Vec<(i64, What)> = [(100, What::OomKilled)].into_iter().chain(told).collect();
            let (restarts, doubts) = found(&told);
            assert!(
                restarts.len() == 1 && !doubts.iter().any(|doubt| doubt.contains("ran on")),
                "{told:?}: {restarts:?} {doubts:?}"
            );
        }
    }

    #[test]
    fn a_gateway_alone_tells_of_no_restart() {
        let (restarts, doubts) = found(&[(100, GET_502), (101, GET_502)]);
        assert!(restarts.is_empty() && doubts.iter().any(|d| d.starts_with("2 requests were answered with 502")), "{doubts:?}");
    }

    #[test]
    fn connections_lost_by_a_restart_are_no_fault_of_their_own() {
        let mut all =
            [(100, DIED), (101, What::Started), (102, What::Disconnected), (500, What::Disconnected), (501, What::Disconnected)]
                .map(|(second, what)| fact(second, what))
                .to_vec();
        all.insert(0, fact(0, post(202)));
        let incident = Incident::of(Read { facts: all, ..Read::default() }, None, None).unwrap();
        assert_eq!(incident.drops.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    }

    /// Where nothing but an access log tells of connections, it is asked about.
    #[test]
    fn connections_that_end_together_are_asked_about() {
        const ENDED: What = What::Other { status: Some(101) };
        let asked =
            |all: &[(i64, What)]| found(all).1.into_iter().filter(|doubt| doubt.contains("WebSockets")).collect::<Vec<_>>();
        let three = [(500, ENDED), (500, ENDED), (501, ENDED), (700, ENDED), (900, ENDED)];
        let doubts = asked(&three);
        assert!(doubts.len() == 1 && doubts[0].starts_with("3 WebSockets") && doubts[0].contains("at: 500.000s"), "{doubts:?}");
        assert!(asked(&[(100, DIED), (101, What::Started), (102, ENDED), (102, ENDED), (102, ENDED)]).is_empty());
        assert!(asked(&three[2..]).is_empty());
    }
}
