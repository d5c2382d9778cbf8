//! The smallest experiment that still fails.
//!
//! Delta debugging: ddmin of Zeller and Hildebrandt (Simplifying and Isolating Failure-Inducing Input, IEEE TSE 2002) over the
//! faults and over the loads, then halving and bisection of every number that says how much. A target is not deterministic, so
//! a candidate is believed after several runs only ([`trial`]).

pub mod candidate;
pub mod summary;
pub mod trial;

use std::collections::BTreeMap;

use candidate::{Amount, Candidate, Sizes};

/// Whether a candidate still fails.
pub trait Test {
    /// Why no more can be tried.
    type Stop;
    /// # Errors
    /// A bound was reached, or somebody stopped it.
    fn fails(&mut self, candidate: &Candidate) -> Result<bool, Self::Stop>;
}

/// Makes it smaller as long as it goes on failing. `best` is the smallest known at any time, also when it is stopped.
///
/// # Errors
/// A bound was reached, or somebody stopped it.
pub fn minimize<T: Test>(sizes: &Sizes, best: &mut Candidate, test: &mut T) -> Result<(), T::Stop> {
    // The largest value of each number that was seen to hold.
    let mut held = BTreeMap::new();
    loop {
        let before = best.clone();
        reduce(best, test, |c| &mut c.faults, 0)?;
        // Without any load nothing would be asked of the target, and no check could tell.
        reduce(best, test, |c| &mut c.loads, 1)?;
        for amount in &sizes.amounts {
            if best.has(amount) {
                shrink(best, test, amount, &mut held)?;
            }
        }
        if *best == before {
            return Ok(());
        }
    }
}

/// ddmin on one list of a candidate, which keeps at least so many.
fn reduce<T: Test>(
    best: &mut Candidate,
    test: &mut T,
    list: impl Fn(&mut Candidate) -> &mut Vec<usize>,
    least: usize,
) -> Result<(), T::Stop> {
    let mut pieces = 2;
    loop {
        let all = list(best).clone();
        if all.len() <= least {
            return Ok(());
        }
        let size = all.len().div_ceil(pieces.min(all.len()));
        let chunks: Vec<&[usize]> = all.chunks(size).collect();
        let mut tries: Vec<(Vec<usize>, usize)> = Vec::new();
        if chunks.len() > 1 {
            // A piece alone, then all but a piece.
            tries.extend(chunks.iter().map(|chunk| (chunk.to_vec(), 2)));
        }
        let without =
            |at: usize| chunks.iter().enumerate().filter(|(i, _)| *i != at).flat_map(|(_, c)| c.iter().copied()).collect();
        tries.extend((0..chunks.len()).map(|at| (without(at), chunks.len().saturating_sub(1).max(2))));
        let mut found = None;
        for (kept, next) in tries.into_iter().filter(|(kept, _)| kept.len() >= least && kept.len() < all.len()) {
            let mut candidate = best.clone();
            *list(&mut candidate) = kept;
            if test.fails(&candidate)? {
                found = Some((candidate, next));
                break;
            }
        }
        match found {
            Some((candidate, next)) => {
                *best = candidate;
                pieces = next;
            }
            None if chunks.len() >= all.len() => return Ok(()),
            None => pieces = (pieces * 2).min(all.len()),
        }
    }
}

/// A number is close enough to the smallest that fails when what holds is less than this share below it.
const CLOSE: u64 = 10;

/// Halves a number as long as it goes on failing, and then looks between what fails and what holds.
fn shrink<T: Test>(best: &mut Candidate, test: &mut T, amount: &Amount, held: &mut BTreeMap<String, u64>) -> Result<(), T::Stop> {
    let least = amount.least();
    // In a later round: does what held still hold, now that the rest is smaller?
    let mut next = held.remove(&amount.path);
    let mut holds = None;
    loop {
        let fails = best.amount(amount);
        let value = match (next.take(), holds) {
            (Some(value), _) => value,
            (None, Some(holds)) if fails - holds <= (fails / CLOSE).max(1) => break,
            (None, Some(holds)) => holds + (fails - holds) / 2,
            (None, None) => (fails / 2).max(least),
        };
        if value >= fails {
            break;
        }
        let mut candidate = best.clone();
        candidate.amounts.insert(amount.path.clone(), value);
        match test.fails(&candidate)? {
            true => *best = candidate,
            false => holds = Some(value),
        }
    }
    held.extend(holds.map(|holds| (amount.path.clone(), holds)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::candidate::Unit;
    use super::*;

    /// Fails where all of `needed` are there, and counts how often it was asked.
    struct Needs {
        needed: Vec<usize>,
        least_jobs: u64,
        asked: usize,
    }

    impl Test for Needs {
        type Stop = ();
        fn fails(&mut self, c: &Candidate) -> Result<bool, ()> {
            self.asked += 1;
            Ok(self.needed.iter().all(|n| c.faults.contains(n))
                && c.amounts.get("load.0.jobs").is_none_or(|n| *n >= self.least_jobs))
        }
    }

    fn run(faults: usize, needed: &[usize]) -> (Candidate, usize) {
        let amount = |path: &str, full| Amount { path: path.into(), full, unit: Unit::Count };
        // The first belongs to a fault that is not always kept.
        let amounts = vec![amount("faults.0.jobs", 9), amount("load.0.jobs", 64), amount("duration", 8000)];
        let sizes = Sizes { faults, loads: 2, amounts };
        let (mut best, mut test) = (Candidate::whole(&sizes), Needs { needed: needed.to_vec(), least_jobs: 10, asked: 0 });
        minimize(&sizes, &mut best, &mut test).unwrap();
        (best, test.asked)
    }

    #[test]
    fn any_two_of_ten_are_found() {
        for a in 0..10 {
            for b in a + 1..10 {
                let (best, asked) = run(10, &[a, b]);
                assert_eq!(best.faults, [a, b]);
                assert_eq!(
                    (best.loads.as_slice(), best.amounts["load.0.jobs"], best.amounts["duration"]),
                    ([0].as_slice(), 10, 8)
                );
                assert_eq!(best.amounts.contains_key("faults.0.jobs"), a == 0);
                assert!(asked <= 110, "{asked}");
            }
        }
    }

    #[test]
    fn none_one_and_all_are_found() {
        assert_eq!(run(10, &[]).0.faults, Vec::<usize>::new());
        assert_eq!(run(10, &[7]).0.faults, [7]);
        assert_eq!(run(5, &[0, 1, 2, 3, 4]).0.faults, [0, 1, 2, 3, 4]);
        assert_eq!(run(0, &[]).0.faults, Vec::<usize>::new());
    }
}
