//! The page of a command: what its `--help` says.

use std::io;

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::{NO_DATE, markdown};

/// What a page has at its end, whatever it is about.
pub const OTHERS: &str = "twitcher(1), twitcher.d(5), twitcher.toml(5)";

/// The name and the text of the page of a command.
pub fn page(command: &Command) -> io::Result<(String, String)> {
    let (mut more, mut after) = (Roff::new(), Roff::new());
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Beginnings of paragraphs that are sections of a page. What begins otherwise says more of what the command does.
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        if let Some(examples) = paragraph.strip_prefix("Examples:\n") {
            after.control("SH", ["EXAMPLES"]).control("EX", []);
            after.text([roman(examples)]).control("EE", []);
        } else if let Some(codes) = paragraph.strip_prefix("Exit status: ") {
            after.control("SH", ["EXIT STATUS"]).text([roman(codes)]);
        } else {
            more.control("PP", []).text([roman(paragraph)]);
        }
    }
    after.control("SH", ["SEE ALSO"]).text([roman(OTHERS)]);
    render(command, &more, &after)
}

/// The same of the program: its commands, and what they have in common.
pub fn program(command: &Command, exit_codes: &str) -> io::Result<(String, String)> {
    let mut after = Roff::new();
    after.control("SH", ["EXIT STATUS"]);
    markdown::write(exit_codes, &mut after);
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let commands = commands.map(|one| format!("twitcher-{}(1)", one.get_name()));
    let others = commands.chain(OTHERS.split(", ").skip(1).map(str::to_owned));
    after.control("SH", ["SEE ALSO"]).text([roman(others.collect::<Vec<_>>().join(", "))]);
    render(command, &Roff::new(), &after)
}

fn render(command: &Command, more: &Roff, after: &Roff) -> io::Result<(String, String)> {
    let release = concat!("twitcher ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone().after_help("")).date(NO_DATE).source(release);
    let name = man.get_filename();
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    page.extend(more.render().into_bytes());
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(after.render().into_bytes());
    Ok((name, String::from_utf8_lossy(&page).into_owned()))
}
