//! A figure over time, in bounded memory.
//!
//! Every change is kept of a series that a judge reads ([`Detail::Every`]); of the others, which are only drawn, an outline
//! in time cells of one width ([`Detail::Outline`]). When the cells become too many each takes in its neighbour, all of them
//! alike: the first hour is never kept worse than the last. A cell knows its first, lowest, highest and last value and the
//! exact area before it, so that extremes are exact and a mean is exact from cell to cell.

use serde::Serialize;

use super::chunks::Chunks;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub t: f64,
    pub value: f64,
}

/// How much of a series is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Every change: 16 bytes each, up to two million of them (24 days at one a second); from then on cells.
    #[default]
    Every,
    /// Up to 1,024 changes; from then on cells.
    Outline,
}

impl Detail {
    /// So many changes are kept, and then at most so many cells.
    const fn limits(self) -> (usize, usize) {
        match self {
            Self::Every => (1 << 21, 1 << 16),
            Self::Outline => (1 << 10, 1 << 9),
        }
    }
}

/// A series of samples; a value holds until the next point.
#[derive(Debug, Clone, Default)]
pub struct Series {
    detail: Detail,
    points: Chunks<Point>,
    /// Instead of points, once there were too many.
    cells: Option<Cells>,
    /// Over every value that was pushed.
    pub min: f64,
    pub max: f64,
    first: Option<Point>,
    last: Option<Point>,
    /// By how much it rose; what a counter shows after it began anew counts from nothing.
    risen: f64,
    /// From the first point to the last.
    area: f64,
}

impl Series {
    pub fn new(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// Takes a value in. One that is not finite is none, and one that is as the last says nothing new; time does not run
    /// backwards.
    pub fn push(&mut self, t: f64, value: f64) {
        if !value.is_finite() || !t.is_finite() {
            return;
        }
        let Some(last) = self.last else {
            let point = Point { t, value };
            (self.min, self.max, self.first, self.last) = (value, value, Some(point), Some(point));
            return self.points.push(point);
        };
        if last.value == value {
            return;
        }
        let point = Point { t: t.max(last.t), value };
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.risen += if value > last.value { value - last.value } else { value.max(0.0) };
        self.area += last.value * (point.t - last.t);
        self.last = Some(point);
        self.keep(point);
    }

    fn keep(&mut self, point: Point) {
        let (most, most_cells) = self.detail.limits();
        if let Some(cells) = &mut self.cells {
            return cells.push(point, self.area, most_cells);
        }
        self.points.push(point);
        if self.points.len() > most {
            let mut cells = Cells::default();
            let (mut area, mut before) = (0.0, self.points.first().copied());
            for point in self.points.iter() {
                area += before.map_or(0.0, |b| b.value * (point.t - b.t));
                cells.push(*point, area, most_cells);
                before = Some(*point);
            }
            (self.cells, self.points) = (Some(cells), Chunks::default());
        }
    }

    /// Its changes in their order: every one, or of each cell the first, lowest, highest and last.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Point> + '_> {
        self.since(f64::NEG_INFINITY)
    }

