//! Makes what a package has beside the program: man pages and completions. Started with `make pages`; the argument is
//! the folder that they go to.
//!
//! Nothing of it is written twice: the pages of the commands are what `--help` says, and the others are parts of the
//! README and the settings file that comes with the source.

mod command;
mod markdown;

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use roff::{Roff, roman};
use twitcher::cli::Cli;

/// In quotes: without them the next word of the line would be taken for the date.
const NO_DATE: &str = "\"\"";

/// A page beside those of the commands.
struct Page {
    name: &'static str,
    section: &'static str,
    /// What it is about, in a line.
    about: &'static str,
    /// The parts of the README that it has.
    parts: &'static [&'static str],
    /// A file that it shows.
    file: Option<&'static str>,
}

const PAGES: [Page; 2] = [
    Page {
        name: "twitcher.d",
        section: "5",
        about: "watch files: what twitcher watches, and what it runs",
        parts: &[
            "A first watch",
            "Watch files",
            "Run modes",
            "What a command gets",
            "When things go wrong",
            "Security",
        ],
        file: None,
    },
    Page {
        name: "twitcher.toml",
        section: "5",
        about: "the settings of the twitcher daemon",
        parts: &["The daemon's settings"],
        file: Some("etc/twitcher/twitcher.toml"),
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which folder do the pages go to?")?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder)?;
    }
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    for command in std::iter::once(&program).chain(program.get_subcommands().filter(|one| !one.is_hide_set()))
    {
        let (name, text) = command::page(command)?;
        fs::write(man.join(name), text)?;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(source.join("README.md"))?;
    for page in PAGES {
        fs::write(man.join(format!("{}.{}", page.name, page.section)), render(&page, source, &readme)?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut shown(&Cli::command()), "twitcher", &completions)?;
    }
    for folder in [man, completions] {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.sort();
        let names: Vec<&str> =
            files.iter().filter_map(|file| file.file_name().and_then(OsStr::to_str)).collect();
        println!("{}", names.join(" "));
    }
    Ok(())
}

/// The command without what is hidden in it, which would be completed as well.
fn shown(command: &Command) -> Command {
    let name: &'static str = command.get_name().to_owned().leak();
    let mut shown = Command::new(name)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|one| !one.is_hide_set()).map(shown));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if command.get_version().is_some() {
        shown = shown.version(env!("CARGO_PKG_VERSION"));
    }
    shown
}

/// The text of a page, from the README and what else is in the folder of the source.
fn render(page: &Page, source: &Path, readme: &str) -> Result<String, Box<dyn Error>> {
    let mut text = Roff::new();
    let release = format!("twitcher {}", env!("CARGO_PKG_VERSION"));
    text.control("TH", [page.name, page.section, NO_DATE, &release]);
    text.control("SH", ["NAME"]).text([roman(format!("{} - {}", page.name, page.about))]);
    for part in page.parts {
        let of_readme =
            markdown::section(readme, part).ok_or_else(|| format!("the README has no part '{part}'"))?;
        text.control("SH", [part.to_uppercase().as_str()]);
        markdown::write(of_readme, &mut text);
    }
    if let Some(file) = page.file {
        text.control("SH", ["THE FILE"]);
        markdown::write(&format!("```\n{}```\n", fs::read_to_string(source.join(file))?), &mut text);
    }
    let others = "twitcher(1), twitcher-run(1), twitcher-check(1), twitcher.d(5), twitcher.toml(5)";
    text.control("SH", ["SEE ALSO"]).text([roman(others)]);
    Ok(text.render())
}
