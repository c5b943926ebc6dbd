//! What those can ask who want to know what runs, what ran and what happens. The journal answers; nobody else
//! knows.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::config::spec::WatchName;
use crate::record::events::{EventId, Following, Subscription};
use crate::record::history::Output;
use crate::record::metrics::{Metrics, Outcomes};
use crate::record::run_record::RunRecord;
use crate::schedule::order::RunId;

/// How many requests may wait.
const AHEAD: usize = 64;

/// What the last runs of a watch are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LastRuns {
    /// Those that go on, the newest first.
    pub running: Vec<Arc<RunRecord>>,
    /// The one that has ended last.
    pub ended: Option<Arc<RunRecord>>,
    /// What is counted of those that have ended.
    pub tally: Tally,
}

/// What is counted of the runs of a watch that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// How they ended, since the daemon started.
    pub outcomes: Outcomes,
    /// When the last ended that ended well; under an earlier daemon only where none came after it.
    pub last_success: Option<Timestamp>,
    /// When the last ended that did not.
    pub last_failure: Option<Timestamp>,
}

impl Tally {
    /// Takes note of when a run ended. Runs beside each other may be told of in another order.
    pub fn date(&mut self, record: &RunRecord) {
        let Some(end) = &record.end else { return };
        let last = if end.outcome.is_success() { &mut self.last_success } else { &mut self.last_failure };
        *last = (*last).max(Some(end.at));
    }
}

/// A question to the journal, with where its answer goes.
#[derive(Debug)]
pub enum Request {
    /// See [`Reader::runs`].
    Runs(WatchName, oneshot::Sender<Vec<RunRecord>>),
    /// See [`Reader::last_runs`].
    LastRuns(oneshot::Sender<HashMap<WatchName, LastRuns>>),
    /// See [`Reader::metrics`].
    Metrics(oneshot::Sender<Metrics>),
    /// See [`Reader::follow_output`].
    Output(RunId, oneshot::Sender<(oneshot::Receiver<Option<Output>>, Subscription)>),
    /// See [`Reader::follow_watch`].
    LastOutput(WatchName, oneshot::Sender<(Option<oneshot::Receiver<Option<Output>>>, Subscription)>),
    /// See [`Reader::follow`].
    Follow(Option<EventId>, oneshot::Sender<Following>),
}

/// Asks the journal. Cheap to clone; waits where many ask at once, and is answered nothing when the daemon
/// stops.
#[derive(Debug, Clone)]
pub struct Reader {
    requests: mpsc::Sender<Request>,
}

/// A reader, and where the journal hears it.
#[must_use]
pub fn reader() -> (Reader, mpsc::Receiver<Request>) {
    let (requests, asked) = mpsc::channel(AHEAD);
    (Reader { requests }, asked)
}

impl Reader {
    /// The runs of a watch, which need not be defined any more: first those that go on, then those that have
    /// ended, each the newest first. Of those that have ended, the last hundred.
    pub async fn runs(&self, watch: &WatchName) -> Vec<RunRecord> {
        self.ask(|reply| Request::Runs(watch.clone(), reply)).await.unwrap_or_default()
    }

    /// What goes on and what has ended last, of every watch that has ever run and that a history is kept of.
    /// From memory: shortly after the start of the daemon, what an earlier one has left may not be among it.
    pub async fn last_runs(&self) -> HashMap<WatchName, LastRuns> {
        self.ask(Request::LastRuns).await.unwrap_or_default()
    }

    /// What is counted of runs; `None` when the daemon stops.
    pub async fn metrics(&self) -> Option<Metrics> {
        self.ask(Request::Metrics).await
    }

    /// What a run has printed last; `None` where there is no such run, or its output is no longer kept.
    pub async fn output(&self, run: RunId) -> Option<Output> {
        self.follow_output(run).await.map(|(output, _)| output)
    }

    /// The same, and what happens from then on: of a run that goes on, all that it prints after what the
    /// output has is among it, before its end.
    pub async fn follow_output(&self, run: RunId) -> Option<(Output, Subscription)> {
        let (output, live) = self.ask(|reply| Request::Output(run, reply)).await?;
        Some((output.await.ok()??, live))
    }

    /// The same of the last run of a watch: the newest of those that go on, or else the one that has ended last; and
    /// what happens from then on. Nothing but that where it has not run, or its output is no longer kept.
    pub async fn follow_watch(&self, watch: &WatchName) -> Option<(Option<Output>, Subscription)> {
        let (output, live) = self.ask(|reply| Request::LastOutput(watch.clone(), reply)).await?;
        let output = match output {
            Some(output) => output.await.ok()?,
            None => None,
        };
        Some((output, live))
    }

    /// What has happened since `since`, or all of it that is kept, and what happens from now on; `None` when
    /// the daemon stops.
    pub async fn follow(&self, since: Option<EventId>) -> Option<Following> {
        self.ask(|reply| Request::Follow(since, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}