    /// The changes after a moment.
    pub fn since(&self, t: f64) -> Box<dyn Iterator<Item = Point> + '_> {
        match &self.cells {
            None => Box::new(self.points.since(self.points.partition_point(|p| p.t <= t)).copied()),
            Some(cells) => Box::new(cells.since(t)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// How many changes are kept.
    pub fn len(&self) -> usize {
        self.cells.as_ref().map_or(self.points.len(), |cells| cells.list.len())
    }

    pub fn first_point(&self) -> Option<Point> {
        self.first
    }

    pub fn last_point(&self) -> Option<Point> {
        self.last
    }

    pub fn last(&self) -> Option<f64> {
        self.last.map(|p| p.value)
    }

    /// The value that held at `t`.
    pub fn at(&self, t: f64) -> Option<f64> {
        self.held_at(t).map(|p| p.value)
    }

    /// The last change that is not after `t`.
    fn held_at(&self, t: f64) -> Option<Point> {
        match &self.cells {
            None => self.points.partition_point(|p| p.t <= t).checked_sub(1).and_then(|at| self.points.get(at).copied()),
            Some(cells) => cells.held_at(t).map(|(point, _)| point),
        }
    }

    /// The points from `from` to `to`, beginning with the value that held at `from`.
    pub fn between(&self, from: f64, to: f64) -> Vec<Point> {
        let held = self.at(from).map(|value| Point { t: from, value });
        held.into_iter().chain(self.since(from).take_while(|p| p.t <= to)).collect()
    }

    /// From when to when each value held, between two moments.
    pub fn stretches(&self, from: f64, to: f64) -> Vec<(f64, f64, f64)> {
        let points = self.between(from, to);
        let ends = points.iter().skip(1).map(|p| p.t).chain([to]);
        points.iter().zip(ends).map(|(p, end)| (p.t, end, p.value)).collect()
    }

    /// The lowest and the highest value that held between two moments.
    pub fn extremes(&self, from: f64, to: f64) -> Option<(f64, f64)> {
        let values = self.at(from).into_iter().chain(self.since(from).take_while(|p| p.t <= to).map(|p| p.value));
        values.fold(None, |range, v| Some(range.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v)))))
    }

    /// A series that has never changed says nothing about what it is named after.
    pub fn ever_moved(&self) -> bool {
        self.max > self.min
    }

    /// By how much a counter rose, however often it began anew.
    pub fn increase(&self) -> f64 {
        self.risen
    }

    /// The mean over time of the values between two moments; it begins with the series.
    pub fn mean(&self, from: f64, to: f64) -> Option<f64> {
        let from = from.max(self.first?.t);
        let area = || match &self.cells {
            None => self.stretches(from, to).iter().map(|(begin, end, value)| value * (end - begin)).sum(),
            Some(cells) => self.area_until(cells, to) - self.area_until(cells, from),
        };
        (to > from).then(|| area() / (to - from))
    }

    /// The area from the first point to a moment that is not before it.
    fn area_until(&self, cells: &Cells, t: f64) -> f64 {
        match self.last.filter(|last| t >= last.t) {
            Some(last) => self.area + last.value * (t - last.t),
            None => cells.held_at(t).map_or(0.0, |(held, area)| area + held.value * (t - held.t)),
        }
    }
}

/// What is kept of a stretch of time.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Of which stretch: its begin, in widths.
    number: i64,
    first: Point,
    low: Point,
    high: Point,
    last: Point,
    /// The series' area until the first point, and until the last.
    before: f64,
    until: f64,
}

impl Cell {
    fn of(number: i64, point: Point, area: f64) -> Self {
        Self { number, first: point, low: point, high: point, last: point, before: area, until: area }
    }

    /// Takes in what came later.
    fn join(&mut self, later: &Self) {
        if later.low.value < self.low.value {
            self.low = later.low;
        }
        if later.high.value > self.high.value {
            self.high = later.high;
        }
        (self.last, self.until) = (later.last, later.until);
    }

    fn points(&self) -> impl Iterator<Item = Point> + use<> {
        let mut all = [self.first, self.low, self.high, self.last];
        all.sort_by(|a, b| a.t.total_cmp(&b.t));
        let (mut seen, all) = (None, all);
        all.into_iter().filter(move |point| seen.replace(*point) != Some(*point))
    }
}

#[derive(Debug, Clone, Default)]
struct Cells {
    width: f64,
    list: Chunks<Cell>,
}

impl Cells {
    fn push(&mut self, point: Point, area: f64, most: usize) {
        if self.width <= 0.0 {
            self.width = 1e-3;
        }
        self.append(Cell::of(self.number_of(point.t), point, area));
        while self.list.len() > most {
            self.width *= 2.0;
            let old = std::mem::take(&mut self.list);
            for cell in old.iter() {
                self.append(Cell { number: self.number_of(cell.first.t), ..*cell });
            }
        }
    }

    fn number_of(&self, t: f64) -> i64 {
        (t / self.width).floor() as i64
    }

    fn append(&mut self, cell: Cell) {
        let at = self.list.len().wrapping_sub(1);
        match self.list.get_mut(at).filter(|last| last.number >= cell.number) {
            Some(last) => last.join(&cell),
            None => self.list.push(cell),
        }
    }

    fn since(&self, t: f64) -> impl Iterator<Item = Point> + '_ {
        let from = self.list.partition_point(|cell| cell.last.t <= t);
        self.list.since(from).flat_map(Cell::points).filter(move |p| p.t > t)
    }

    /// The last known point that is not after `t`, and the area until it.
    fn held_at(&self, t: f64) -> Option<(Point, f64)> {
        let at = self.list.partition_point(|cell| cell.first.t <= t).checked_sub(1)?;
        let cell = self.list.get(at)?;
        if cell.last.t <= t {
            return Some((cell.last, cell.until));
        }
        // Between its first and its last point the cell's own mean is the best guess for what lies between.
        let known = cell.points().take_while(|p| p.t <= t).last().unwrap_or(cell.first);
        let share = (known.t - cell.first.t) / (cell.last.t - cell.first.t).max(1e-12);
        Some((known, cell.before + share * (cell.until - cell.before)))
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
