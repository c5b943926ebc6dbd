//! What Prometheus itself says of metrics and of rules.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `promtool check WHAT` with these arguments and this at its stdin.
///
/// # Panics
///
/// When there is no promtool.
#[track_caller]
pub fn check(what: &str, arguments: &[&OsStr], stdin: &Path) -> Output {
    let mut command = Command::new(promtool());
    command.args(["check", what]).args(arguments).stdin(File::open(stdin).expect("what promtool reads"));
    command.output().expect("promtool")
}

/// In the search path, or where `.ci/dependencies` has put it.
fn promtool() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("twitcher")));
    let found = folders.map(|folder| folder.join("promtool")).find(|program| program.is_file());
    found.expect("promtool is missing; 'make deps' installs it")
}
