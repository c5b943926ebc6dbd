//! The outcome of a check as one JSON object. Its shape is for programs: keys may be added, and none changes
//! its meaning.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::Outcome;
use crate::config::explain::definition;
use crate::config::problem::Problem;

#[derive(Serialize)]
struct Report<'a> {
    /// Whether there is no problem; warnings are none.
    ok: bool,
    /// How many files were read.
    files: usize,
    watches: Vec<Watch<'a>>,
    problems: Vec<Said<'a>>,
    warnings: Vec<Said<'a>>,
}

#[derive(Serialize)]
struct Watch<'a> {
    name: &'a str,
    file: String,
    line: usize,
    /// Every key with its value, as `--explain` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<toml::Table>,
}

#[derive(Serialize)]
struct Said<'a> {
    file: String,
    /// From 1, as `column` is; `null` where it is about the file as a whole.
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
    help: Option<&'a str>,
}

pub(super) fn write(outcome: &Outcome, explain: bool, out: &mut dyn Write) -> io::Result<()> {
    let watches = outcome.watches.iter().map(|(path, placed)| Watch {
        name: placed.spec.name.as_str(),
        file: shown(path),
        line: placed.place.line,
        definition: explain
            .then(|| definition(&placed.spec).map(|(key, value)| (key.to_owned(), value)).collect()),
    });
    let report = Report {
        ok: outcome.problems.is_empty(),
        files: outcome.files,
        watches: watches.collect(),
        problems: outcome.problems.iter().map(said).collect(),
        warnings: outcome.warnings.iter().map(|warning| said(&warning.0)).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn said(problem: &Problem) -> Said<'_> {
    Said {
        file: shown(&problem.file),
        line: problem.place.as_ref().map(|place| place.line),
        column: problem.place.as_ref().map(|place| place.column),
        message: &problem.message,
        help: problem.help.as_deref(),
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
