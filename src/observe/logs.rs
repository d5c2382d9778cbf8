//! Which log lines matter.

use regex::RegexSet;

/// The patterns of a run: the driver's, the triggers', the checks'.
#[derive(Debug, Default)]
pub struct LogMatcher {
    names: Vec<String>,
    set: RegexSet,
}

impl LogMatcher {
    /// # Errors
    /// When a pattern is no regular expression; planning has refused those already.
    pub fn new(patterns: &[(String, String)]) -> Result<Self, String> {
        let set = RegexSet::new(patterns.iter().map(|(_, pattern)| pattern)).map_err(|e| e.to_string())?;
        Ok(Self { names: patterns.iter().map(|(name, _)| name.clone()).collect(), set })
    }

    /// The names of the patterns that a line matches.
    pub fn matching<'a>(&'a self, line: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let matches: Vec<usize> = self.set.matches(line).into_iter().collect();
        matches.into_iter().map(|at| self.names[at].as_str())
    }
}
