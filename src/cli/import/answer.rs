//! What python3 says of an old watch file. Knows nothing of what becomes of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Defines the names that an old watch file may use, executes it, and prints an [`Answer`].
const PRELUDE: &str = include_str!("prelude.py");

/// What became of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) watches: Vec<Registered>,
    pub(super) error: Option<Failure>,
}

/// A call of `RegisterWatch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registered {
    /// Where it was called, from 1.
    pub(super) line: usize,
    /// The comment above it, line by line.
    pub(super) comments: Vec<String>,
    /// Keys as they are called today, with values that need not be right.
    pub(super) keys: BTreeMap<String, serde_json::Value>,
    /// What of it has no counterpart.
    pub(super) notes: Vec<String>,
    /// Why its action cannot be carried over.
    pub(super) lost: Option<String>,
}

/// Why a file could not be executed to its end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    pub(super) line: Option<usize>,
    pub(super) message: String,
    pub(super) is_syntax: bool,
}

/// Has python3 execute the file at `path`. What the file prints goes to standard error.
pub(super) fn ask(path: &Path) -> anyhow::Result<Answer> {
    let mut command = Command::new("python3");
    command.arg("-").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot execute python3")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A python3 that ends before it has read this says so by its status.
        let _ = stdin.write_all(PRELUDE.as_bytes());
    }
    let output = child.wait_with_output().context("cannot read what python3 says")?;
    if !output.status.success() {
        bail!("python3 failed with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("the file ended python3 before its own end")
}
