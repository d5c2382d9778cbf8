//! Ends that are pushed before the answer to the submission: a fast job, or a warm cache. Nobody follows the job yet, because nobody knows
//! its name. They are kept for a moment.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::event::JobView;

/// An answer that takes longer is another matter, and its end is asked for.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// A target may tell everybody of everything.
const MOST: usize = 64;
/// Of a name that was followed before it is the end of that job, told once more.
const MOST_FOLLOWED: usize = 256;

#[derive(Default)]
pub struct Early {
    ends: VecDeque<(Instant, String, JobView)>,
    followed: VecDeque<String>,
}

impl Early {
    /// Keeps what was told of a job that nobody follows.
    pub fn keep(&mut self, id: &str, view: JobView) {
        if !view.state.is_terminal() || self.followed.iter().any(|known| known == id) {
            return;
        }
        if self.ends.len() >= MOST {
            self.ends.pop_front();
        }
        self.ends.push_back((Instant::now(), id.to_owned(), view));
    }

    /// What was told over a connection that is lost may be of an earlier life of the target, whose numbers come back.
    pub fn forget(&mut self) {
        self.ends.clear();
    }

    /// The end of a job that is followed from now on, if it has been told already.
    pub fn take(&mut self, id: &str) -> Option<JobView> {
        self.ends.retain(|(since, ..)| since.elapsed() < KEPT_FOR);
        if self.followed.len() >= MOST_FOLLOWED {
            self.followed.pop_front();
        }
        self.followed.push_back(id.to_owned());
        let at = self.ends.iter().position(|(_, of, _)| of == id)?;
        self.ends.remove(at).map(|(_, _, view)| view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::event::JobState;

    #[tokio::test(start_paused = true)]
    async fn an_end_is_kept_for_a_moment_and_only_for_who_was_not_followed() {
        let (mut early, done, runs) = (Early::default(), JobView::of(JobState::Completed), JobView::of(JobState::Running));
        early.keep("a", done.clone());
        early.keep("b", runs);
        assert_eq!((early.take("a"), early.take("b")), (Some(done.clone()), None));
        early.keep("a", done.clone());
        assert_eq!(early.take("a"), None, "a number that comes back has not ended yet");
        early.keep("d", done.clone());
        early.forget();
        assert_eq!(early.take("d"), None);
        early.keep("c", done.clone());
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!(early.take("c"), None);
        (0..2 * MOST).for_each(|at| early.keep(&format!("x{at}"), done.clone()));
        assert!(early.ends.len() == MOST && early.take("x0").is_none() && early.take("x127").is_some());
    }
}
