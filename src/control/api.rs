//! What is said over the control socket. Times are RFC 3339; what is not known is `null`. Fields may be added, and
//! no field changes its meaning.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::run_record::RunRecord;

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The daemon's version.
    pub release: String,
    /// What it calls this host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started: Timestamp,
    /// How it stands with ZooKeeper.
    pub zookeeper: ZooKeeper,
    /// How many runs go on.
    pub running: usize,
    /// What is wrong with the watch files.
    pub problems: Vec<FileProblem>,
    /// Every watch, by name.
    pub watches: Vec<Watch>,
}

/// How the daemon stands with ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ZooKeeper {
    /// Its connect string.
    pub servers: String,
    /// Whether there is a connection.
    pub state: ConnectionState,
    /// Since when it is so.
    pub since: Timestamp,
    /// The id of the session, in hexadecimal as the server's log has it.
    pub session: Option<String>,
    /// What keeps a session from being made, as it was found last.
    pub trouble: Option<String>,
}

/// Whether there is a connection with ZooKeeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// There was none yet.
    Connecting,
    /// There is one.
    Connected,
    /// There was one.
    Disconnected,
}

/// Something that is wrong with a watch file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileProblem {
    /// The file or folder.
    pub file: String,
    /// From 1; `None`: the file as a whole.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    /// What.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A watch, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Watch {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub description: String,
    /// What it watches.
    pub znode: String,
    /// What of it, as in a watch file.
    pub watch_type: String,
    /// As in a watch file.
    pub run_mode: String,
    /// What it does.
    pub state: State,
    /// Why it does no more than that, in words.
    pub reason: Option<String>,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// The runs that go on, oldest first.
    pub running: Vec<String>,
    /// Since when the first of them does.
    pub running_since: Option<Timestamp>,
    /// The time limit of a run, as the definition has it now; a run that goes on keeps the one that it was begun with.
    pub timeout_seconds: Option<f64>,
    /// How many updates are to be run.
    pub waiting: usize,
    /// The last run that has ended, where there is one in the history.
    pub last: Option<RunRecord>,
}

/// What a watch does: the first of these that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A run goes on.
    Running,
    /// Its last attempt failed, and `on_failure` is `stop`.
    Stopped,
    /// Somebody has paused it.
    Paused,
    /// An update waits to be run.
    Waiting,
    /// It is not enabled.
    Disabled,
    /// The znode's ACL does not let the daemon read it.
    Unreadable,
    /// There is no connection with ZooKeeper.
    Disconnected,
    /// The znode does not exist.
    Missing,
    /// The znode was not looked at yet.
    Unknown,
    /// Nothing is to be done.
    Watching,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Running,
        Self::Stopped,
        Self::Paused,
        Self::Waiting,
        Self::Disabled,
        Self::Unreadable,
        Self::Disconnected,
        Self::Missing,
        Self::Unknown,
        Self::Watching,
    ];

    /// The word for it, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Disabled => "disabled",
            Self::Unreadable => "unreadable",
            Self::Disconnected => "disconnected",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Watching => "watching",
        }
    }
}

impl Watch {
    /// Whether somebody should look at it: its last run failed, or it cannot do what it is for.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        let failed = |run: &RunRecord| run.end.as_ref().is_some_and(|end| !end.outcome.is_success());
        matches!(self.state, State::Stopped | State::Unreadable) || self.last.as_ref().is_some_and(failed)
    }
}

/// `GET /v1/watches/NAME/runs`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Runs {
    /// The runs.
    pub runs: Vec<RunRecord>,
}

/// `POST /v1/watches/NAME/fire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fired {
    /// Whether it will be run at its turn; not where the watch is paused or stopped, until it is resumed.
    pub is_open: bool,
    /// What keeps it, in words.
    pub reason: Option<String>,
    /// The id of the run that was started for it; `null` where it waits for its turn and that was not waited for. Where
    /// it is tried again and its end was waited for, that of the last attempt. One run may stand for several requests:
    /// of what waits, a QUEUE watch runs the newest alone.
    pub run: Option<String>,
    /// How that ended, where that was waited for.
    pub end: Option<FiredEnd>,
}

/// How a run ended that somebody has waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FiredEnd {
    /// How it ended, as the log says it.
    pub outcome: String,
    /// Its exit status, or as a shell has it: 128 and the signal's number; 124 where its time was over, 125 where
    /// it could not be started or nobody knows how it ended.
    pub exit_status: u8,
}

/// `POST /v1/watches/NAME/kill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Killed {
    /// The runs that were told.
    pub runs: Vec<String>,
}

/// `POST /v1/watches/NAME/pause`, `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Steered {
    /// The watch.
    pub watch: String,
    /// Whether that changed anything: one that is paused already stays so.
    pub changed: bool,
    /// How it was before.
    pub before: Before,
    /// The runs that go on all the same, oldest first.
    pub running: Vec<String>,
    /// How many updates are to be run.
    pub waiting: usize,
}

/// Whether a watch might start runs, before somebody paused or resumed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// It might.
    Open,
    /// Somebody had paused it.
    Paused,
    /// A failure had stopped it.
    Stopped,
}

/// `POST /v1/reload`: what a look at the config folder came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// Watches that are new.
    pub added: Vec<String>,
    /// Watches with another definition.
    pub redefined: Vec<String>,
    /// Watches that are gone.
    pub removed: Vec<String>,
    /// How many watches there are.
    pub watches: usize,
    /// In how many files.
    pub files: usize,
    /// What is wrong with the watch files.
    pub problems: Vec<FileProblem>,
}

/// Why a request was not done: `application/problem+json`, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem, in a few words that do not change.
    pub title: String,
    /// What of this request.
    pub detail: String,
}

impl Problem {
    /// A problem.
    #[must_use]
    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Self { status, title: title.to_owned(), detail: detail.into() }
    }

    /// There is nothing at this path.
    #[must_use]
    pub fn no_resource(path: &str) -> Self {
        Self::new(404, "no such resource", format!("there is nothing at {path}"))
    }

    /// There is no watch of this name.
    #[must_use]
    pub fn no_watch(name: &str) -> Self {
        Self::new(404, "no such watch", format!("there is no watch named '{name}'"))
    }
}
