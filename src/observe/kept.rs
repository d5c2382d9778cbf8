//! Which of the target's series are kept. A server may have thousands, and one whose labels hold ids has new ones all the time: what
//! something judges by is always kept, and of the others the first.

use std::collections::BTreeSet;

use super::prometheus::canonical_name;

/// Series of the target's metrics that are kept over a whole run; buckets of histograms are not among them.
const MOST: usize = 400;
/// Even what is judged by has an end.
const MOST_NAMED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Kept {
    /// Names of metrics, without their labels.
    named: BTreeSet<String>,
    others: BTreeSet<String>,
    judged: BTreeSet<String>,
    /// Something was left out; and that was told.
    is_full: bool,
    is_told: bool,
}

impl Kept {
    /// `named` are the metrics that something judges by, with or without labels.
    pub fn of(named: impl IntoIterator<Item = String>) -> Self {
        Self { named: named.into_iter().map(|name| family(&canonical_name(&name)).to_owned()).collect(), ..Self::default() }
    }

    /// Whether something judges by this series.
    pub fn is_named(&self, series: &str) -> bool {
        let name = family(series);
        // A histogram is told by its parts.
        let whole = ["_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        self.named.contains(name) || self.named.contains(whole)
    }

    /// Whether this series is one of those that are kept.
    pub fn keeps(&mut self, series: &str) -> bool {
        if self.judged.contains(series) || self.others.contains(series) {
            return true;
        }
        let (kept, most) = if self.is_named(series) { (&mut self.judged, MOST_NAMED) } else { (&mut self.others, MOST) };
        let has_room = kept.len() < most;
        if has_room {
            kept.insert(series.to_owned());
        }
        self.is_full |= !has_room;
        has_room
    }

    /// That something was left out, once.
    pub fn news(&mut self) -> Option<String> {
        let is_news = self.is_full && !std::mem::replace(&mut self.is_told, self.is_full);
        is_news.then(|| {
            format!("the target has more than {MOST} series of metrics: only those that are judged by, and the first {MOST} others, are kept")
        })
    }
}

/// The name before the labels.
fn family(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_judged_by_is_kept_however_much_there_is_besides() {
        let mut kept = Kept::of(["zebra".to_owned(), "wait_seconds".to_owned(), "queue{a=\"1\"}".to_owned()]);
        let all = (0..5_000).filter(|n| kept.keeps(&format!("jobs{{id=\"{n}\"}}"))).count();
        assert_eq!(all, MOST);
        assert!(kept.news().is_some_and(|told| told.contains("400")) && kept.news().is_none(), "it is told once");
        for series in ["zebra", "zebra{id=\"7\"}", "wait_seconds_count", "wait_seconds_sum{x=\"y\"}", "queue{a=\"2\"}"] {
            assert!(kept.keeps(series), "{series}");
        }
        assert!(kept.keeps("jobs{id=\"3\"}") && !kept.keeps("jobs{id=\"4999\"}") && !kept.keeps("zebras"));
    }
}
