//! Text that others have written, made harmless for a terminal and a log. Pure.

use std::fmt::{Display, Formatter, Result, Write};

/// A text with its control characters, but for those that are kept, as Rust would write them in a string.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a> {
    text: &'a str,
    kept: &'a [char],
}

impl<'a> Printable<'a> {
    /// One line, of which nothing is kept.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, kept: &[] }
    }

    /// The same, but for these characters.
    #[must_use]
    pub fn keeping(self, kept: &'a [char]) -> Self {
        Self { kept, ..self }
    }
}

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for character in self.text.chars() {
            if character.is_control() && !self.kept.contains(&character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_written_cannot_steer_a_terminal() {
        let text = "a\u{1b}[2Jb\tc\r\0é\u{9b}1m\n";
        assert_eq!(Printable::new(text).to_string(), "a\\u{1b}[2Jb\\tc\\r\\u{0}é\\u{9b}1m\\n");
        let kept = Printable::new(text).keeping(&['\t', '\n']).to_string();
        assert_eq!(kept, "a\\u{1b}[2Jb\tc\\r\\u{0}é\\u{9b}1m\n");
    }
}
