//! Tells what happened from what is only spoken of: admission controls and start lines say what would run out of memory, and what to
//! do then.

/// What ends there is said of what might happen: "it would run out of memory" is an admission control's, and nothing ran out.
pub fn is_conditional(before: &str) -> bool {
    const CONDITIONS: [&str; 11] =
        ["would", "might", "may", "could", "if", "case", "avoid", "avoids", "prevent", "prevents", "reduce"];
    /// Further in front it is said of something else.
    const NEAR: usize = 4;
    let ends = ['.', ':', ';', ',', '!', '?', '"', '(', '\n'];
    let clause = before.rsplit(ends).next().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = clause.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty()).collect();
    let near = words.len().saturating_sub(NEAR);
    let negated = |at: usize| words.get(at + 1).is_some_and(|next| ["not", "have"].contains(next));
    (near..words.len()).any(|at| CONDITIONS.contains(&words[at]) && !negated(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_happen_has_not_happened() {
        for would in ["the request would run ", "Queue full; a batch of 8 might be ", "Rejected to avoid ", "it may go "] {
            assert!(is_conditional(would), "{would}");
        }
        for did in [
            "",
            "CUDA ",
            "could not allocate (",
            "Try what would fit. CUDA ",
            "the job might be retried: CUDA ",
            "Your image may be too large, CUDA ",
            "the worker that would have served this request ran ",
            "the worker may have run ",
            "Maybe ",
        ] {
            assert!(!is_conditional(did), "{did}");
        }
    }
}
