//! The runs that go on, with what they have printed so far, and the last of each watch that has ended. In
//! memory, and pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::config::spec::{MOST_REMEMBERED, WatchName, kept_since};
use crate::record::history::{LastEnded, OUTPUT_BYTES, Output};
use crate::record::reader::{LastRuns, Tally};
use crate::record::run_record::{RunEnd, RunRecord, timestamp};
use crate::run::happening::Left;
use crate::run::protocol::{About, Dropped};
use crate::schedule::order::{Ended, RunId};

/// What goes on, and what has ended last.
#[derive(Debug, Default)]
pub struct Runs {
    running: BTreeMap<RunId, Running>,
    ended: HashMap<WatchName, Past>,
}

/// What is known of the runs of a watch that have ended.
#[derive(Debug)]
struct Past {
    last: Arc<RunRecord>,
    tally: Tally,
}

impl Past {
    /// The last run is all that is known, since an earlier daemon has counted the others.
    fn left(last: Arc<RunRecord>) -> Self {
        let mut tally = Tally::default();
        tally.date(&last);
        Self { last, tally }
    }
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
        let started = started.map(timestamp).or(known.as_ref().map(|known| known.started));
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
        let past = self.ended.entry(end.watch.clone()).or_insert_with(|| Past::left(Arc::clone(&record)));
        past.last = Arc::clone(&record);
        past.tally.outcomes.add(&end.outcome);
        past.tally.date(&record);
        self.forget_beyond(MOST_REMEMBERED);
        (record, output)
    }

    /// Forgets those whose last run was longest ago, where there are too many.
    fn forget_beyond(&mut self, most: usize) {
        if self.ended.len() <= most {
            return;
        }
        let runs: Vec<RunId> = self.ended.values().map(|past| past.last.run).collect();
        if let Some(since) = kept_since(runs, most) {
            self.ended.retain(|_, past| past.last.run >= since);
        }
    }

    /// Takes note of what an earlier daemon has left, where nothing is known that came after it.
    pub fn find(&mut self, found: LastEnded) {
        for (watch, record) in found {
            self.ended.entry(watch).or_insert_with(|| Past::left(Arc::new(record)));
        }
        self.forget_beyond(MOST_REMEMBERED);
    }

    /// How many go on.
    #[must_use]
    pub fn count_running(&self) -> usize {
        self.running.len()
    }

    /// Those of a watch that go on.
    #[must_use]
    pub fn running(&self, watch: &WatchName) -> Vec<Arc<RunRecord>> {
        let all = self.running.values().map(|running| &running.record);
        all.filter(|record| record.watch == *watch).cloned().collect()
    }

    /// The newest of a watch's runs that go on, or else the one that has ended last.
    #[must_use]
    pub fn newest(&self, watch: &WatchName) -> Option<RunId> {
        let running = self.running(watch).last().map(|record| record.run);
        running.or_else(|| self.ended.get(watch).map(|past| past.last.run))
    }

    /// What goes on, and what has ended last.
    #[must_use]
    pub fn last(&self) -> HashMap<WatchName, LastRuns> {
        let ended = self.ended.iter().map(|(watch, Past { last, tally })| {
            let ended = Some(Arc::clone(last));
            (watch.clone(), LastRuns { running: Vec::new(), ended, tally: *tally })
        });
        let mut last: HashMap<WatchName, LastRuns> = ended.collect();
        for Running { record, .. } in self.running.values().rev() {
            last.entry(record.watch.clone()).or_default().running.push(Arc::clone(record));
        }
        last
    }

    /// The same of one watch.
    #[must_use]
    pub fn last_of(&self, watch: &WatchName) -> LastRuns {
        let mut running = self.running(watch);
        running.reverse();
        let past = self.ended.get(watch);
        let ended = past.map(|past| Arc::clone(&past.last));
        LastRuns { running, ended, tally: past.map(|past| past.tally).unwrap_or_default() }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::run_record::tests::ended;
    use crate::schedule::order::{Applied, Outcome};
    use crate::watch::update::{Event, Version};

    fn about(watch: &str) -> About {
        let version = Version::default();
        About { watch: watch.into(), znode: "/a".into(), event: Event::Loaded, version, attempt: 1 }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn end(runs: &mut Runs, watch: &str, run: u64, lasted: Duration, left: Left) -> (Arc<RunRecord>, Bytes) {
        let end = Ended {
            run: RunId::from_u64(run),
            watch: watch.try_into().unwrap(),
            given: Applied { znode: "/a".into(), version: Version::default() },
            outcome: Outcome::Lost,
            usage: None,
            lasted,
        };
        runs.end(&end, &about(watch), left, at(100))
    }

    #[test]
    fn what_the_minder_knows_of_a_run_is_believed_over_what_was_seen_of_it() {
        let mut runs = Runs::default();
        runs.begin(RunId::from_u64(7), &about("a"), Some(17), Some(at(10)));
        runs.print(RunId::from_u64(7), b"seen\n", Dropped::default());
        let left = Left { pid: Some(18), started: Some(at(9).into()), output: Bytes::from("all of it") };
        let (record, output) = end(&mut runs, "a", 7, Duration::from_secs(3), left);
        let end = record.end.as_ref().unwrap();
        assert_eq!((record.pid, record.started, end.at), (Some(18), at(9), at(12)));
        assert_eq!((&output[..], end.output_truncated), (&b"all of it"[..], false));
        assert!(runs.output(RunId::from_u64(7)).is_none());
    }

    #[test]
    fn of_a_run_that_nobody_saw_end_is_known_what_was_seen_of_it() {
        let mut runs = Runs::default();
        let run = RunId::from_u64(5_000_000);
        runs.begin(run, &about("a"), Some(17), None);
        runs.print(run, b"seen\n", Dropped { lines: 1, bytes: 9 });
        let so_far = runs.output(run).unwrap();
        assert_eq!((&so_far.text[..], so_far.is_truncated, so_far.is_running), (&b"seen\n"[..], true, true));
        let (record, output) = end(&mut runs, "a", 5_000_000, Duration::ZERO, Left::default());
        let end = record.end.as_ref().unwrap();
        assert_eq!((record.pid, record.started, end.at), (Some(17), at(5), at(100)));
        assert_eq!((&output[..], end.output_truncated), (&b"seen\n"[..], true));
    }

    #[test]
    fn what_a_run_has_printed_so_far_has_a_bound() {
        let mut runs = Runs::default();
        runs.begin(RunId::from_u64(7), &about("a"), None, None);
        for number in 0..20_000 {
            runs.print(RunId::from_u64(7), format!("{number:07}\n").as_bytes(), Dropped::default());
        }
        let output = runs.output(RunId::from_u64(7)).unwrap();
        assert_eq!((output.text.len(), output.is_truncated), (OUTPUT_BYTES, true));
        assert!(output.text.ends_with(b"0019999\n"));
    }

    #[test]
    fn the_last_of_each_watch_is_known_and_what_was_found_later_is_older() {
        let mut runs = Runs::default();
        for run in [3, 4] {
            runs.begin(RunId::from_u64(run), &about("a"), None, None);
        }
        end(&mut runs, "b", 2, Duration::ZERO, Left::default());
        let found = ["a", "b"].map(|name| (name.try_into().unwrap(), ended(name, 1, Outcome::TimedOut)));
        runs.find(found.into());
        let last = runs.last();
        let of = |name: &str| {
            let LastRuns { running, ended, tally: _ } = &last[&name.try_into().unwrap()];
            let running: Vec<u64> = running.iter().map(|record| record.run.as_u64()).collect();
            (running, ended.as_ref().map(|record| record.run.as_u64()))
        };
        assert_eq!((of("a"), of("b")), ((vec![4, 3], Some(1)), (vec![], Some(2))));
    }

    #[test]
    fn of_each_watch_is_counted_how_its_runs_ended_and_known_when_the_last_were_well_and_not() {
        let mut runs = Runs::default();
        let name: WatchName = "a".try_into().unwrap();
        runs.find([(name.clone(), ended("a", 5_000_000, Outcome::Exited(0)))].into());
        let of = |runs: &Runs| runs.last()[&name].tally;
        assert_eq!((of(&runs).last_success, of(&runs).last_failure), (Some(at(5)), None));
        end(
            &mut runs,
            "a",
            7,
            Duration::from_secs(1),
            Left { started: Some(at(50).into()), ..Left::default() },
        );
        end(
            &mut runs,
            "a",
            8,
            Duration::from_secs(1),
            Left { started: Some(at(40).into()), ..Left::default() },
        );
        assert_eq!((of(&runs).last_success, of(&runs).last_failure), (Some(at(5)), Some(at(51))));
        assert_eq!(
            of(&runs).outcomes.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
            [("lost", 2)]
        );
    }

    #[test]
    fn of_more_watches_than_any_host_has_the_oldest_are_forgotten() {
        let mut runs = Runs::default();
        for run in 1..=100 {
            end(&mut runs, &format!("w{run}"), run, Duration::ZERO, Left::default());
            runs.forget_beyond(16);
            assert!(runs.ended.len() <= 16);
        }
        assert!(runs.ended.contains_key(&"w100".try_into().unwrap()));
    }
}
