//! What is wrong with a file, where, and what to do about it: plain data, rendered for people or as JSON.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::secret;

/// A text that positions point into: a file, or the value of a `--set`.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// A stretch of bytes in one of the sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// One thing that is wrong: where it stands, what was expected, and the remedy.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub span: Span,
    pub title: String,
    pub label: String,
    pub help: Option<String>,
}

/// A diagnostic with its position spelled out, for machines.
#[derive(Debug, Serialize)]
pub struct Located<'a> {
    pub file: &'a str,
    pub line: usize,
    pub column: usize,
    pub message: &'a str,
    pub expected: &'a str,
    pub help: Option<&'a str>,
}

/// Every problem found so far, and the texts that they point into.
#[derive(Debug)]
pub struct Diagnostics {
    pub sources: Vec<Source>,
    pub found: Vec<Diagnostic>,
    /// What every time in the file that is being read is multiplied with.
    pub time_scale: f64,
}

impl Default for Diagnostics {
    fn default() -> Self {
        Self { sources: Vec::new(), found: Vec::new(), time_scale: 1.0 }
    }
}

impl Diagnostics {
    /// Adds a text and returns its number for use in spans.
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        self.sources.push(Source { name: name.into(), text: text.into() });
        self.sources.len() - 1
    }

    /// Whatever it quotes, no secret is in it.
    pub fn error(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>) -> &mut Diagnostic {
        let (title, label) = (secret::masked(&title.into()), secret::masked(&label.into()));
        self.found.push(Diagnostic { span, title, label, help: None });
        self.found.last_mut().expect("one was just pushed")
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All problems as plain data, in the order of the file.
    pub fn located(&self) -> Vec<Located<'_>> {
        let mut sorted: Vec<&Diagnostic> = self.found.iter().collect();
        sorted.sort_by_key(|d| (d.span.source, d.span.start));
        sorted.into_iter().map(|d| self.locate(d)).collect()
    }

    fn locate<'a>(&'a self, d: &'a Diagnostic) -> Located<'a> {
        let source = &self.sources[d.span.source];
        let range = clamp(&source.text, d.span);
        let before = &source.text[..range.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Located {
            file: &source.name,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: &d.title,
            expected: &d.label,
            help: d.help.as_deref(),
        }
    }

    /// All problems with the lines that they stand in, as a compiler would show them.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut sorted: Vec<&Diagnostic> = self.found.iter().collect();
        sorted.sort_by_key(|d| (d.span.source, d.span.start));
        let rendered: Vec<String> = sorted.iter().map(|d| self.render_one(d, &renderer)).collect();
        secret::masked(&rendered.join("\n\n"))
    }

    fn render_one(&self, d: &Diagnostic, renderer: &Renderer) -> String {
        let source = &self.sources[d.span.source];
        let snippet = Snippet::source(&source.text)
            .path(&source.name)
            .annotation(AnnotationKind::Primary.span(clamp(&source.text, d.span)).label(&d.label));
        let mut group = Level::ERROR.primary_title(&d.title).element(snippet);
        if let Some(help) = &d.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

impl Diagnostic {
    pub fn help(&mut self, text: impl Into<String>) {
        self.help = Some(secret::masked(&text.into()));
    }
}

/// A span that surely lies inside the text and on character boundaries, and is not empty where it need not be.
fn clamp(text: &str, span: Span) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    let end = floor(span.end).max(start);
    if end == start && end < text.len() { start..floor(end + 1).max(start) } else { start..end }
}

/// The word of `known` that `typed` was most likely meant to be.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(typed.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
