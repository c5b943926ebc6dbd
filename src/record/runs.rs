//! The runs that go on, with what they have printed so far, and the last of each watch that has ended. In
//! memory, and pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::config::spec::WatchName;
use crate::record::history::{LastEnded, OUTPUT_BYTES, Output};
use crate::record::reader::LastRuns;
use crate::record::run_record::{RunEnd, RunRecord};
use crate::run::protocol::{About, Dropped};
use crate::schedule::order::{Ended, RunId};

/// Of how many watches the last run is known: of more, those whose was longest ago are forgotten. Names of
/// watches may be made up by a program.
const MOST_WATCHES: usize = 50_000;

/// What goes on, and what has ended last.
#[derive(Debug, Default)]
pub struct Runs {
    running: BTreeMap<RunId, Running>,
    ended: HashMap<WatchName, Arc<RunRecord>>,
}

#[derive(Debug)]
struct Running {
    record: Arc<RunRecord>,
    printed: Tail,
}

/// The end of what was printed.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
    is_truncated: bool,
}

/// What is left of a run when it has ended.
#[derive(Debug)]
pub struct Left {
    /// Its process, if it had one that anybody knows of.
    pub pid: Option<i32>,
    /// When it was started, if it was and anybody knows.
    pub started: Option<Timestamp>,
    /// The last of what it has printed.
    pub output: Bytes,
}

impl Runs {
    /// Takes note of a run that goes on. `started`: when, if that is known.
    pub fn begin(
        &mut self,
        run: RunId,
        about: &About,
        pid: Option<i32>,
        started: Option<Timestamp>,
    ) -> Option<Arc<RunRecord>> {
        let watch = WatchName::try_from(about.watch.as_str()).ok()?;
        let record = Arc::new(RunRecord::begun(run, watch, about, pid, started));
        self.running.insert(run, Running { record: Arc::clone(&record), printed: Tail::default() });
        Some(record)
    }

    /// Takes note of what a run has printed. What comes after its end is of what it has left behind.
    pub fn print(&mut self, run: RunId, lines: &[u8], dropped: Dropped) {
        if let Some(running) = self.running.get_mut(&run) {
            running.printed.is_truncated |= dropped != Dropped::default();
            running.printed.push(lines);
        }
    }

    /// Takes note of its end, at the given time, and returns its record and what of its output is to be kept.
    pub fn end(&mut self, end: &Ended, about: &About, left: Left, now: Timestamp) -> (Arc<RunRecord>, Bytes) {
        let Left { pid, started, mut output } = left;
        let known = self.running.remove(&end.run);
        let mut is_truncated = output.len() >= OUTPUT_BYTES;
        if let Some(Running { printed, .. }) = &known
            && output.is_empty()
        {
            // Who had the rest of it is gone.
            is_truncated = printed.is_truncated;
            output = printed.text();
        }
        let known = known.map(|known| known.record);
        let started = started.or(known.as_ref().map(|known| known.started));
        let pid = pid.or(known.as_ref().and_then(|known| known.pid));
        let mut record = RunRecord::begun(end.run, end.watch.clone(), about, pid, started);
        // Of one that nobody saw end, it is not known how long it lasted.
        let at = record.started.checked_add(end.lasted).ok().filter(|_| !end.lasted.is_zero());
        record.end = Some(RunEnd {
            at: at.unwrap_or(now),
            lasted_seconds: end.lasted.as_secs_f64(),
            outcome: end.outcome.clone(),
            usage: end.usage.map(Into::into),
            output_bytes: output.len() as u64,
            output_truncated: is_truncated,
        });
        let record = Arc::new(record);
        self.ended.insert(end.watch.clone(), Arc::clone(&record));
        self.forget_beyond(MOST_WATCHES);
        (record, output)
    }

    fn forget_beyond(&mut self, most: usize) {
        if self.ended.len() <= most {
            return;
        }
        let mut runs: Vec<RunId> = self.ended.values().map(|record| record.run).collect();
        runs.sort_unstable();
        // Somewhat more than has to be, so as not to sort them each time.
        let since = runs[runs.len() - most / 8 * 7];
        self.ended.retain(|_, record| record.run >= since);
    }

    /// Takes note of what an earlier daemon has left, where nothing is known that came after it.
    pub fn find(&mut self, found: LastEnded) {
        for (watch, record) in found {
            self.ended.entry(watch).or_insert_with(|| Arc::new(record));
        }
        self.forget_beyond(MOST_WATCHES);
    }

    /// Those of a watch that go on.
    #[must_use]
    pub fn running(&self, watch: &WatchName) -> Vec<Arc<RunRecord>> {
        let all = self.running.values().map(|running| &running.record);
        all.filter(|record| record.watch == *watch).cloned().collect()
    }

    /// What goes on, and what has ended last.
    #[must_use]
    pub fn last(&self) -> HashMap<WatchName, LastRuns> {
        let ended = self.ended.iter().map(|(watch, record)| {
            (watch.clone(), LastRuns { running: Vec::new(), ended: Some(Arc::clone(record)) })
        });
        let mut last: HashMap<WatchName, LastRuns> = ended.collect();
        for Running { record, .. } in self.running.values().rev() {
            last.entry(record.watch.clone()).or_default().running.push(Arc::clone(record));
        }
        last
    }

    /// What a run that goes on has printed so far.
    #[must_use]
    pub fn output(&self, run: RunId) -> Option<Output> {
        let printed = &self.running.get(&run)?.printed;
        Some(Output { text: printed.text(), is_truncated: printed.is_truncated, is_running: true })
    }
}

impl Tail {
    fn push(&mut self, lines: &[u8]) {
        self.bytes.extend(lines);
        let over = self.bytes.len().saturating_sub(OUTPUT_BYTES);
        self.bytes.drain(..over);
        self.is_truncated |= over > 0;
    }

    fn text(&self) -> Bytes {
        self.bytes.iter().copied().collect()
    }
}
