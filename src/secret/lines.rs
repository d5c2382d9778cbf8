//! The lines of what is read piece by piece, masked before they are cut.

use super::{Redactor, known};

/// Puts lines together from pieces, wherever those are cut; each comes out masked, and then cut.
pub struct Lines {
    line: Vec<u8>,
    /// The rest of this line is not kept.
    over: bool,
    longest: usize,
    secrets: fn() -> Redactor,
}

impl Lines {
    /// Lines of at most so many bytes.
    pub fn cut_at(longest: usize) -> Self {
        Self::of(longest, known)
    }

    pub(super) fn of(longest: usize, secrets: fn() -> Redactor) -> Self {
        Self { line: Vec::new(), over: false, longest, secrets }
    }

    /// Takes the next piece, and hands over every line that ends in it.
    pub fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.keep(&piece[..end]);
            self.end(&mut each);
            piece = &piece[end + 1..];
        }
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
