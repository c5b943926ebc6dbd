//! What `--help` says: for each subcommand, in the width of a terminal. The snapshot is `session/help.txt`;
//! `SNAPSHOTS=overwrite` writes it anew.

use std::path::Path;

use clap::{Command, CommandFactory};
use snapbox::Data;
use twitcher::cli::Cli;
use unicode_width::UnicodeWidthStr;

use crate::harness::twitcher;

/// Those that people are shown.
fn subcommands() -> Vec<Command> {
    Cli::command().get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect()
}

/// What it says with these arguments, on a terminal of so many columns.
fn said(arguments: &[&str], columns: usize) -> String {
    let output =
        twitcher().args(arguments).env("COLUMNS", columns.to_string()).output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn each_subcommand_says_what_it_is_for_with_examples_and_exit_status() {
    let mut text = String::new();
    let commands = subcommands();
    let names = commands.iter().map(Command::get_name);
    for arguments in [vec!["--help"]].into_iter().chain(names.map(|name| vec![name, "--help"])) {
        text += &format!("$ twitcher {}\n{}\n", arguments.join(" "), said(&arguments, 80));
    }
    // What clap leaves at the ends of lines.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twitcher/session/help.txt");
    let assert = snapbox::Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV);
    assert.eq(lines.join("\n") + "\n", Data::read_from(Path::new(path), None).raw());
}

#[test]
fn no_help_is_wider_than_its_terminal() {
    for command in subcommands() {
        for columns in [60, 80] {
            for arguments in [[command.get_name(), "-h"], [command.get_name(), "--help"]] {
                let text = said(&arguments, columns);
                let wide: Vec<&str> = text.lines().filter(|line| line.width() > columns).collect();
                assert!(wide.is_empty(), "{arguments:?} at {columns}: {wide:#?}");
            }
        }
    }
}

#[test]
fn what_follows_the_options_is_broken_into_lines_by_the_terminal_alone() {
    for command in subcommands() {
        let name = command.get_name();
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        assert!(paragraphs.iter().any(|one| one.starts_with("Exit status: 0 ")), "{name}: {text}");
        for paragraph in paragraphs {
            match paragraph.strip_prefix("Examples:\n") {
                // No example is broken into lines where there is room for what people usually have.
                Some(examples) => {
                    assert!(examples.lines().all(|line| line.width() <= 60), "{name}: {examples}")
                }
                None => assert_eq!(paragraph.lines().count(), 1, "{name}: {paragraph}"),
            }
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(said(&["--version"], 80), concat!("twitcher ", env!("CARGO_PKG_VERSION"), "\n"));
}
