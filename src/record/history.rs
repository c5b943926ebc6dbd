//! The runs that have ended, kept on disk for those who ask later, and read from there for them. All that a
//! disk may take its time for is done on a blocking thread, one thing after the other.
//!
//! A disk that is full, that takes nothing for another reason, or that does not answer, costs only history: it is said
//! once, tried again, and what has come together meanwhile has a bound, and as much again what the worker has.

mod shelf;
mod store;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::shelf::RUNS;
pub use self::store::LastEnded;
use self::store::Store;
use crate::config::spec::WatchName;
use crate::record::ledger::{COLLECT, TRY_AGAIN};
use crate::record::run_record::RunRecord;
use crate::schedule::order::RunId;

/// How much of a run's output is kept, in bytes: as much as the minder hands on.
pub const OUTPUT_BYTES: usize = 64 << 10;

/// How many runs may wait to be written, and with how much output in bytes; of more, the first is given up where the
/// worker has not come back or the disk has refused the last. The worker may have as many more.
const MOST_WAITING: usize = 1_000;
const MOST_OUTPUT_WAITING: usize = 16 << 20;

/// How many questions may wait to be answered.
const MOST_QUESTIONS: usize = 64;

/// What a run has printed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// At most 64 KiB, as it was printed: cut anywhere, and of any encoding. Of a run that goes on, the lines
    /// that were passed on so far.
    pub text: Bytes,
    /// Whether it has printed more before that, or in between.
    pub is_truncated: bool,
    /// Whether it goes on, so that there may be more to come.
    pub is_running: bool,
}

/// What is to be read from the disk.
#[derive(Debug)]
pub enum Question {
    /// The runs of a watch.
    Runs {
        /// Which watch.
        watch: WatchName,
        /// Those that go on.
        running: Vec<Arc<RunRecord>>,
        /// Told all of them, the newest first.
        reply: oneshot::Sender<Vec<RunRecord>>,
    },
    /// What a run has printed last.
    Output {
        /// Which run.
        run: RunId,
        /// Told it; `None` where it is not known, or no longer.
        reply: oneshot::Sender<Option<Output>>,
    },
}

/// A run that has ended and is not on disk yet.
#[derive(Debug, Clone)]
struct Entry {
    record: Arc<RunRecord>,
    output: Bytes,
    /// Whether it was tried and the disk has refused it.
    is_tried: bool,
}

/// What came of some work.
#[derive(Debug, Default)]
pub struct Done {
    /// The runs that there is no more to do for: also those that the disk refuses, since nobody could wait
    /// for that. Each is among them once.
    pub runs: Vec<RunId>,
    /// What was found on the disk, once, when it could be looked at.
    pub found: LastEnded,
}

/// The history with a worker of its own.
#[derive(Debug)]
pub struct History {
    state_dir: PathBuf,
    /// `None`: it could not be opened yet, or the worker has it.
    store: Option<Store>,
    /// What is to be written, the first first.
    waiting: VecDeque<Entry>,
    questions: Vec<Question>,
    /// When what waits is written; `None`: there is nothing.
    due: Option<Instant>,
    /// The worker, and the runs that it tries for the first time: known here, since it may not come back.
    working: Option<(JoinHandle<Work>, Vec<RunId>)>,
    failed: bool,
    given_up: u64,
    /// Nothing more will come.
    is_closing: bool,
}

/// What the worker is given, and gives back.
#[derive(Debug)]
struct Work {
    state_dir: PathBuf,
    store: Option<Store>,
    /// Whether this was a try to write: else it only answers questions.
    is_try: bool,
    to_write: Vec<Entry>,
    /// What will not be written now, to answer questions with.
    unwritten: Vec<Entry>,
    questions: Vec<Question>,
    found: LastEnded,
    written: io::Result<()>,
}

