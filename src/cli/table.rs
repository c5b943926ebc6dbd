//! Tables for people: no wider than what shows them. Pure.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use unicode_width::UnicodeWidthChar;

use super::terminal::Colour;

/// How wide a column but the last may be on a terminal.
const WIDEST: u16 = 28;

/// A table with this head. At most `width` columns wide: the last column takes what the others leave, and what is too
/// long is broken into lines. Without a width, a line for each row, for those who `grep`.
#[must_use]
pub fn table(head: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(head.to_vec());
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(|cell| of_one_line(&cell))));
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let last = head.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at == last { 0 } else { 2 }));
        if at != last && width.is_some() {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(WIDEST)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What would begin another line, or steer the terminal, is made visible.
fn of_one_line(cell: &str) -> String {
    let shown = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    cell.chars().map(shown).collect()
}

/// The same table with what stands in the column of this head in the colour that `colour` has for it. Of what is
/// broken into lines, each is asked for. After the table is laid out: colours have no width, but a layout gives them
/// one.
#[must_use]
pub fn paint(table: &str, head: &str, colour: impl Fn(&str) -> Option<Colour>) -> String {
    let first = table.lines().next().unwrap_or_default();
    let Some(begin) = first.find(head) else { return table.to_owned() };
    // The heads are ASCII, and each stands where its column begins.
    let rest = &first[begin + head.len()..];
    let end = rest.find(|character| character != ' ').map(|blanks| begin + head.len() + blanks);
    let mut painted = format!("{first}\n");
    for line in table.lines().skip(1) {
        let from = byte_at(line, begin);
        let to = end.map_or(line.len(), |end| byte_at(line, end));
        let cell = line[from..to].trim_end();
        let shown = match colour(cell) {
            Some(colour) if !cell.is_empty() => colour.paint(cell, true),
            Some(_) | None => cell.to_owned(),
        };
        painted.push_str(&format!("{}{shown}{}\n", &line[..from], &line[from + cell.len()..]));
    }
    painted
}

/// Where a column of the terminal begins in a line.
fn byte_at(line: &str, column: usize) -> usize {
    let (mut at, mut is_escape) = (0, false);
    for (byte, character) in line.char_indices() {
        // Of a column to the left that is painted already.
        is_escape |= character == '\x1b';
        if is_escape {
            is_escape = character != 'm';
            continue;
        }
        if at >= column {
            return byte;
        }
        at += character.width().unwrap_or(0);
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![row(["a", "exited(0)", ""]), row(["é世", "spawn-failed(no\nfile)", "a reason of many words"])]
    }

    #[test]
    fn a_table_is_as_wide_as_it_may_be_or_has_a_line_for_each_row() {
        let narrow = table(&["WATCH", "LAST", "WHY"], some(), Some(40));
        assert!(narrow.lines().count() > 3);
        let width = |line: &str| line.chars().filter_map(UnicodeWidthChar::width).sum::<usize>();
        assert!(narrow.lines().all(|line| width(line) <= 40), "{narrow}");
        let expected = "\
WATCH  LAST                    WHY
a      exited(0)
é世    spawn-failed(no\\nfile)  a reason of many words
";
        assert_eq!(table(&["WATCH", "LAST", "WHY"], some(), None), expected);
    }

    #[test]
    fn a_column_is_painted_and_nothing_else() {
        let plain = table(&["WATCH", "LAST", "WHY"], some(), None);
        let red = |cell: &str| (cell != "exited(0)").then_some(Colour::Red);
        let painted = paint(&plain, "LAST", red);
        assert_eq!(painted.matches('\x1b').count(), 2);
        assert!(painted.contains("é世    \x1b[31mspawn-failed(no\\nfile)\x1b[0m  a reason"), "{painted}");
        assert_eq!(paint(&plain, "NONE", red), plain);
        let both = paint(&paint(&plain, "WATCH", |_| Some(Colour::BoldGreen)), "LAST", red);
        assert!(both.contains("\x1b[1;32mé世\x1b[0m    \x1b[31mspawn-failed"), "{both}");
    }
}
