//! One watch as it is meant: every key has a value, and every value is one that can be.
//!
//! Nothing here reads a file. `parse` makes these from text; the rest of the program only reads them.
//! Two specs that compare equal are the same definition, and a watch whose definition is the same is
//! left alone.

mod name;
mod script;
mod signal;
mod umask;
mod znode;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use name::{MOST_REMEMBERED, NameError, WatchName, kept_since};
pub use script::{Script, ScriptError};
pub use signal::{SignalError, signal};
pub use umask::{Umask, UmaskError};
pub use znode::{ZnodePath, ZnodePathError};

/// The definition of one `[[watch]]` table, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSpec {
    /// What the watch is called on this host.
    pub name: WatchName,
    /// For people: logs and `status`.
    pub description: Arc<str>,
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
    /// When SIGTERM is sent to all of the run's processes; `None`: never.
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

/// What of a znode is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
        /// What is sent to the run's process group meanwhile; `None`: nothing.
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
