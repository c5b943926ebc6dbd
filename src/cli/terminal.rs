//! What stdout is: how wide, and whether it has colours. Only this file asks.

use std::io::{IsTerminal, stdout};

/// What a terminal has where nobody says.
const USUAL: (u16, u16) = (80, 24);

/// A terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// How many columns it has.
    pub columns: u16,
    /// How many rows it has.
    pub rows: u16,
    /// Whether it can be drawn on, and lines need not come one after the other.
    pub is_addressable: bool,
    /// Whether colours are wanted.
    pub has_colours: bool,
}

impl Terminal {
    /// The terminal that stdout is; `None` where it is a pipe or a file.
    #[must_use]
    pub fn of_stdout() -> Option<Self> {
        if !stdout().is_terminal() {
            return None;
        }
        let (columns, rows) = match rustix::termios::tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            Ok(_) | Err(_) => USUAL,
        };
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_addressable = variable("TERM").is_some_and(|term| term != "dumb");
        // https://no-color.org
        let has_colours = is_addressable && variable("NO_COLOR").is_none();
        Some(Self { columns, rows, is_addressable, has_colours })
    }
}

/// A colour, used where somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Something is wrong.
    Red,
    /// Something goes on.
    BoldGreen,
}

impl Colour {
    /// The text in this colour, where there are any.
    #[must_use]
    pub fn paint(self, text: &str, has_colours: bool) -> String {
        if !has_colours {
            return text.to_owned();
        }
        let code = match self {
            Self::Red => "31",
            Self::BoldGreen => "1;32",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
