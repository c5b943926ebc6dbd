//! A text on a terminal, in the place of the one before it. Pure.

use unicode_width::UnicodeWidthChar;

use super::Terminal;

/// To the upper left.
const HOME: &str = "\x1b[H";

/// Away with what is left of this row, and with all rows below.
const CLEAR_ROW: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What draws as much of the text as there is room for, and says how much there is not. Nothing is away at any moment
/// that is there again in the next, so that nothing flickers; no row is begun after the last, so that nothing scrolls.
pub fn draw(text: &str, terminal: Terminal) -> String {
    let (columns, rows) = (usize::from(terminal.columns).max(2), usize::from(terminal.rows).max(1));
    let mut lines: Vec<String> = text.lines().map(|line| cut(line, columns - 1)).collect();
    if lines.len() > rows {
        let shown = rows - 1;
        let more = format!("… {} more lines", lines.len() - shown);
        lines.truncate(shown);
        lines.push(cut(&more, columns - 1));
    }
    let end = format!("{CLEAR_ROW}\r\n");
    format!("{HOME}{}{CLEAR_BELOW}", lines.join(&end))
}

/// As much of a line as has so many columns. Colours have none, and what comes after the cut is only that which ends
/// them.
fn cut(line: &str, columns: usize) -> String {
    let (mut cut, mut width, mut is_escape) = (String::new(), 0, false);
    for character in line.chars() {
        is_escape |= character == '\x1b';
        if is_escape {
            cut.push(character);
            is_escape = character != 'm';
            continue;
        }
        width += character.width().unwrap_or(0);
        if width <= columns {
            cut.push(character);
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(columns: u16, rows: u16) -> Terminal {
        Terminal { columns, rows, is_addressable: true, has_colours: true }
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        assert_eq!(draw("a\nb\n", terminal(80, 2)), "\x1b[Ha\x1b[K\r\nb\x1b[J");
        assert_eq!(draw("a\nb\nc\n", terminal(80, 2)), "\x1b[Ha\x1b[K\r\n… 2 more lines\x1b[J");
        assert_eq!(draw("a\nb\n", terminal(80, 1)), "\x1b[H… 2 more lines\x1b[J");
    }

    #[test]
    fn a_line_is_cut_to_the_width_and_a_colour_ends_all_the_same() {
        assert_eq!(cut("\x1b[31mabcdef\x1b[0mg", 3), "\x1b[31mabc\x1b[0m");
        assert_eq!(cut("世界", 3), "世");
    }
}
