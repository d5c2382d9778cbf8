//! The figures of one sample. A number that is not finite never gets in: JSON has no word for it, and a line that holds one
//! could not be read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Figures by the names of their series; each is finite.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, f64>);

impl Values {
    /// Takes a figure in, if it is one.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.0.insert(name.into(), value);
        }
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Values {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(items: I) -> Self {
        let mut values = Self::default();
        items.into_iter().for_each(|(name, value)| values.insert(name, value));
        values
    }
}

impl<N: Into<String>, const COUNT: usize> From<[(N, f64); COUNT]> for Values {
    fn from(items: [(N, f64); COUNT]) -> Self {
        items.into_iter().collect()
    }
}

impl From<BTreeMap<String, f64>> for Values {
    fn from(items: BTreeMap<String, f64>) -> Self {
        items.into_iter().collect()
    }
}

impl<'de> Deserialize<'de> for Values {
    /// Older journals have `null` where a figure was not finite: a gap.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
        Ok(found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_get_in_and_gaps_are_read() {
        let values: Values = [("a", 1.0), ("b", f64::NAN), ("c", f64::NEG_INFINITY)].into();
        assert_eq!(serde_json::to_string(&values).unwrap(), r#"{"a":1.0}"#);
        let read: Values = serde_json::from_str(r#"{"a":1.0,"b":null}"#).unwrap();
        assert_eq!(read, values);
    }
}
