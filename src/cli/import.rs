//! `twitcher import`: watch files of the twitcher of the 2010s, which are Python, as watch files of this one.
//! Talks to no daemon and to no ZooKeeper. It executes the files, as the old daemon did.

mod answer;
mod watch;

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::EXIT_CONFIGURATION;
use crate::config::problem::{Problem, Source};
use crate::config::spec::WatchName;
use answer::{Answer, Failure};

/// The exit code when a watch could not be carried over.
const EXIT_LOST: u8 = 1;

/// Turn watch files of the old twitcher into ones of this
///
/// Executes each file with the system's python3, as the old daemon did, and prints the watches that it
/// registers as TOML. A Python function becomes a script. What cannot be carried over is said at its place, in a
/// comment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twitcher import /etc/twitcher/git.twc
  twitcher import old/*.twc > /etc/twitcher.d/old.toml

What is printed passes 'twitcher check'. Still, read it before it is used: a file for Python 2 has to be one for \
Python 3 first, and what a file decides by the host that it is read on is decided here and now.

Exit status: 0 done; 1 a watch could not be carried over, or there is no python3; 3 a file could not be read or \
executed, and of its watches nothing is printed.")]
pub struct Args {
    /// The files to import
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Imports what `args` name. Watches go to `out`, what is wrong with a file to `err`. Returns the exit code.
///
/// # Errors
/// There is no python3, or `out` or `err` cannot be written.
pub fn import(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let (mut printed, mut lost, mut failed) = (0, 0, false);
    let mut taken = BTreeSet::new();
    for path in &args.files {
        let registered = match read(path)? {
            Ok(registered) => registered,
            Err(problem) => {
                writeln!(err, "{problem}\n")?;
                failed = true;
                continue;
            }
        };
        for one in registered {
            let name = free_name(path, &mut taken);
            let imported = watch::import(&one, &name);
            let blank = if printed == 0 { "" } else { "\n" };
            let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            write!(out, "{blank}# From {file}, line {}.\n{}", one.line, imported.text)?;
            printed += 1;
            lost += usize::from(imported.is_lost);
        }
    }
    if lost > 0 {
        writeln!(
            err,
            "twitcher: {lost} of {printed} watches could not be carried over, and stand in comments"
        )?;
    }
    Ok(if failed {
        EXIT_CONFIGURATION
    } else if lost > 0 {
        EXIT_LOST
    } else {
        0
    })
}

/// What the file registers; the inner error is about the file.
fn read(path: &Path) -> anyhow::Result<Result<Vec<answer::Registered>, Problem>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return Ok(Err(Problem::of_file(path, format!("cannot be read: {error}")))),
    };
    let answer = answer::ask(path).with_context(|| format!("cannot import {}", path.display()))?;
    Ok(match answer {
        Answer { error: None, watches } => Ok(watches),
        Answer { error: Some(failure), .. } => Err(problem(path, &text, failure)),
    })
}

fn problem(path: &Path, text: &str, failure: Failure) -> Problem {
    let Failure { line, message, is_syntax } = failure;
    let problem = match line.and_then(|line| span_of_line(text, line)) {
        Some(span) => Source::new(path, text).problem(span, message),
        None => Problem::of_file(path, message),
    };
    if is_syntax {
        problem.with_help("a file for Python 2 has to be made one for Python 3 first")
    } else {
        problem
    }
}

/// Where what stands on a line is, from 1.
fn span_of_line(text: &str, line: usize) -> Option<Range<usize>> {
    let found = text.lines().nth(line.checked_sub(1)?)?;
    let start = found.as_ptr() as usize - text.as_ptr() as usize;
    let indent = found.len() - found.trim_start().len();
    Some(start + indent..start + found.trim_end().len().max(indent))
}

/// A name for the next watch of a file, from the file's: `git`, `git-2`, `git-3`. Unlike what a watch without a
/// name is called, it stays as it is when watches are moved from file to file.
fn free_name(path: &Path, taken: &mut BTreeSet<WatchName>) -> WatchName {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let stem: String = stem.chars().map(plain).take(200).collect();
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    std::iter::once(if stem.is_empty() { "watch".to_owned() } else { stem.clone() })
        .chain(numbered)
        .filter_map(|name| WatchName::try_from(&*name).ok())
        .find(|name| taken.insert(name.clone()))
        .unwrap_or_else(|| unreachable!("there is no end of numbers"))
}
