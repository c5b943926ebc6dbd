//! Tables for people: no wider than what shows them.

use std::io::{IsTerminal, stdout};

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};

/// What a terminal has where nobody says.
pub const SIZE: (u16, u16) = (80, 24);

/// A table with this head, at most `width` columns wide; the last column takes what the others leave and is broken
/// into lines where that is too little.
#[must_use]
pub fn table(head: &[&str], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(head.to_vec());
    table.add_rows(rows);
    let last = head.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at == last { 0 } else { 2 }));
        if at != last {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(28)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Columns and rows of the terminal that stdout is, or what is usual.
#[must_use]
pub fn size() -> (u16, u16) {
    if !stdout().is_terminal() {
        return SIZE;
    }
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        Ok(_) | Err(_) => SIZE,
    }
}
