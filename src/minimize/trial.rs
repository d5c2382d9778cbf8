//! Whether a candidate fails, from several runs; what was seen is kept, so that an interrupted search goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Test;
use super::candidate::Candidate;
use crate::clock::Clock;
use crate::private;
use crate::stats::rate_upper_bound;

/// How one run of a candidate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The check failed again.
    Fails,
    Holds,
    /// It is no experiment that can be run: a fault refers to one that was left out, for instance.
    Impossible,
}

/// Why no more is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// So many runs were asked for at most.
    Runs,
    Time,
    Interrupted,
    /// Something is wrong that no other candidate would mend.
    Broken(String),
}

impl Stop {
    pub fn text(&self) -> String {
        match self {
            Self::Runs => "as many runs as were allowed".to_owned(),
            Self::Time => "as long as was allowed".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
            Self::Broken(why) => why.clone(),
        }
    }
}

/// How often a candidate failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub runs: u32,
    pub fails: u32,
    pub impossible: bool,
}

impl Tally {
    /// The bounds of the share of runs that fail, each with 95 % confidence (Clopper and Pearson 1934).
    pub fn bounds(&self) -> (f64, f64) {
        let (k, n) = (u64::from(self.fails), u64::from(self.runs));
        (1.0 - rate_upper_bound(n - k, n), rate_upper_bound(k, n))
    }
}

/// What is kept between two calls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Of which run, and of which check.
    pub of: String,
    pub runs: u32,
    pub spent_s: f64,
    /// What the search went by.
    pub seen: Vec<(Candidate, Tally)>,
    /// What was seen of the end's candidates after the search: none of these runs has led to them.
    pub proven: Vec<(Candidate, Tally)>,
}

/// How much may be spent, and how much a candidate takes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub runs: u32,
    pub time: Duration,
    /// Runs of each candidate at the most; more than half of them must fail.
    pub confirm: u32,
}

/// Runs candidates, and remembers.
pub struct Trial<R> {
    pub state: State,
    path: PathBuf,
    bounds: Bounds,
    clock: Clock,
    run: R,
}

