//! What is wrong with a file, where, and what would be right; and how that looks on a terminal.
//!
//! Decides nothing about what follows from a problem. A problem keeps the line it is about, so that it
//! can be shown long after the file has changed.

mod news;

use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthChar;

pub use self::news::ProblemNews;

/// The most columns of a source line that are shown; of a longer one the part around the place.
const WINDOW: usize = 120;

/// Something that is wrong with a file, a folder or a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder; for a setting that did not come from a file, what it is called.
    pub file: PathBuf,
    /// Where in the file; `None`: the file as a whole.
    pub place: Option<Box<Place>>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A place in a text, with the line it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where in the text, in bytes.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The whole line, without its end.
    pub source_line: String,
}

impl Place {
    /// The source line and the line of carets below it, both fit for a terminal.
    fn picture(&self) -> (String, String) {
        let first = self.column - 1;
        // The span may go on over several lines: what is marked ends with the first.
        let line_start = self.span.start - byte_offset(&self.source_line, first);
        let end_byte = self.span.end.saturating_sub(line_start).min(self.source_line.len());
        let marked =
            self.source_line.char_indices().skip(first).take_while(|&(at, _)| at < end_byte).count().max(1);

        let length = self.source_line.chars().count();
        let skipped = if length > WINDOW { first.saturating_sub(WINDOW / 3).min(length - WINDOW) } else { 0 };
        let (mut line, mut before, mut under) = (String::new(), 0, 0);
        if skipped > 0 {
            line.push('…');
            before += 1;
        }
        for (index, c) in self.source_line.chars().enumerate().skip(skipped).take(WINDOW) {
            let width = push_shown(&mut line, c);
            if index < first {
                before += width;
            } else if index < first + marked {
                under += width;
            }
        }
        if length > skipped + WINDOW {
            line.push('…');
        }
        (line, " ".repeat(before) + &"^".repeat(under.max(1)))
    }
}

/// The offset in bytes of the character number `index`.
fn byte_offset(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

/// Adds `c` as it is to be shown, and returns how many columns that takes. Tabs become spaces and
/// control characters a replacement, since what a terminal makes of them is not known here.
fn push_shown(line: &mut String, c: char) -> usize {
    match c {
        '\t' => {
            line.push_str("    ");
            4
        }
        c => match c.width() {
            Some(width) => {
                line.push(c);
                width
            }
            None => {
                line.push('\u{fffd}');
                1
            }
        },
    }
}

impl Problem {
    /// A problem of a file as a whole.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { file: file.into(), place: None, message: message.into(), help: None }
    }

    /// A problem at a place in a file.
    #[must_use]
    pub fn at(file: impl Into<PathBuf>, place: Place, message: impl Into<String>) -> Self {
        Self { file: file.into(), place: Some(Box::new(place)), message: message.into(), help: None }
    }

    /// The same problem with what would be right.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `file`, or `file:line:column` if the place is known.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.place {
            Some(place) => format!("{}:{}:{}", self.file.display(), place.line, place.column),
            None => self.file.display().to_string(),
        }
    }

    /// All of it but the source, in one line: for logs.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut text = format!("{}: {}", self.location(), self.message);
        if let Some(help) = &self.help {
            let _ = write!(text, " (help: {help})");
        }
        text.replace('\n', " ")
    }

    /// For a terminal: the location and what is wrong, the line with the place marked, the remedy. No line
    /// end after the last line.
    fn show(&self, f: &mut fmt::Formatter<'_>, severity: &str) -> fmt::Result {
        write!(f, "{}: {severity}: {}", self.location(), self.message)?;
        if let Some(place) = &self.place {
            let (line, carets) = place.picture();
            let number = place.line.to_string();
            let gutter = " ".repeat(number.len());
            write!(f, "\n {number} | {line}\n {gutter} | {carets}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, "error")
    }
}

impl std::error::Error for Problem {}

/// What is taken as it stands, and is probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub Problem);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f, "warning")
    }
}

