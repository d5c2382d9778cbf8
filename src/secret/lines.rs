//! The lines of what is read piece by piece, masked before they are cut.

use super::{Redactor, known};

/// Puts lines together from pieces, wherever those are cut; each comes out masked, and then cut.
pub struct Lines {
    line: Vec<u8>,
    /// The rest of this line is not kept.
    over: bool,
    /// A carriage return ends a line, too: what draws a progress bar begins its line again with one.
    at_returns: bool,
    /// The last line ended with one, and a line feed after it belongs to it.
    returned: bool,
    longest: usize,
    secrets: fn() -> Redactor,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub fn cut_at(longest: usize) -> Self {
        Self::of(longest, known)
    }

    pub(super) fn of(longest: usize, secrets: fn() -> Redactor) -> Self {
        Self { line: Vec::new(), over: false, at_returns: false, returned: false, longest, secrets }
    }

    /// As a terminal shows them: what stands before a carriage return is a line as well.
    pub fn at_returns(self) -> Self {
        Self { at_returns: true, ..self }
    }

    /// Takes the next piece, and hands over every line that ends in it.
    pub fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n' || (self.at_returns && *byte == b'\r')) {
            self.keep(&piece[..end]);
            let (returns, returned) = (piece[end] == b'\r', std::mem::replace(&mut self.returned, piece[end] == b'\r'));
            // A bar begins with its return, and a line of Windows ends with both.
            if !(self.line.is_empty() && (returns || (returned && end == 0))) {
                self.end(&mut each);
            }
            piece = &piece[end + 1..];
        }
        self.returned &= piece.is_empty();
        self.keep(piece);
    }

    /// Hands over what was not ended by a line break.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(&mut each);
        }
    }

    /// Of a long line as much is kept as shows the whole of every secret that begins before the cut.
    fn keep(&mut self, bytes: &[u8]) {
        let most = self.longest + (self.secrets)().reach();
        let room = most.saturating_sub(self.line.len());
        self.over |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, each: &mut impl FnMut(&str)) {
        let secrets = (self.secrets)();
        let shown = if self.over { self.line.len().min(self.longest) } else { self.line.len() };
        let mut masked = secrets.head(&self.line, shown);
        masked.truncate(self.longest);
        each(String::from_utf8_lossy(&masked).trim_end());
        self.line.clear();
        self.over = false;
    }
}