impl History {
    /// The one in `state_dir`, which is looked at soon.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            state_dir,
            store: None,
            waiting: VecDeque::new(),
            questions: Vec::new(),
            due: Some(Instant::now()),
            working: None,
            failed: false,
            given_up: 0,
            is_closing: false,
        }
    }

    /// Takes note of a run that has ended, with the last of what it has printed. Returns those that are given up for
    /// it, since the disk takes too long, and that there is no more to do for.
    #[must_use]
    pub fn note(&mut self, record: Arc<RunRecord>, output: Bytes) -> Vec<RunId> {
        self.waiting.push_back(Entry { record, output, is_tried: false });
        self.due.get_or_insert_with(|| Instant::now() + COLLECT);
        if self.working.is_none() && !self.failed {
            // They wait only to be written together: that is nothing to give any of them up for.
            if self.waiting.len() > MOST_WAITING || self.output_waiting() > MOST_OUTPUT_WAITING {
                self.begin();
            }
            return Vec::new();
        }
        let is_news = !self.failed && self.given_up == 0;
        let given_up = self.give_up_beyond(MOST_WAITING, MOST_OUTPUT_WAITING);
        if is_news && self.given_up > 0 {
            let folder = self.state_dir.join("history");
            warn!(
                "the history {} takes too long to write; the first that waits is given up",
                folder.display()
            );
        }
        given_up
    }

    /// Whether another question may be asked now.
    #[must_use]
    pub fn takes_questions(&self) -> bool {
        self.questions.len() < MOST_QUESTIONS
    }

    /// Has something read, after all that was noted before.
    pub fn ask(&mut self, question: Question) {
        self.questions.push(question);
    }

    /// Whether all that was noted is on disk, or could not be written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.working.is_none() && self.waiting.iter().all(|entry| entry.is_tried)
    }

    /// Writes what waits without waiting for more: nothing will come.
    pub fn hurry(&mut self) {
        self.is_closing = true;
        if !self.is_idle() {
            self.due = Some(Instant::now());
        }
    }

    /// Does what is to be done, and returns what came of it. Waits for ever where there is nothing. May be
    /// cancelled.
    pub async fn worked(&mut self) -> Done {
        loop {
            let Some((working, _)) = &mut self.working else {
                match self.due {
                    _ if !self.questions.is_empty() => {}
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
                self.begin();
                continue;
            };
            let worked = working.await;
            let runs = self.working.take().map_or_else(Vec::new, |(_, runs)| runs);
            return match worked {
                Ok(work) => self.look_at(work, runs),
                Err(error) => {
                    // What it was to write is gone with it: nobody need wait for that.
                    error!("the history's worker ended: {error}; this is a bug");
                    self.due = Some(Instant::now() + TRY_AGAIN);
                    Done { runs, found: LastEnded::new() }
                }
            };
        }
    }

    fn begin(&mut self) {
        // Where the disk has refused the last, it is not asked with every question.
        let is_try = !self.failed || self.due.is_some_and(|due| due <= Instant::now());
        let (to_write, unwritten): (Vec<Entry>, _) = if is_try {
            self.due = None;
            (self.waiting.drain(..).collect(), Vec::new())
        } else {
            (Vec::new(), self.waiting.iter().cloned().collect())
        };
        let runs = to_write.iter().filter(|entry| !entry.is_tried).map(|entry| entry.record.run).collect();
        let mut work = Work {
            state_dir: self.state_dir.clone(),
            store: self.store.take(),
            is_try,
            to_write,
            unwritten,
            questions: std::mem::take(&mut self.questions),
            found: LastEnded::new(),
            written: Ok(()),
        };
        let working = tokio::task::spawn_blocking(move || {
            work.do_it(SystemTime::now());
            work
        });
        self.working = Some((working, runs));
    }

    fn look_at(&mut self, work: Work, mut runs: Vec<RunId>) -> Done {
        let Work { store, is_try, to_write, found, written, .. } = work;
        self.store = store;
        for entry in to_write.into_iter().rev() {
            self.waiting.push_front(Entry { is_tried: true, ..entry });
        }
        runs.extend(self.give_up_beyond(MOST_WAITING, MOST_OUTPUT_WAITING));
        match written {
            _ if !is_try => {}
            Ok(()) => {
                let missing = std::mem::take(&mut self.given_up);
                if std::mem::take(&mut self.failed) || missing > 0 {
                    info!(missing, "the history is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    let folder = self.state_dir.join("history");
                    error!("cannot write the history {}: {error}; trying again", folder.display());
                }
                // What has come meanwhile is tried once, too, before the end.
                let is_last = self.is_closing && self.waiting.iter().any(|entry| !entry.is_tried);
                self.due = Some(Instant::now() + if is_last { Duration::ZERO } else { TRY_AGAIN });
            }
        }
        Done { runs, found }
    }

    /// With how much output runs wait, in bytes.
    fn output_waiting(&self) -> usize {
        self.waiting.iter().map(|entry| entry.output.len()).sum()
    }

    /// Gives up the first of what waits where that is too much. Returns those that were not tried.
    fn give_up_beyond(&mut self, runs: usize, output: usize) -> Vec<RunId> {
        let mut untried = Vec::new();
        let mut bytes = self.output_waiting();
        while (self.waiting.len() > runs || bytes > output)
            && let Some(first) = self.waiting.pop_front()
        {
            bytes -= first.output.len();
            self.given_up += 1;
            untried.extend((!first.is_tried).then_some(first.record.run));
        }
        untried
    }
}

impl Work {
    fn do_it(&mut self, now: SystemTime) {
        self.written = self.write(now);
        for question in std::mem::take(&mut self.questions) {
            // Who has asked may have gone.
            match question {
                Question::Runs { watch, running, reply } => drop(reply.send(self.runs(&watch, running))),
                Question::Output { run, reply } => drop(reply.send(self.output(run))),
            }
        }
    }

    fn write(&mut self, now: SystemTime) -> io::Result<()> {
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                let (store, found) = Store::open(&self.state_dir)?;
                self.found = found;
                self.store.insert(store)
            }
        };
        if self.to_write.is_empty() {
            return Ok(());
        }
        store.check_room()?;
        let mut written = Ok(());
        let mut refused = Vec::new();
        for entry in self.to_write.drain(..) {
            // Another watch's folder may be in order.
            if let Err(error) = store.add(&entry.record, &entry.output, now) {
                written = Err(error);
                refused.push(entry);
            }
        }
        self.to_write = refused;
        written
    }

    /// What is not on disk.
    fn not_written(&self) -> impl Iterator<Item = &Entry> {
        self.to_write.iter().chain(&self.unwritten)
    }

    fn runs(&self, watch: &WatchName, running: Vec<Arc<RunRecord>>) -> Vec<RunRecord> {
        let on_disk = self.store.as_ref().and_then(|store| store.runs(watch).ok()).unwrap_or_default();
        let waiting = self.not_written().map(|entry| &entry.record).filter(|record| record.watch == *watch);
        let mut ended: Vec<RunRecord> = on_disk;
        ended.extend(waiting.map(|record| RunRecord::clone(record)));
        ended.drain(..ended.len().saturating_sub(RUNS));
        let running = running.into_iter().map(Arc::unwrap_or_clone);
        // What has ended since it was asked is among both.
        let mut runs: HashMap<RunId, RunRecord> = running.map(|record| (record.run, record)).collect();
        runs.extend(ended.into_iter().map(|record| (record.run, record)));
        let mut runs: Vec<RunRecord> = runs.into_values().collect();
        runs.sort_unstable_by_key(|record| (record.is_running(), record.run));
        runs.reverse();
        runs
    }

    fn output(&self, run: RunId) -> Option<Output> {
        if let Some(entry) = self.not_written().find(|entry| entry.record.run == run) {
            let is_truncated = entry.record.end.as_ref().is_some_and(|end| end.output_truncated);
            return Some(Output { text: entry.output.clone(), is_truncated, is_running: false });
        }
        let (text, is_truncated) = self.store.as_ref()?.output(run)?;
        Some(Output { text: text.into(), is_truncated, is_running: false })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::run_record::tests::{ended, running};
    use crate::schedule::order::Outcome;

    fn note(history: &mut History, run: u64) {
        assert!(note_with(history, run, format!("output of {run}").into()).is_empty());
    }

    /// Returns those that are given up for it.
    fn note_with(history: &mut History, run: u64, output: Bytes) -> Vec<u64> {
        let mut record = ended("a", run, Outcome::Exited(0));
        record.end.as_mut().unwrap().output_bytes = output.len() as u64;
        history.note(Arc::new(record), output).iter().map(|run| run.as_u64()).collect()
    }

    /// What a reader is told: the numbers of the runs, those that go on negative.
    async fn runs(history: &mut History, going_on: &[u64]) -> Vec<i64> {
        let (reply, mut answer) = oneshot::channel();
        let running = going_on.iter().map(|&run| Arc::new(running("a", run))).collect();
        history.ask(Question::Runs { watch: "a".try_into().unwrap(), running, reply });
        loop {
            history.worked().await;
            if let Ok(runs) = answer.try_recv() {
                let number = |record: &RunRecord| {
                    let number = i64::try_from(record.run.as_u64()).unwrap();
                    if record.is_running() { -number } else { number }
                };
                return runs.iter().map(number).collect();
            }
        }
    }

    async fn output(history: &mut History, run: u64) -> Option<String> {
        let (reply, mut answer) = oneshot::channel();
        history.ask(Question::Output { run: RunId::from_u64(run), reply });
        loop {
            history.worked().await;
            if let Ok(output) = answer.try_recv() {
                return output.map(|output: Output| String::from_utf8(output.text.to_vec()).unwrap());
            }
        }
    }

    async fn settled(history: &mut History) -> Vec<u64> {
        let mut runs = Vec::new();
        while !history.is_idle() {
            runs.extend(history.worked().await.runs.iter().map(|run| run.as_u64()));
        }
        runs.sort_unstable();
        runs
    }

    #[tokio::test]
    async fn who_asks_is_told_what_goes_on_first_and_then_the_newest() {
        let base = tempfile::tempdir().unwrap();
        let mut history = History::new(base.path().to_owned());
        (1..=3).for_each(|run| note(&mut history, run));
        assert_eq!(settled(&mut history).await, [1, 2, 3]);
        note(&mut history, 4);
        // One of those that went on when it was asked has ended since.
        assert_eq!(runs(&mut history, &[2, 5, 6]).await, [-6, -5, 4, 3, 2, 1]);
        assert_eq!(output(&mut history, 4).await.as_deref(), Some("output of 4"));
        assert_eq!(output(&mut history, 7).await, None);
    }

    #[tokio::test]
    async fn the_next_daemon_is_told_the_last_run_of_each_watch() {
        let base = tempfile::tempdir().unwrap();
        let mut history = History::new(base.path().to_owned());
        (1..=3).for_each(|run| note(&mut history, run));
        settled(&mut history).await;
        let mut history = History::new(base.path().to_owned());
        let found = history.worked().await.found;
        assert_eq!(found[&"a".try_into().unwrap()].run.as_u64(), 3);
        assert_eq!(runs(&mut history, &[]).await, [3, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_refuses_it_costs_nothing_that_is_asked_for_soon_and_is_tried_again() {
        let base = tempfile::tempdir().unwrap();
        let state_dir = base.path().join("state");
        fs::write(&state_dir, "in the way").unwrap();
        let mut history = History::new(state_dir.clone());
        (1..=2).for_each(|run| note(&mut history, run));
        // There is no more to do for them, although they are not on disk.
        assert_eq!(settled(&mut history).await, [1, 2]);
        assert_eq!(runs(&mut history, &[3]).await, [-3, 2, 1]);
        assert_eq!(output(&mut history, 2).await.as_deref(), Some("output of 2"));
        note(&mut history, 4);
        assert_eq!(settled(&mut history).await, [4]);
        fs::remove_file(&state_dir).unwrap();
        while history.failed {
            // That was said of them before.
            assert!(history.worked().await.runs.is_empty());
        }
        assert!(history.waiting.is_empty());
        let mut history = History::new(state_dir);
        assert_eq!(runs(&mut history, &[]).await, [4, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_is_gone_with_the_worker_and_the_next_one_writes_again() {
        let base = tempfile::tempdir().unwrap();
        let mut history = History::new(base.path().to_owned());
        (1..=2).for_each(|run| note(&mut history, run));
        history.begin();
        let (worker, _) = history.working.as_mut().unwrap();
        (&mut *worker).await.unwrap();
        *worker = tokio::spawn(async { panic!("a bug in the worker") });
        note(&mut history, 3);
        assert_eq!(history.worked().await.runs, [1, 2].map(RunId::from_u64));
        assert_eq!(settled(&mut history).await, [3]);
        assert_eq!(runs(&mut history, &[]).await[0], 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_disk_that_refuses_it() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("history"), "in the way").unwrap();
        let mut history = History::new(base.path().to_owned());
        note(&mut history, 1);
        history.begin();
        note(&mut history, 2);
        history.hurry();
        let before = Instant::now();
        assert_eq!(settled(&mut history).await, [1, 2]);
        assert!(before.elapsed() < TRY_AGAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_disk_that_refuses_it_has_a_bound() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("history"), "in the way").unwrap();
        let mut history = History::new(base.path().to_owned());
        for run in 1..=MOST_WAITING as u64 {
            note(&mut history, run);
        }
        history.begin();
        (1..=5).for_each(|more| note(&mut history, MOST_WAITING as u64 + more));
        assert_eq!(settled(&mut history).await.len(), MOST_WAITING + 5);
        assert_eq!((history.waiting.len(), history.given_up), (MOST_WAITING, 5));
        assert!(history.give_up_beyond(MOST_WAITING, 100).is_empty());
        assert_eq!(history.waiting.len(), 100 / "output of 1000".len());
    }

    #[tokio::test]
    async fn of_what_ends_at_once_nothing_is_given_up_before_the_disk_is_asked() {
        for (runs, output) in [(MOST_WAITING + 1, 0), (MOST_OUTPUT_WAITING / OUTPUT_BYTES + 1, OUTPUT_BYTES)]
        {
            let base = tempfile::tempdir().unwrap();
            let mut history = History::new(base.path().to_owned());
            let output = Bytes::from(vec![b'x'; output]);
            let watches =
                || (1..=runs as u64).map(|run| (run, WatchName::try_from(format!("w{run}")).unwrap()));
            for (run, watch) in watches() {
                let record = ended(watch.as_str(), run, Outcome::Exited(0));
                assert!(history.note(Arc::new(record), output.clone()).is_empty(), "{run}");
            }
            // It does not rest with who looks at the worker that no more come together.
            assert!(history.working.is_some() && history.waiting.is_empty());
            assert_eq!(settled(&mut history).await, (1..=runs as u64).collect::<Vec<_>>());
            let (_, found) = Store::open(base.path()).unwrap();
            assert_eq!(found.len(), runs);
            assert!(watches().all(|(run, watch)| found[&watch].run.as_u64() == run));
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_disk_that_does_not_answer_has_a_bound_and_no_more_is_to_be_done_for_the_rest() {
        let base = tempfile::tempdir().unwrap();
        let mut history = History::new(base.path().to_owned());
        note(&mut history, 1);
        // Nobody looks at what the worker has done: it is as if it had not.
        history.begin();
        let most = MOST_WAITING as u64;
        let given_up: Vec<u64> =
            (2..=most + 4).flat_map(|run| note_with(&mut history, run, Bytes::new())).collect();
        assert_eq!((&given_up[..], history.waiting.len()), (&[2, 3, 4][..], MOST_WAITING));
        let long = Bytes::from(vec![b'x'; MOST_OUTPUT_WAITING / 4]);
        let given_up: Vec<u64> =
            (0..5).flat_map(|more| note_with(&mut history, most + 5 + more, long.clone())).collect();
        assert_eq!((given_up.len(), history.waiting.len()), (MOST_WAITING + 1, 4));
        assert_eq!(settled(&mut history).await.len(), 1 + 4);
        assert_eq!((history.given_up, history.waiting.len()), (0, 0));
    }
}