/// A text and where it came from: makes places in it and problems with one.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// What the file is called in messages.
    pub path: &'a Path,
    /// All of it.
    pub text: &'a str,
    /// Where each line begins, so that the lines are not counted for each place.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    /// A text of the file that is called this in messages.
    #[must_use]
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { path, text, lines: std::iter::once(0).chain(ends).collect() }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// The bytes are not UTF-8, with the place of the first that is not.
    pub fn decode(path: &'a Path, bytes: &'a [u8]) -> Result<Self, Problem> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let at = error.valid_up_to();
                // Every broken byte becomes one replacement character, after a prefix that is as it was.
                let shown = String::from_utf8_lossy(bytes);
                let message = format!("byte 0x{:02x} is not UTF-8 here", bytes[at]);
                let problem = Source::new(path, &shown).problem(at..at + '\u{fffd}'.len_utf8(), message);
                Err(problem.with_help("save the file as UTF-8"))
            }
        }
    }

    /// The place of `span` (bytes) in this text. A span that lies outside is moved to the end.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let text = self.text;
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.lines.partition_point(|&begin| begin <= start);
        let line_start = self.lines[line - 1];
        let line_end = self.lines.get(line).map_or(text.len(), |next| next - 1);
        Place {
            span: start..span.end.clamp(start, text.len()),
            line,
            column: text[line_start..start].chars().count() + 1,
            source_line: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }

    /// A problem at `span` (bytes) of this text.
    #[must_use]
    pub fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem::at(self.path, self.place(span), message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rendered(text: &str, at: &str) -> String {
        let start = text.find(at).unwrap();
        Source::new(Path::new("a.toml"), text).problem(start..start + at.len(), "wrong").to_string()
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(
            rendered("one = 1\ntwo = three\n", "three"),
            "a.toml:2:7: error: wrong\n 2 | two = three\n   |       ^^^^^"
        );
    }

    #[test]
    fn a_tab_does_not_shift_the_caret() {
        assert_eq!(rendered("\tx = y", "y"), "a.toml:1:6: error: wrong\n 1 |     x = y\n   |         ^");
    }

    #[test]
    fn wide_characters_take_two_columns_of_the_picture_and_count_as_one() {
        assert_eq!(
            rendered("'漢字' = bad", "bad"),
            "a.toml:1:8: error: wrong\n 1 | '漢字' = bad\n   |          ^^^"
        );
    }

    #[test]
    fn a_span_of_several_lines_is_marked_on_the_first() {
        assert_eq!(
            rendered("a = [\n1,\n]\n", "[\n1,\n]"),
            "a.toml:1:5: error: wrong\n 1 | a = [\n   |     ^"
        );
    }

    #[test]
    fn a_control_character_does_not_reach_the_terminal() {
        assert_eq!(rendered("\u{1b}[2J x", "x"), "a.toml:1:6: error: wrong\n 1 | \u{fffd}[2J x\n   |      ^");
    }

    #[test]
    fn of_a_very_long_line_the_part_around_the_place_is_shown() {
        let text = format!("{} HERE {}", "a".repeat(500), "b".repeat(500));
        let shown = rendered(&text, "HERE");
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "a.toml:1:502: error: wrong");
        assert!(lines[1].chars().count() < WINDOW + 10, "{shown}");
        let column = |line: &str, what: char| line.chars().position(|c| c == what).unwrap();
        assert_eq!(column(lines[1], 'H'), column(lines[2], '^'));
    }

    #[test]
    fn a_place_at_the_end_of_the_text_can_be_shown() {
        let source = Source::new(Path::new("a.toml"), "a = ");
        assert_eq!(
            source.problem(4..4, "value missing").to_string(),
            "a.toml:1:5: error: value missing\n 1 | a = \n   |     ^"
        );
    }

    #[test]
    fn every_place_of_a_text_is_on_the_line_that_one_counts() {
        let text = "\nä = 1\r\n\n[b]\n";
        let source = Source::new(Path::new("a.toml"), text);
        for at in (0..=text.len()).filter(|&at| text.is_char_boundary(at)) {
            let place = source.place(at..at);
            let above: Vec<&str> = text[..at].split('\n').collect();
            let line = text.split('\n').nth(above.len() - 1).unwrap().trim_end_matches('\r');
            let column = above.last().unwrap().chars().count() + 1;
            assert_eq!((place.line, place.column, &*place.source_line), (above.len(), column, line), "{at}");
        }
        assert_eq!(source.place(99..100).span, text.len()..text.len());
    }

    #[test]
    fn a_byte_that_is_not_utf8_has_a_place() {
        let problem = Source::decode(Path::new("a.toml"), b"# ok\n# gr\xfc\xdfe\n").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "a.toml:2:5: error: byte 0xfc is not UTF-8 here\n 2 | # gr\u{fffd}\u{fffd}e\n   |     ^\n\
             help: save the file as UTF-8"
        );
    }
}
