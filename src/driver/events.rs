//! Server-sent events, as the HTML standard has them (9.2.6 "Interpreting an event stream"), within bounds.

/// The longest event that is taken; a longer one ends the stream.
const MOST_EVENT: usize = 4 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `message` where none is given.
    pub name: String,
    pub data: String,
}

/// Puts events together from the pieces in which they arrive.
#[derive(Default)]
pub struct Reader {
    line: Vec<u8>,
    after_return: bool,
    name: String,
    data: String,
    has_data: bool,
}

impl Reader {
    /// Takes a piece; the events that it completes.
    ///
    /// # Errors
    /// An event is longer than is taken.
    pub fn take(&mut self, piece: &[u8]) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for &byte in piece {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_of_line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MOST_EVENT {
                return Err(format!("an event is longer than {} MiB", MOST_EVENT >> 20));
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return std::mem::take(&mut self.has_data).then_some(Event { name, data });
        }
        let line = line.trim_start_matches('\u{feff}');
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment, or a field that says nothing of a job.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        Reader::default().take(text.as_bytes()).unwrap().into_iter().map(|e| (e.name, e.data)).collect()
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let of = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        assert_eq!(read("data: a\n\n"), [of("message", "a")]);
        assert_eq!(read("event: x\r\ndata:b\r\n\r\n"), [of("x", "b")]);
        assert_eq!(read("data: 1\ndata: 2\n\n: ping\n\ndata\n\n"), [of("message", "1\n2"), of("message", "")]);
        assert_eq!(read("event: lonely\n\ndata: c\n\n"), [of("message", "c")]);
        assert_eq!(read("data: without its end"), []);
        assert_eq!(read("\u{feff}data: d\r\r"), [of("message", "d")]);
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..8).any(|_| reader.take(&piece).is_err()));
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), any::<u8>()], 0..200), at in 0usize..200) {
            let whole = Reader::default().take(&bytes).unwrap();
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            let mut reader = Reader::default();
            let mut parts = reader.take(first).unwrap();
            parts.extend(reader.take(second).unwrap());
            prop_assert_eq!(whole, parts);
        }
    }
}
