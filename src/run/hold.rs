//! A fault is looked at for as long as it is held: somebody else may undo it in the middle, and then it did not last.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::world::World;
use crate::fault::{ENOUGH, Observation};
use crate::journal::event::{Event, Held, Lapse};

/// So many looks are taken at one hold ...
const LOOKS: u32 = 50;
/// ... with no less and no more than this between two.
const EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Whoever takes longer to say what is there does not say it. A look that takes as long as the hold itself tells nothing, and that is
/// no lapse.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// So many lapses are told one by one.
const TOLD: usize = 20;

/// Waits for as long as a fault, or the part of it that has this name, is held, and writes down how much of it was there
/// meanwhile. `look` says what is seen at a moment.
pub async fn watch<'a>(world: &World, fault: &str, part: &str, time: Duration, look: impl Fn() -> BoxFuture<'a, Observation>) {
    if time.is_zero() {
        return;
    }
    let from = world.clock.now_s();
    let mut looks = Looks { from, seen: Vec::new() };
    let every = (time / LOOKS).clamp(EVERY.0, EVERY.1);
    let looking = async {
        let mut held = true;
        loop {
            tokio::time::sleep(every).await;
            let looking = tokio::time::timeout(TOLD_WITHIN, look()).await;
            let seen = looking.unwrap_or_else(|_| Observation::unknown("looking took too long"));
            let is_lapse = strength(&seen).is_some_and(|strength| strength < ENOUGH);
            if std::mem::replace(&mut held, !is_lapse) && is_lapse {
                let what = if part.is_empty() { fault.to_owned() } else { format!("{fault} ({part})") };
                world
                    .journal
                    .emit(Event::Note { text: format!("{what} is held no longer, and nobody here let go of it: {seen}") });
            }
            looks.seen.push((world.clock.now_s(), seen));
        }
    };
    // Its end is punctual, whatever a look takes.
    let _: Result<(), _> = tokio::time::timeout(time, looking).await;
    let held = looks.held(part, time.as_secs_f64(), world.clock.now_s());
    world.journal.emit(Event::FaultHeld { fault: fault.to_owned(), held });
}

/// What was seen while something was held. It was seen broken when that began.
struct Looks {
    from: f64,
    seen: Vec<(f64, Observation)>,
}

impl Looks {
    fn held(&self, part: &str, planned_s: f64, to: f64) -> Held {
        let known = self.known(to);
        let whole_s = (to - self.from).max(f64::MIN_POSITIVE);
        // What changed between two looks did so in their middle, for all that is known.
        let area: f64 = known.windows(2).map(|two| (two[0].1 + two[1].1) / 2.0 * (two[1].0 - two[0].0)).sum();
        let lapses = self.lapses(to);
        Held {
            part: part.to_owned(),
            planned_s,
            from_t: self.from,
            to_t: to,
            strength: (area / whole_s).clamp(0.0, 1.0),
            looks: u32::try_from(self.seen.len()).unwrap_or(u32::MAX),
            lapses: lapses.into_iter().take(TOLD).collect(),
        }
    }

    /// The strength at each moment of which something is known, from the beginning to the end. Of one that could not be told
    /// nothing is known: it was what it was before and after. At the end it was what it was last, where the look after that has not
    /// come back yet.
    fn known(&self, to: f64) -> Vec<(f64, f64)> {
        let seen = self.seen.iter().filter_map(|(t, seen)| Some((*t, strength(seen)?)));
        let mut known: Vec<(f64, f64)> = std::iter::once((self.from, 1.0)).chain(seen).collect();
        let (last_t, last) = known[known.len() - 1];
        let is_unknown = self.seen.last().is_some_and(|(_, seen)| strength(seen).is_none());
        if is_unknown || to - last_t > 2.0 * TOLD_WITHIN.as_secs_f64() {
            known.extend([(last_t, 0.0), (to, 0.0)]);
        } else {
            known.push((to, last));
        }
        known
    }

