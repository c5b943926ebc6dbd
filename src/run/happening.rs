//! What becomes of runs, for those who keep a record of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::run::protocol::{About, Dropped};
use crate::schedule::order::{Ended, RunId};
use crate::watch::update::Beat;

/// Something that happened to a run.
#[derive(Debug, Clone)]
pub enum Happening {
    /// Its process was made.
    Started {
        /// Which one.
        run: RunId,
        /// Of what.
        about: About,
        /// Of its main process.
        pid: i32,
        /// From when the scheduler was told of the update to now; `None` where an earlier daemon was.
        after: Option<Duration>,
    },
    /// It goes on since before the daemon started.
    Adopted {
        /// Which one.
        run: RunId,
        /// Of what.
        about: About,
        /// Of its main process.
        pid: Option<i32>,
    },
    /// It printed lines, each ended by a newline.
    Output {
        /// Which one.
        run: RunId,
        /// The name of its watch.
        watch: String,
        /// What it printed.
        lines: Bytes,
        /// What it printed before them that is not among them.
        dropped: Dropped,
    },
    /// It was sent SIGKILL and does not end.
    Stuck {
        /// Which one.
        run: RunId,
        /// The name of its watch.
        watch: String,
    },
    /// It has ended.
    Ended {
        /// How.
        end: Box<Ended>,
        /// Of what.
        about: About,
        /// What else is known of it.
        left: Left,
    },
    /// About no run: what was handed on from the beginning has come to its end.
    Beat(Beat),
}

/// What is left of a run when it has ended, and of no account to who decides.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// Of its main process; `None` where it never had one, or nobody knows.
    pub pid: Option<i32>,
    /// When it was started; `None` where it never was, or nobody knows.
    pub started: Option<SystemTime>,
    /// The last that it printed, as far as it was kept.
    pub output: Bytes,
}
