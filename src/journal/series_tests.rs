//! The bounded form against every point.

use proptest::prelude::*;

use super::*;

fn of(detail: Detail, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    let mut series = Series::new(detail);
    points.into_iter().for_each(|(t, value)| series.push(t, value));
    series
}

/// Every point, in a plain list, and the plain way to each answer.
struct Plain(Vec<(f64, f64)>);

impl Plain {
    fn at(&self, t: f64) -> Option<f64> {
        self.0.iter().rev().find(|p| p.0 <= t).map(|p| p.1)
    }
    fn mean(&self, from: f64, to: f64) -> Option<f64> {
        let from = from.max(self.0.first()?.0);
        let ends = self.0.iter().skip(1).map(|p| p.0).chain([f64::INFINITY]);
        let area = |(p, end): (&(f64, f64), f64)| p.1 * (end.min(to) - p.0.max(from)).max(0.0);
        (to > from).then(|| self.0.iter().zip(ends).map(area).sum::<f64>() / (to - from))
    }
    fn extremes(&self, from: f64, to: f64) -> (f64, f64) {
        let inside = self.0.iter().filter(|p| p.0 > from && p.0 <= to).map(|p| p.1).chain(self.at(from));
        inside.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    }
}

#[test]
fn an_outline_is_bounded_and_knows_its_extremes_its_area_and_its_rise() {
    let value = |i: u32| if i == 50_001 { 99.0 } else { f64::from(i % 7) };
    let (all, outline) = (
        Plain((0..300_000).map(|i| (f64::from(i), value(i))).collect()),
        of(Detail::Outline, (0..300_000).map(|i| (f64::from(i), value(i)))),
    );
    assert!(outline.len() <= 512, "{}", outline.len());
    assert!(outline.iter().any(|p| p.value == 99.0 && p.t == 50_001.0));
    assert!(outline.iter().zip(outline.iter().skip(1)).all(|(a, b)| a.t <= b.t));
    let mean = (outline.mean(0.0, 300_000.0).unwrap(), all.mean(0.0, 300_000.0).unwrap());
    assert!((mean.0 - mean.1).abs() < 1e-9, "{mean:?}");
    // The first hour is kept as well as the last: as many points of each.
    let count = |from: f64| outline.iter().filter(|p| (from..from + 30_000.0).contains(&p.t)).count();
    assert!(count(0.0).abs_diff(count(270_000.0)) <= count(0.0) / 5, "{} and {}", count(0.0), count(270_000.0));
}

#[test]
fn a_value_holds_until_the_next() {
    let series = of(Detail::Every, [(1.0, 10.0), (3.0, 20.0)]);
    assert_eq!((series.at(0.5), series.at(2.9), series.mean(1.0, 5.0)), (None, Some(10.0), Some(15.0)));
    assert_eq!(series.stretches(2.0, 4.0), [(2.0, 3.0, 10.0), (3.0, 4.0, 20.0)]);
}

#[test]
fn what_is_no_number_is_a_gap_and_time_does_not_run_backwards() {
    let series = of(Detail::Every, [(1.0, 1.0), (2.0, f64::NAN), (3.0, f64::INFINITY), (f64::NAN, 7.0), (5.0, 2.0), (4.0, 3.0)]);
    assert_eq!(series.iter().map(|p| (p.t, p.value)).collect::<Vec<_>>(), [(1.0, 1.0), (5.0, 2.0), (5.0, 3.0)]);
}

#[test]
fn a_counter_that_begins_anew_goes_on() {
    assert_eq!(of(Detail::Every, [(0.0, 5.0), (1.0, 8.0), (2.0, 0.0), (3.0, 2.0), (4.0, 1.0)]).increase(), 3.0 + 2.0 + 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every change is kept of what is judged, so each answer is the plain list's own.
    #[test]
    fn what_is_judged_is_exact(steps in proptest::collection::vec((1u32..4000, 0u8..6), 1..6000), cuts in (0.0f64..1.0, 0.0f64..1.0)) {
        let mut t = 0.0;
        let all: Vec<(f64, f64)> = steps.iter().map(|(dt, v)| { t += f64::from(*dt) / 1e3; (t, f64::from(*v)) }).collect();
        let (series, plain) = (of(Detail::Every, all.clone()), Plain(all));
        let (from, to) = (cuts.0.min(cuts.1) * t, cuts.0.max(cuts.1) * t);
        prop_assert_eq!(series.at(from), plain.at(from));
        if let Some((mean, exact)) = series.mean(from, to).zip(plain.mean(from, to)) {
            prop_assert!((mean - exact).abs() < 1e-6, "{mean} {exact}");
        }
        if let Some(extremes) = series.extremes(from, to) {
            prop_assert_eq!(extremes, plain.extremes(from, to));
        }
    }

    /// An outline's mean is right to the width of a cell at either end, and its extremes are exact over the whole.
    #[test]
    fn an_outline_is_right_to_a_cell(seed in 0u64..1000, n in 1100usize..20_000, cuts in (0.0f64..1.0, 0.0f64..1.0)) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = move || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; (state >> 11) as f64 / (1u64 << 53) as f64 };
        let mut t = 0.0;
        let all: Vec<(f64, f64)> = (0..n).map(|_| { t += 0.01 + draw(); (t, draw()) }).collect();
        let (series, plain) = (of(Detail::Outline, all.clone()), Plain(all));
        let (from, to) = (cuts.0.min(cuts.1) * t, cuts.0.max(cuts.1) * t);
        // At most 512 cells, each of a width of at most twice the time over half of them.
        let cell = 4.0 * t / 512.0;
        prop_assert!(series.len() <= 512);
        if let Some((mean, exact)) = series.mean(from, to).zip(plain.mean(from, to)) {
            prop_assert!((mean - exact).abs() * (to - from) <= 2.0 * cell, "{mean} {exact}");
        }
        prop_assert_eq!((series.min, series.max), plain.extremes(0.0, t));
        prop_assert_eq!(series.extremes(0.0, t), Some(plain.extremes(0.0, t)));
    }
}
