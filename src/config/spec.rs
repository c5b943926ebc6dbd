//! One watch as it is meant: every key has a value, and every value is one that can be.
//!
//! Nothing here reads a file. `parse` makes these from text; the rest of the program only reads them.
//! Two specs that compare equal are the same definition, and a watch whose definition is the same is
//! left alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;

/// The definition of one `[[watch]]` table, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSpec {
    /// What the watch is called on this host.
    pub name: WatchName,
    /// For people: logs and `status`.
    pub description: String,
    /// The znode that is watched.
    pub znode: ZnodePath,
    /// What of the znode is watched.
    pub watch_type: WatchType,
    /// What is run.
    pub command: Command,
    /// Whether the znode's contents are the child's stdin; else it is `/dev/null`.
    pub pipe_stdin: bool,
    /// Whether the first look at the znode starts a run.
    pub run_on_load: RunOnLoad,
    /// What an update does while a run is still going on.
    pub run_mode: RunMode,
    /// When an update is run.
    pub pacing: Pacing,
    /// What is done after a failed run.
    pub retries: Retries,
    /// What is done when the last attempt failed.
    pub on_failure: OnFailure,
    /// The user the child runs as; `None`: the daemon's.
    pub uid: Option<UserRef>,
    /// The group the child runs as; `None`: the primary group of `uid`, or the daemon's.
    pub gid: Option<GroupRef>,
    /// When SIGTERM is sent to the run's process group; `None`: never.
    pub timeout: Option<Duration>,
    /// How long after the SIGTERM the SIGKILL comes.
    pub kill_after: Duration,
    /// The child's working directory.
    pub directory: PathBuf,
    /// The child's file mode creation mask.
    pub umask: Umask,
    /// Added to the child's environment.
    pub env: BTreeMap<String, String>,
    /// Where the child's stdout and stderr go.
    pub output: Output,
    /// What is done when the znode goes away.
    pub on_delete: OnDelete,
    /// `false`: parsed and checked, not watched.
    pub enabled: bool,
}

/// The name of a watch, unique on the host. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchName(Arc<str>);

/// Why a text is not the name of a watch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    #[error("a watch name must not be empty")]
    Empty,
    /// It is longer than 255 bytes, more than a file name may have.
    #[error("a watch name must not be longer than 255 characters")]
    TooLong,
    /// It has a character outside of letters, digits, `.`, `_` and `-`.
    #[error("{0:?} cannot be in a watch name; letters, digits, '.', '_' and '-' can")]
    Character(char),
}

impl WatchName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for WatchName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 255 {
            return Err(NameError::TooLong);
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for WatchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An absolute znode path that ZooKeeper accepts. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZnodePath(Arc<str>);

/// Why ZooKeeper would refuse a path: the rules of its `PathUtils.validatePath`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ZnodePathError {
    /// It has no characters.
    #[error("a znode path must not be empty")]
    Empty,
    /// It does not start with a slash.
    #[error("a znode path must be absolute: start it with '/'")]
    Relative,
    /// It ends in a slash and is not the root.
    #[error("a znode path must not end in '/'")]
    TrailingSlash,
    /// It has two slashes in a row.
    #[error("a znode path must not have an empty name in it ('//')")]
    EmptyName,
    /// One of its names is `.` or `..`.
    #[error("a znode path is taken as it stands: '{0}' cannot be a name in it")]
    Dots(&'static str),
    /// It has a character that ZooKeeper forbids.
    #[error("ZooKeeper forbids the character {0:?} in a znode path")]
    Character(char),
}

impl ZnodePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The paths above this one, from the top down, without the root: what `poke --create` makes.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').skip(1).map(|(at, _)| &self.0[..at])
    }
}

impl TryFrom<&str> for ZnodePath {
    type Error = ZnodePathError;

