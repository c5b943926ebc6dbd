//! What others want of the scheduler, and what it answers.

use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tokio::sync::oneshot;

use crate::config::spec::{WatchName, WatchSpec};
use crate::schedule::order::{Outcome, RunId};
use crate::schedule::step::{Gate, Standing};
use crate::watch::update::{FireId, Unfit};

/// What somebody wants of the scheduler. A user is who asked.
#[derive(Debug)]
pub enum Ask {
    /// How each watch stands, by name.
    Watches(oneshot::Sender<Vec<Stand>>),
    /// How the watch of this name stands; `None`: there is none.
    Watch(WatchName, oneshot::Sender<Option<Stand>>),
    /// What became of updates since the daemon started.
    Tally(oneshot::Sender<Tally>),
    /// The watch of this name runs nothing until it is resumed; `None`: there is none.
    Pause(WatchName, Uid, oneshot::Sender<Option<Steered>>),
    /// It goes on after a pause, or after a failure has stopped it; `None`: there is none.
    Resume(WatchName, Uid, oneshot::Sender<Option<Steered>>),
    /// Its runs are sent a signal, or are ended as their timeout would; what they are, or `None`: there is none of
    /// that name.
    Kill(WatchName, Option<Signal>, Uid, oneshot::Sender<Option<Vec<RunId>>>),
    /// A `Notice::Fired` of this id will come: who wants to know what becomes of it. To be asked before the run is
    /// asked for.
    Await(FireId, Awaited),
}

/// What a watch was paused or resumed from, and how it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steered {
    /// Whether it might start runs before.
    pub before: Gate,
    /// How it stands.
    pub now: Standing,
}

/// Who is told what becomes of a run that somebody wants. Each of the three is dropped without a word when the watch
/// is gone before there is one.
#[derive(Debug)]
pub struct Awaited {
    /// Who wants it.
    pub by: Uid,
    /// Whether there will be a run.
    pub accepted: oneshot::Sender<Result<Accepted, NotRun>>,
    /// Which run it is, once that is started: the first, where it is tried again. One run may stand for several that
    /// somebody wanted while they waited.
    pub started: oneshot::Sender<RunId>,
    /// How the run ended: the last one, where it was tried again.
    pub ended: oneshot::Sender<(RunId, Outcome)>,
}

/// That there will be a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Whether the watch may start it.
    pub gate: Gate,
    /// The run, where it is started at once.
    pub run: Option<RunId>,
}

/// Why there will be no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRun {
    /// `run_mode` is DISCARD and a run goes on.
    Discarded,
    /// There is nothing to run it with.
    Unfit(Unfit),
}

/// How one watch stands.
#[derive(Debug, Clone)]
pub struct Stand {
    /// Its name.
    pub name: WatchName,
    /// Its definition; `None`: only a run is left of it.
    pub spec: Option<Arc<WatchSpec>>,
    /// What it does, and why not more.
    pub standing: Standing,
    /// How many updates it was told of since it was added or the daemon started.
    pub updates: u64,
}

/// What became of the updates of all watches, those among them that are no longer defined. What a first look shows
/// is one only where it is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there were.
    pub received: u64,
    /// How many a newer one took the place of before they were run or tried again.
    pub collapsed: u64,
    /// How many came during a run of a DISCARD watch.
    pub discarded: u64,
}