impl<R: FnMut(&Candidate) -> Result<Seen, Stop>> Trial<R> {
    /// Goes on with what is in `path`, if it is of the same run.
    ///
    /// # Errors
    /// The file belongs to another run, or cannot be read.
    pub fn open(path: &Path, of: &str, bounds: Bounds, run: R) -> Result<Self, String> {
        let state = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice::<State>(&bytes).map_err(|e| format!("{}: {e}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State { of: of.to_owned(), ..State::default() },
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        if state.of != of {
            return Err(format!("{} is of another search ({}): choose another folder with --output", path.display(), state.of));
        }
        Ok(Self { state, path: path.to_owned(), bounds, clock: Clock::start(), run })
    }

    pub fn tally(&self, candidate: &Candidate) -> Tally {
        tally(&self.state.seen, candidate)
    }

    /// In runs of its own, which the search has not gone by.
    pub fn proof(&self, candidate: &Candidate) -> Tally {
        tally(&self.state.proven, candidate)
    }

    /// Runs a candidate so often, apart from the runs that the search went by: those have chosen it, and would flatter it.
    ///
    /// # Errors
    /// A bound was reached.
    pub fn prove(&mut self, candidate: &Candidate, runs: u32) -> Result<(), Stop> {
        while self.proof(candidate).runs < runs && !self.proof(candidate).impossible {
            let tally = self.once(candidate, self.proof(candidate))?;
            keep(&mut self.state.proven, candidate, tally);
            self.save()?;
        }
        Ok(())
    }

    /// One run more.
    fn once(&mut self, candidate: &Candidate, mut tally: Tally) -> Result<Tally, Stop> {
        if self.state.runs >= self.bounds.runs {
            return Err(Stop::Runs);
        }
        if self.state.spent_s >= self.bounds.time.as_secs_f64() {
            return Err(Stop::Time);
        }
        let began = self.clock.now_s();
        let seen = (self.run)(candidate)?;
        match seen {
            Seen::Impossible => tally.impossible = true,
            Seen::Fails | Seen::Holds => {
                tally.runs += 1;
                tally.fails += u32::from(seen == Seen::Fails);
                self.state.runs += 1;
            }
        }
        self.state.spent_s += self.clock.now_s() - began;
        Ok(tally)
    }

    fn save(&self) -> Result<(), Stop> {
        let failed = |e: std::io::Error| Stop::Broken(format!("{} cannot be written: {e}", self.path.display()));
        let text = serde_json::to_vec_pretty(&self.state).map_err(|e| failed(e.into()))?;
        // A half-written state would cost everything that was found.
        let beside = self.path.with_extension("json.new");
        private::write(&beside, text).and_then(|()| std::fs::rename(&beside, &self.path)).map_err(failed)
    }
}

impl<R: FnMut(&Candidate) -> Result<Seen, Stop>> Test for Trial<R> {
    type Stop = Stop;

    /// More than half of the runs must fail. No more are done than decide it.
    fn fails(&mut self, candidate: &Candidate) -> Result<bool, Stop> {
        let needed = self.bounds.confirm / 2 + 1;
        loop {
            let tally = self.tally(candidate);
            if tally.impossible || tally.runs - tally.fails > self.bounds.confirm - needed {
                return Ok(false);
            }
            if tally.fails >= needed {
                return Ok(true);
            }
            let tally = self.once(candidate, tally)?;
            keep(&mut self.state.seen, candidate, tally);
            self.save()?;
        }
    }
}

fn tally(of: &[(Candidate, Tally)], candidate: &Candidate) -> Tally {
    of.iter().find(|(known, _)| known == candidate).map_or_else(Tally::default, |(_, tally)| *tally)
}

fn keep(all: &mut Vec<(Candidate, Tally)>, candidate: &Candidate, tally: Tally) {
    all.retain(|(known, _)| known != candidate);
    all.push((candidate.clone(), tally));
}

#[cfg(test)]
mod tests {
    use super::super::candidate::Sizes;
    use super::super::minimize;
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SIZES: Sizes = Sizes { faults: 10, loads: 1, amounts: Vec::new() };

    fn bounds(confirm: u32) -> Bounds {
        Bounds { runs: 10_000, time: Duration::from_secs(60), confirm }
    }

    /// Fails in nine of ten runs where faults 2 and 7 are there, and in one of twenty where they are not.
    fn flaky(seed: u64, confirm: u32) -> Candidate {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let run = |c: &Candidate| {
            let p = if c.faults.contains(&2) && c.faults.contains(&7) { 0.9 } else { 0.05 };
            Ok(if rng.random_bool(p) { Seen::Fails } else { Seen::Holds })
        };
        let mut trial = Trial::open(&folder.path().join("state.json"), "x", bounds(confirm), run).unwrap();
        let mut best = Candidate::whole(&SIZES);
        minimize(&SIZES, &mut best, &mut trial).unwrap();
        best
    }

    #[test]
    fn a_flaky_failure_is_not_mistaken() {
        let right = |confirm| (0..200).filter(|seed| flaky(*seed, confirm).faults == [2, 7]).count();
        let (once, five) = (right(1), right(5));
        assert!(five >= 190 && once < 150, "with one run {once}, with five {five} of 200");
    }

    #[test]
    fn a_search_that_was_stopped_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let holds = |c: &Candidate| if c.faults.contains(&2) && c.faults.contains(&7) { Seen::Fails } else { Seen::Holds };
        let mut runs = 0;
        let mut calls = 0;
        let best = loop {
            calls += 1;
            let limit = Bounds { runs: calls * 7, ..bounds(3) };
            let mut trial = Trial::open(&path, "x", limit, |c: &Candidate| {
                runs += 1;
                Ok(holds(c))
            })
            .unwrap();
            let mut best = Candidate::whole(&SIZES);
            match minimize(&SIZES, &mut best, &mut trial) {
                Ok(()) => break best,
                Err(stop) => assert_eq!(stop, Stop::Runs),
            }
        };
        assert_eq!(best.faults, [2, 7]);
        assert!(calls > 3);
        // No run was done twice for the same question.
        let state: State = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(state.runs, runs);
        assert!(Trial::open(&path, "y", bounds(3), |_: &Candidate| Ok(Seen::Holds)).is_err());
    }

    /// A failure that comes in six of ten runs is chosen by its bad luck: fresh runs tell its true share.
    #[test]
    fn what_chose_a_candidate_does_not_prove_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut run = |_: &Candidate| Ok(if rng.random_bool(0.6) { Seen::Fails } else { Seen::Holds });
        let (mut chosen, mut proven) = (Tally::default(), Tally::default());
        for n in 0..200 {
            let path = folder.path().join(format!("{n}.json"));
            let mut trial = Trial::open(&path, "x", bounds(3), &mut run).unwrap();
            let whole = Candidate::whole(&SIZES);
            if trial.fails(&whole).unwrap() {
                trial.prove(&whole, 5).unwrap();
                let (by, proof) = (trial.tally(&whole), trial.proof(&whole));
                (chosen.runs, chosen.fails) = (chosen.runs + by.runs, chosen.fails + by.fails);
                (proven.runs, proven.fails) = (proven.runs + proof.runs, proven.fails + proof.fails);
            }
        }
        let share = |tally: Tally| f64::from(tally.fails) / f64::from(tally.runs);
        assert!(share(chosen) > 0.75 && (share(proven) - 0.6).abs() < 0.06, "{} {}", share(chosen), share(proven));
    }

    #[test]
    fn how_sure_it_is_grows_with_the_runs() {
        let bounds = |fails, runs| Tally { runs, fails, impossible: false }.bounds();
        assert!((bounds(3, 3).0 - 0.05_f64.powf(1.0 / 3.0)).abs() < 1e-6);
        assert!(bounds(10, 10).0 > 0.74 && bounds(0, 10).1 < 0.26 && bounds(0, 3).1 > 0.63);
    }
}
