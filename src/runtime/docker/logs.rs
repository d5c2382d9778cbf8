//! Follows a container's log from the start of the run, over its restarts, without losing or repeating a line.

use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::engine::Engine;
use crate::journal::event::Event;
use crate::journal::record::LOG_END;
use crate::runtime::output::LONGEST_LINE;
use crate::secret::lines::Lines;

/// For so long the rest is read when the run has ended.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether a container that has ended says something again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Up to where the log has been read. The engine takes whole seconds, and tells each line's own time.
#[derive(Default)]
struct Mark {
    time: String,
    /// Lines with exactly that time.
    lines: usize,
    /// Of those, as many have been told again since the last connection.
    again: usize,
}

impl Mark {
    /// Whether a line is new. Times are RFC 3339 with nine digits, and so in the order of their text.
    fn is_new(&mut self, time: &str) -> bool {
        match time.cmp(self.time.as_str()) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                self.again += 1;
                let new = self.again > self.lines;
                self.lines = self.lines.max(self.again);
                new
            }
            std::cmp::Ordering::Greater => {
                *self = Self { time: time.to_owned(), lines: 1, again: 1 };
                true
            }
        }
    }
}

/// Follows one container's log, from a moment on, until it is removed or the run ends: what it said until then is read first.
pub(super) async fn follow(shared: Arc<Shared>, engine: Engine, id: String, began: jiff::Timestamp, stop: CancellationToken) {
    let mut mark = Mark { time: format!("{began:.9}"), ..Mark::default() };
    let mut told = false;
    // The engine has told all that there was.
    let mut is_whole = false;
    loop {
        mark.again = 0;
        let is_over = stop.is_cancelled();
        let read_to = mark.time.parse::<jiff::Timestamp>().unwrap_or(began);
        let since = i32::try_from(read_to.as_second()).unwrap_or(i32::MAX);
        let options =
            LogsOptionsBuilder::default().follow(!is_over).stdout(true).stderr(true).timestamps(true).since(since).build();
        let mut chunks = std::pin::pin!(engine.docker.logs(&id, Some(options)));
        let mut lines = Streams::default();
        let mut end = std::pin::pin!(async {
            if is_over {
                tokio::time::sleep(READ_WITHIN).await;
                let error = format!("its last lines were not told within {} s", READ_WITHIN.as_secs());
                shared.journal.emit(Event::Gap { source: LOG_END.into(), error });
            } else {
                stop.cancelled().await;
            }
        });
        let mut told_line = |line: &str| {
            let (time, text) = line.split_once(' ').unwrap_or((line, ""));
            if mark.is_new(time) {
                // As a terminal shows it: what stands before a carriage return is a line as well.
                let shown = text.split('\r').filter(|piece| !piece.is_empty() || text.is_empty());
                shown.for_each(|piece| shared.output.take(piece, shared.members.generation(&id)));
            }
        };
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = &mut end => break,
            };
            match chunk {
                Some(Ok(chunk)) => {
                    is_whole = false;
                    lines.take(chunk, &mut told_line);
                }
                // It was removed; the engine's events say so.
                Some(Err(EngineError::DockerResponseServerError { status_code: 404, .. })) => {
                    return removed(&shared, is_whole);
                }
                Some(Err(error)) => {
                    if is_over {
                        shared.journal.emit(Event::Gap { source: LOG_END.into(), error: error.to_string() });
                    } else if !std::mem::replace(&mut told, true) {
                        shared.journal.emit(Event::Gap { source: "container log".into(), error: error.to_string() });
                    }
                    break;
                }
                None => {
                    is_whole = true;
                    lines.finish(&mut told_line);
                    break;
                }
            }
        }
        if is_over {
            return;
        }
        let ours = shared.members.all().iter().any(|m| m.id == id && !m.removed);
        if !ours {
            return removed(&shared, is_whole);
        }
        _ = tokio::time::timeout(ASK_AGAIN, stop.cancelled()).await;
    }
}

/// The container is gone, and with it what was not read.
fn removed(shared: &Shared, is_whole: bool) {
    if !is_whole {
        let error = "it was removed before its last lines were read".to_owned();
        shared.journal.emit(Event::Gap { source: LOG_END.into(), error });
    }
}

/// Puts lines together from the pieces in which the engine sends them; standard output and error do not mix.
struct Streams {
    out: Lines,
    error: Lines,
}

impl Default for Streams {
    fn default() -> Self {
        Self { out: Lines::cut_at(LONGEST_LINE), error: Lines::cut_at(LONGEST_LINE) }
    }
}

impl Streams {
    /// Last words without an end.
    fn finish(&mut self, mut each: impl FnMut(&str)) {
        self.out.finish(&mut each);
        self.error.finish(each);
    }

    fn take(&mut self, chunk: LogOutput, each: impl FnMut(&str)) {
        match chunk {
            LogOutput::StdErr { message } => self.error.take(&message, each),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                self.out.take(&message, each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_told_again_is_known_and_its_twin_of_the_same_moment_is_not() {
        let mut mark = Mark::default();
        assert!(mark.is_new("2026-01-01T00:00:01.000000001Z"));
        assert!(mark.is_new("2026-01-01T00:00:01.000000002Z"));
        assert!(mark.is_new("2026-01-01T00:00:01.000000002Z"), "two lines may have the same time");
        mark.again = 0;
        assert!(!mark.is_new("2026-01-01T00:00:01.000000001Z"));
        assert!(!mark.is_new("2026-01-01T00:00:01.000000002Z"));
        assert!(!mark.is_new("2026-01-01T00:00:01.000000002Z"));
        assert!(mark.is_new("2026-01-01T00:00:01.000000002Z"), "a third one is new");
        assert!(mark.is_new("2026-01-01T00:00:02.000000000Z"));
    }

    #[test]
    fn pieces_become_lines_and_the_two_streams_do_not_mix() {
        let mut lines = Streams::default();
        let mut seen = Vec::new();
        let out = |text: &'static str| LogOutput::StdOut { message: text.into() };
        let error = |text: &'static str| LogOutput::StdErr { message: text.into() };
        for chunk in [out("a b"), error("E\n"), out("c\nd\n"), out("tail")] {
            lines.take(chunk, |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["E", "a bc", "d"]);
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen[3..], ["tail"]);
    }
}