    fn lapses(&self, to: f64) -> Vec<Lapse> {
        let mut lapses: Vec<Lapse> = Vec::new();
        let mut open = false;
        for (at, (t, seen)) in self.seen.iter().enumerate() {
            let until = self.seen.get(at + 1).map_or(to, |(t, _)| *t);
            let is_lapse = strength(seen).is_none_or(|strength| strength < ENOUGH);
            match lapses.last_mut().filter(|last| open && last.is_alike(seen)) {
                Some(last) if is_lapse => last.to_t = until,
                _ if is_lapse => lapses.push(Lapse { from_t: *t, to_t: until, seen: seen.clone() }),
                _ => {}
            }
            open = is_lapse;
        }
        lapses
    }
}

/// `None` where it cannot be told.
fn strength(seen: &Observation) -> Option<f64> {
    match seen {
        Observation::Intact { .. } => Some(0.0),
        Observation::Broken { strength, .. } => Some(strength.clamp(0.0, 1.0)),
        Observation::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks every tenth of ten seconds: `b`roken, `i`ntact, `?`.
    fn held(seen: &str) -> Held {
        let seen = seen.chars().enumerate().map(|(at, seen)| {
            let seen = match seen {
                'b' => Observation::broken(1.0, "it is stopped"),
                'h' => Observation::broken(0.5, "half of them are"),
                'i' => Observation::intact("it runs"),
                _ => Observation::unknown("nobody answers"),
            };
            (101.0 + at as f64, seen)
        });
        Looks { from: 100.0, seen: seen.collect() }.held("", 10.0, 110.0)
    }

    #[test]
    fn the_strength_is_that_of_the_whole_time() {
        for (seen, strength) in [
            ("bbbbbbbbbb", 1.0),
            ("biiiiiiiii", 0.15),
            ("bbbbibbbbb", 0.9),
            ("bbbiiibbbb", 0.7),
            ("hhhhhhhhhh", 0.525),
            ("bbb???bbbb", 1.0),
            ("bbb???iiii", 0.5),
            ("bbbbbbb???", 0.7),
            ("bb????????", 0.2),
            ("??????????", 0.0),
            // The first look takes as long as the hold.
            ("", 1.0),
        ] {
            let held = held(seen);
            assert!((held.strength - strength).abs() < 1e-9, "{seen}: {held:?}");
        }
    }

    #[test]
    fn lapses_are_told_with_their_times() {
        let held = held("bbiib?bibb");
        let told: Vec<(f64, f64)> = held.lapses.iter().map(|lapse| (lapse.from_t, lapse.to_t)).collect();
        assert_eq!(told, [(103.0, 105.0), (106.0, 107.0), (108.0, 109.0)]);
        assert_eq!(held.looks, 10);
    }

    proptest! {
        /// Whenever the looks are taken: what is there for less than nine tenths of the time is never called held, but for the
        /// time between two looks.
        #[test]
        fn never_more_than_was_there(lapse in 0.0..9.0_f64, length in 0.5..9.0_f64, mut moments in prop::collection::vec(0.0..10.0_f64, 20..200)) {
            moments.sort_by(f64::total_cmp);
            let gone = |t: f64| t >= lapse && t < lapse + length;
            let see = |t: &f64| (*t, if gone(*t) { Observation::intact("") } else { Observation::broken(1.0, "") });
            let looks = Looks { from: 0.0, seen: moments.iter().map(see).collect() };
            let truth = 1.0 - length.min(10.0 - lapse) / 10.0;
            let longest: f64 = moments.windows(2).map(|two| two[1] - two[0]).fold(moments[0].max(10.0 - moments[moments.len() - 1]), f64::max);
            prop_assume!(longest < 4.0);
            let found = looks.held("", 10.0, 10.0).strength;
            prop_assert!((found - truth).abs() <= 2.0 * longest / 10.0 + 1e-9, "{found} for {truth}");
        }
    }
}
