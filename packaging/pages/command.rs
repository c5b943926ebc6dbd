//! The page of a command: what its `--help` says.

use std::io;

use clap::Command;
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::NO_DATE;

/// The name and the text of the page.
pub fn page(command: &Command) -> io::Result<(String, String)> {
    let mut after = Roff::new();
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Beginnings of paragraphs that are sections of a page.
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        if let Some(examples) = paragraph.strip_prefix("Examples:\n") {
            after.control("SH", ["EXAMPLES"]).control("EX", []);
            after.text([roman(examples)]).control("EE", []);
        } else if let Some(codes) = paragraph.strip_prefix("Exit status: ") {
            after.control("SH", ["EXIT STATUS"]).text([roman(codes)]);
        } else {
            after.control("PP", []).text([roman(paragraph)]);
        }
    }
    let release = concat!("twitcher ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone().after_help("")).date(NO_DATE).source(release);
    let name = man.get_filename();
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(after.render().into_bytes());
    Ok((name, String::from_utf8_lossy(&page).into_owned()))
}
