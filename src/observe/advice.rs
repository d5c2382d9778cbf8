//! Tells what happened from what is only spoken of: admission controls and start lines say what would run out of memory, and what to
//! do then.

const CONDITIONS: [&str; 10] = ["would", "might", "may", "could", "if", "avoid", "avoids", "prevent", "prevents", "reduces"];
/// Further in front it is said of something else.
const NEAR: usize = 4;
/// As much of what stands in front is looked at, in bytes.
const LOOKED_AT: usize = 200;

/// What ends there is said of what might happen: "it would run out of memory" is an admission control's, and nothing ran out.
pub fn is_conditional(before: &str) -> bool {
    speaks(before, &["not", "have"])
}

/// The same of a line in a log. There "it may be out of memory" is a guess at what has happened.
pub fn is_advice(before: &str) -> bool {
    speaks(before, &["not", "have", "be"])
}

/// A condition stands near, which none of these words follows.
fn speaks(before: &str, happened: &[&str]) -> bool {
    let ends = ['.', ':', ';', ',', '!', '?', '"', '(', '\n'];
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(LOOKED_AT))..];
    let clause = near.rsplit(ends).next().unwrap_or_default().to_lowercase();
    // `all_reduce` and `case-7` are names.
    let is_of_a_word = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '_' | '-');
    let words: Vec<&str> = clause.split(|c| !is_of_a_word(c)).filter(|word| !word.is_empty()).collect();
    let first = words.len().saturating_sub(NEAR);
    let follows = |at: usize, wanted: &[&str]| words.get(at + 1).is_some_and(|next| wanted.contains(next));
    let precedes = |at: usize, wanted: &str| at.checked_sub(1).is_some_and(|last| words[last] == wanted);
    (first..words.len()).any(|at| match words[at] {
        "case" => precedes(at, "in") && follows(at, &["of"]),
        "reduce" => precedes(at, "to"),
        word => CONDITIONS.contains(&word) && !follows(at, happened),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_happen_has_not_happened() {
        for would in [
            "the request would run ",
            "Queue full; a batch of 8 might be ",
            "Rejected to avoid ",
            "it may go ",
            "in case of ",
            "smaller tiles to reduce ",
        ] {
            assert!(is_conditional(would), "{would}");
        }
        for did in [
            "",
            "all_reduce failed with CUDA ",
            "rank 1 died in all_reduce with CUDA ",
            "in this case CUDA ran ",
            "job case-7 ran ",
            "would-be ",
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

    #[test]
    fn a_log_guesses_at_what_has_happened() {
        assert!(!is_advice("cudaMalloc failed, the device may be ") && is_conditional("a batch of 8 may be "));
        assert!(is_advice("If an ") && is_advice("this may run "));
        assert!(is_advice(&format!("{}é ", "if ".repeat(100_000))), "of a long line the end is looked at");
    }
}
