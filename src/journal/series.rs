//! A figure over time in bounded memory.

use serde::Serialize;

/// Above this many points neighbours are merged two by two, keeping the extremes.
const MOST_POINTS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub t: f64,
    pub value: f64,
}

/// A series of samples; a value holds until the next point.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub points: Vec<Point>,
    /// Over every value that was pushed, thinned out or not.
    pub min: f64,
    pub max: f64,
}

impl Series {
    pub fn push(&mut self, t: f64, value: f64) {
        if self.points.is_empty() {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.points.push(Point { t, value });
        if self.points.len() > MOST_POINTS {
            self.thin();
        }
    }

    /// Of each four points keeps the lowest and the highest, in their order.
    fn thin(&mut self) {
        let thinned = self.points.chunks(4).flat_map(|chunk| {
            let by_value = |a: &&Point, b: &&Point| a.value.total_cmp(&b.value);
            let (low, high) = (chunk.iter().min_by(by_value), chunk.iter().max_by(by_value));
            let mut kept: Vec<Point> = [low, high].into_iter().flatten().copied().collect();
            kept.sort_by(|a, b| a.t.total_cmp(&b.t));
            kept.dedup();
            kept
        });
        self.points = thinned.collect();
    }

    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|p| p.value)
    }

    /// The value that held at `t`.
    pub fn at(&self, t: f64) -> Option<f64> {
        let after = self.points.partition_point(|p| p.t <= t);
        after.checked_sub(1).map(|i| self.points[i].value)
    }

    /// The points from `from` to `to`, beginning with the value that held at `from`.
    pub fn between(&self, from: f64, to: f64) -> Vec<Point> {
        let held = self.at(from).map(|value| Point { t: from, value });
        held.into_iter().chain(self.points.iter().copied().filter(|p| p.t > from && p.t <= to)).collect()
    }

    /// A series that has never changed says nothing about what it is named after.
    pub fn ever_moved(&self) -> bool {
        self.max > self.min
    }

    /// The mean over time of the values between two moments.
    pub fn mean(&self, from: f64, to: f64) -> Option<f64> {
        let points = self.between(from, to);
        let ends = points.iter().skip(1).map(|p| p.t).chain([to]);
        let area: f64 = points.iter().zip(ends).map(|(p, end)| p.value * (end - p.t)).sum();
        let length = to - points.first()?.t;
        (length > 0.0).then(|| area / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_extremes_are_kept() {
        let mut series = Series::default();
        for i in 0..100_000 {
            series.push(f64::from(i), if i == 50_001 { 99.0 } else { f64::from(i % 7) });
        }
        assert!(series.points.len() <= MOST_POINTS);
        assert!(series.points.iter().any(|p| p.value == 99.0));
        assert!(series.points.windows(2).all(|w| w[0].t <= w[1].t));
    }

    #[test]
    fn a_value_holds_until_the_next() {
        let mut series = Series::default();
        series.push(1.0, 10.0);
        series.push(3.0, 20.0);
        assert_eq!(series.at(0.5), None);
        assert_eq!(series.at(2.9), Some(10.0));
        assert_eq!(series.mean(1.0, 5.0), Some(15.0));
    }
}