    fn try_from(text: &str) -> Result<Self, ZnodePathError> {
        if text.is_empty() {
            return Err(ZnodePathError::Empty);
        }
        let Some(below) = text.strip_prefix('/') else {
            return Err(ZnodePathError::Relative);
        };
        if below.is_empty() {
            return Ok(Self(text.into()));
        }
        if below.ends_with('/') {
            return Err(ZnodePathError::TrailingSlash);
        }
        for name in below.split('/') {
            match name {
                "" => return Err(ZnodePathError::EmptyName),
                "." => return Err(ZnodePathError::Dots(".")),
                ".." => return Err(ZnodePathError::Dots("..")),
                _ => {}
            }
        }
        // Java tests UTF-16 units, so that what lies beyond the basic plane is refused as surrogates.
        match text.chars().find(|&c| {
            matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{f000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
                || c > '\u{ffff}'
        }) {
            Some(c) => Err(ZnodePathError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What of a znode is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatchType {
    /// Its contents.
    Data,
    /// The names of its children.
    Children,
    /// The contents of its child with the highest sequence number.
    NewestChild,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A text for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments, executed as they stand. Never empty.
    Argv(Vec<String>),
    /// A text for the interpreter that its first line names.
    Script(Script),
}

/// A script with a `#!` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(String);

/// Why a text is not a script.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// It names no interpreter.
    #[error("a script must begin with '#!' and the path of its interpreter")]
    NoInterpreter,
    /// Its interpreter is looked for nowhere.
    #[error("the interpreter of a script must be an absolute path, not '{0}'")]
    RelativeInterpreter(String),
}

impl Script {
    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What executes it: an interpreter, and at most one argument to come before the script, as Linux takes
    /// the line (`execve(2)`).
    #[must_use]
    pub fn interpreter(&self) -> (&str, Option<&str>) {
        let line = self.0.lines().next().unwrap_or_default();
        let line = line.strip_prefix("#!").unwrap_or_default().trim_matches([' ', '\t', '\r']);
        match line.split_once([' ', '\t']) {
            Some((interpreter, argument)) => (interpreter, Some(argument.trim_start_matches([' ', '\t']))),
            None => (line, None),
        }
    }
}

impl TryFrom<&str> for Script {
    type Error = ScriptError;

    fn try_from(text: &str) -> Result<Self, ScriptError> {
        let script = Self(text.to_owned());
        match script.interpreter() {
            ("", _) => Err(ScriptError::NoInterpreter),
            (interpreter, _) if interpreter.starts_with('/') => Ok(script),
            (interpreter, _) => Err(ScriptError::RelativeInterpreter(interpreter.to_owned())),
        }
    }
}

/// Whether the first look at a znode starts a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOnLoad {
    /// It does.
    Always,
    /// It does if the znode differs from what the ledger says was last applied.
    IfChanged,
    /// It does not: only what changes afterwards.
    Never,
}

/// When an update is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pacing {
    /// How long no other update must have come; ten times as long is the most.
    pub settle: Duration,
    /// A part of this, the host's own, is waited.
    pub splay: Duration,
    /// The least time between two starts.
    pub min_interval: Duration,
}

/// What is done after a failed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often the same update is tried again.
    pub count: u32,
    /// How long to wait before the first of them; it doubles.
    pub delay: Duration,
    /// How long to wait at the most.
    pub max_delay: Duration,
}

/// What is done when the last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The watch goes on with the next update.
    Keep,
    /// The watch runs nothing until it is resumed or its definition changes.
    Stop,
}

/// What an update does while a run of the same watch is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// It waits, and of several that wait only the newest is run.
    Queue {
        /// What is sent to the running process group meanwhile.
        notify_signal: Option<Signal>,
    },
    /// It is dropped.
    Discard,
    /// It runs beside the others.
    Parallel {
        /// How many runs at once; more wait, oldest first. At least 1.
        max: u32,
    },
}

/// A user, by name or number. Names are looked up at each run: a user may be made later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    /// As in the user database.
    Name(String),
    /// As it stands; the user need not be in the database.
    Id(u32),
}

/// A group, by name or number. Names are looked up at each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRef {
    /// As in the group database.
    Name(String),
    /// As it stands.
    Id(u32),
}

/// A file mode creation mask: what `umask(2)` takes, 0 to 0o777.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Umask(u32);

