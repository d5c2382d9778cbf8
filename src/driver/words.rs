//! Words in which backends speak of jobs, for what nobody has said in a driver.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::StateWord;

/// The states, in any case, and ours. The last two are of a field such as `done`.
pub const STATES: [(&str, StateWord); 42] = [
    ("queued", StateWord::Queued),
    ("pending", StateWord::Queued),
    ("waiting", StateWord::Queued),
    ("created", StateWord::Queued),
    ("accepted", StateWord::Queued),
    ("submitted", StateWord::Queued),
    ("scheduled", StateWord::Queued),
    ("enqueued", StateWord::Queued),
    ("in_queue", StateWord::Queued),
    ("running", StateWord::Running),
    ("processing", StateWord::Running),
    ("in_progress", StateWord::Running),
    ("started", StateWord::Running),
    ("starting", StateWord::Running),
    ("working", StateWord::Running),
    ("initializing", StateWord::Running),
    ("loading", StateWord::Running),
    ("retrying", StateWord::Running),
    ("completed", StateWord::Completed),
    ("complete", StateWord::Completed),
    ("done", StateWord::Completed),
    ("finished", StateWord::Completed),
    ("success", StateWord::Completed),
    ("succeeded", StateWord::Completed),
    ("successful", StateWord::Completed),
    ("processed", StateWord::Completed),
    ("ready", StateWord::Completed),
    ("failed", StateWord::Failed),
    ("failure", StateWord::Failed),
    ("fail", StateWord::Failed),
    ("error", StateWord::Failed),
    ("timeout", StateWord::Failed),
    ("timed_out", StateWord::Failed),
    ("expired", StateWord::Failed),
    ("rejected", StateWord::Failed),
    ("dead", StateWord::Failed),
    ("cancelled", StateWord::Cancelled),
    ("canceled", StateWord::Cancelled),
    ("aborted", StateWord::Cancelled),
    ("revoked", StateWord::Cancelled),
    ("true", StateWord::Completed),
    ("false", StateWord::Running),
];
/// What a job's id is called, as `plain` writes it, the likeliest first.
pub const IDS: [&str; 13] = [
    "id",
    "jobid",
    "taskid",
    "requestid",
    "promptid",
    "uuid",
    "generationid",
    "eventid",
    "callid",
    "operationid",
    "predictionid",
    "executionid",
    "runid",
];
/// ... and its state.
pub const STATE: [&str; 5] = ["status", "state", "jobstatus", "taskstatus", "phase"];
/// What an envelope holds a job in.
pub const HELD: [&str; 3] = ["data", "job", "task"];

/// No word is longer, with all that parts it.
const LONGEST: usize = 64;

/// A name without its case and signs.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A word without its case, and without what parts words; `None` of a number and of other scripts, where nothing may be left out, and
/// of what is too long for a word.
fn folded(word: &str) -> Option<impl Iterator<Item = char> + '_> {
    let is_plain = word.len() <= LONGEST && word.is_ascii() && word.starts_with(|c: char| c.is_ascii_alphabetic());
    let parts = |c: &char| !matches!(c, '-' | '_' | ' ' | '.');
    is_plain.then(|| word.chars().filter(parts).map(|c| c.to_ascii_lowercase()))
}

/// The same word, whatever its case and what parts its words.
pub fn is_same(one: &str, other: &str) -> bool {
    folded(one).zip(folded(other)).is_some_and(|(one, other)| one.eq(other))
}

/// What a word for a state means, whatever its case and what parts its words.
pub fn meaning(word: &str) -> Option<StateWord> {
    static OURS: LazyLock<HashMap<String, StateWord>> =
        LazyLock::new(|| STATES.iter().filter_map(|(theirs, ours)| Some((folded(theirs)?.collect(), *ours))).collect());
    OURS.get(&folded(word)?.collect::<String>()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_by_its_letters_and_nothing_else_is_left_out() {
        assert_eq!(meaning("In-Progress"), Some(StateWord::Running));
        assert_eq!(meaning("IN QUEUE"), Some(StateWord::Queued));
        assert_eq!((meaning("-1"), meaning("2?"), meaning("失败"), meaning("")), (None, None, None, None));
        assert!(is_same("In-Progress", "in_progress") && !is_same("in_progress", "progress"));
        assert!(!is_same("-2", "2") && !is_same("2", "2") && !is_same("完成", "完成"));
        let long = "x".repeat(LONGEST + 1);
        assert!(!is_same(&long, &long), "an answer of megabytes is no word");
    }
}