/// Why a text is not a umask.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a umask is three or four octal digits, such as \"022\"")]
pub struct UmaskError;

impl Umask {
    /// What new files are denied to group and others in most places.
    pub const DEFAULT: Self = Self(0o022);

    /// The mask as a number.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<&str> for Umask {
    type Error = UmaskError;

    fn try_from(text: &str) -> Result<Self, UmaskError> {
        if !(3..=4).contains(&text.len()) || !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return Err(UmaskError);
        }
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(UmaskError),
        }
    }
}

/// Where a child's stdout and stderr go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To the daemon's log, line by line.
    Log,
    /// To `/dev/null`.
    Null,
    /// To the end of this file, an absolute path.
    Append(PathBuf),
}

/// What is done when a znode goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// Nothing.
    Ignore,
    /// A run with an empty stdin.
    Run,
}

/// Reads a signal as people write it: `HUP`, `SIGHUP`, `hup` or `1`.
///
/// # Errors
/// When it is none of Linux' standard signals.
pub fn signal(text: &str) -> Result<Signal, SignalError> {
    let upper = text.trim().to_ascii_uppercase();
    let found = match upper.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if upper.starts_with("SIG") => upper.parse().ok(),
        Err(_) => format!("SIG{upper}").parse().ok(),
    };
    found.ok_or_else(|| SignalError(text.to_owned()))
}

/// A text that is not a signal.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not a signal; write one as \"HUP\", \"SIGHUP\" or 1")]
pub struct SignalError(String);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_path_is_refused_for_the_reasons_zookeeper_has() {
        use ZnodePathError::*;
        for (text, why) in [
            ("", Empty),
            ("git", Relative),
            ("/git/", TrailingSlash),
            ("//", TrailingSlash),
            ("/git//head", EmptyName),
            ("/git/./head", Dots(".")),
            ("/git/..", Dots("..")),
            ("/a\0b", Character('\0')),
            ("/a\u{85}b", Character('\u{85}')),
            ("/a\u{f123}", Character('\u{f123}')),
            ("/a😀", Character('😀')),
        ] {
            assert_eq!(ZnodePath::try_from(text), Err(why), "{text:?}");
        }
        for text in ["/", "/git", "/git/head", "/grüße/.hidden/a b/..."] {
            assert_eq!(ZnodePath::try_from(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_ancestors_of_a_path_go_from_the_top_down() {
        let above =
            |text| ZnodePath::try_from(text).unwrap().ancestors().map(String::from).collect::<Vec<_>>();
        assert_eq!(above("/a/b/c"), ["/a", "/a/b"]);
        assert!(above("/a").is_empty());
        assert!(above("/").is_empty());
    }

    #[test]
    fn a_script_is_run_by_what_its_first_line_names() {
        let script = |text| Script::try_from(text).unwrap();
        assert_eq!(script("#!/bin/sh\necho").interpreter(), ("/bin/sh", None));
        assert_eq!(
            script("#! /usr/bin/env  python3 -u \nx").interpreter(),
            ("/usr/bin/env", Some("python3 -u"))
        );
        assert_eq!(Script::try_from("echo"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("\n#!/bin/sh"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("#!\n"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("#!sh"), Err(ScriptError::RelativeInterpreter("sh".into())));
    }

    #[test]
    fn a_signal_has_many_spellings() {
        for text in ["HUP", "SIGHUP", "sighup", "1", " hup "] {
            assert_eq!(signal(text), Ok(Signal::SIGHUP), "{text:?}");
        }
        assert!(signal("NOPE").is_err());
        assert!(signal("0").is_err());
    }

    #[test]
    fn a_umask_is_octal_and_at_most_0777() {
        assert_eq!(Umask::try_from("022").map(Umask::bits), Ok(0o022));
        assert_eq!(Umask::try_from("0077").map(Umask::bits), Ok(0o077));
        for text in ["", "22", "8", "0o22", "1000", "00022", "-22", "+22"] {
            assert_eq!(Umask::try_from(text), Err(UmaskError), "{text:?}");
        }
    }
}
