//! Takes note of all that happens: in the log, in the events, in the history, and where a run ends well in the
//! ledger; and answers those who ask. The only one who knows what runs and what ran.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use crate::record::events::{Events, Tidings, What};
use crate::record::history::{History, Output, Question};
use crate::record::ledger::{Defined, Ledger, Line, Writer};
use crate::record::metrics::Metrics;
use crate::record::reader::Request;
use crate::record::run_log::log;
use crate::record::run_record::timestamp;
use crate::record::runs::Runs;
use crate::run::happening::Happening;
use crate::run::protocol::About;
use crate::schedule::order::RunId;
use crate::watch::update::Beat;

/// What the journal is told and asked.
#[derive(Debug)]
pub struct Inlets {
    /// What becomes of runs. It works until there is no more of it.
    pub happenings: mpsc::Receiver<Happening>,
    /// What the daemon's other parts see.
    pub tidings: Tidings,
    /// What others want to know.
    pub requests: mpsc::Receiver<Request>,
    /// Which watches there are.
    pub defined: Defined,
    /// Where it is told which of the daemon's heartbeats has come as far as this.
    pub beats: watch::Sender<Beat>,
}

/// Takes note of what happens until nobody tells any more. Runs that have ended and that nothing more is to
/// be noted of go to `kept`, which has no bound so that this and whoever tells cannot wait for each other; what
/// is in it is a number for each run that has ended just now.
pub async fn keep(inlets: Inlets, ledger: Ledger, history: History, kept: mpsc::UnboundedSender<RunId>) {
    let Inlets { mut happenings, mut tidings, mut requests, defined, beats } = inlets;
    let ledger = Writer::new(ledger, defined);
    let mut journal = Journal::new(ledger, history, kept, beats);
    let mut telling = true;
    while telling || !journal.is_idle() {
        tokio::select! {
            happening = happenings.recv(), if telling => match happening {
                Some(happening) => {
                    log(&happening).await;
                    journal.note(happening, SystemTime::now());
                }
                None => {
                    telling = false;
                    journal.history.hurry();
                }
            },
            Some(what) = tidings.next() => journal.hear(what, tidings.take_missing(), SystemTime::now()),
            Some(request) = requests.recv(), if journal.history.takes_questions() => journal.answer(request),
            runs = journal.ledger.written() => runs.into_iter().for_each(|run| journal.settle(run)),
            done = journal.history.worked() => {
                journal.runs.find(done.found);
                done.runs.into_iter().for_each(|run| journal.settle(run));
            }
        }
    }
}

#[derive(Debug)]
struct Journal {
    ledger: Writer,
    history: History,
    events: Events,
    runs: Runs,
    metrics: Metrics,
    /// The runs that have ended, and how many have yet to take note of it for good.
    owed: HashMap<RunId, usize>,
    kept: mpsc::UnboundedSender<RunId>,
    beats: watch::Sender<Beat>,
}

impl Journal {
    fn new(
        ledger: Writer,
        history: History,
        kept: mpsc::UnboundedSender<RunId>,
        beats: watch::Sender<Beat>,
    ) -> Self {
        Self {
            ledger,
            history,
            events: Events::new(SystemTime::now()),
            runs: Runs::default(),
            metrics: Metrics::default(),
            owed: HashMap::new(),
            kept,
            beats,
        }
    }

    fn is_idle(&self) -> bool {
        self.ledger.is_idle() && self.history.is_idle()
    }

    fn note(&mut self, happening: Happening, now: SystemTime) {
        match happening {
            Happening::Started { run, about, pid, after } => {
                self.metrics.begin(about.attempt, after);
                self.begin(run, &about);
                if let Some(run) = self.runs.begin(run, &about, Some(pid), Some(timestamp(now))) {
                    self.events.tell(What::RunStarted { run }, now);
                }
            }
            Happening::Adopted { run, about, pid } => {
                self.begin(run, &about);
                if let Some(run) = self.runs.begin(run, &about, pid, None) {
                    self.events.tell(What::RunAdopted { run }, now);
                }
            }
            Happening::Output { run, watch, lines, dropped } => {
                self.runs.print(run, &lines, dropped);
                self.metrics.lines_dropped += dropped.lines;
                if let Ok(watch) = watch.as_str().try_into() {
                    self.events.tell_output(run, &watch, &lines, dropped, now);
                }
            }
            Happening::Stuck { run, watch } => {
                if let Ok(watch) = watch.as_str().try_into() {
                    self.events.tell(What::RunStuck { run, watch }, now);
                }
            }
            Happening::Ended { end, about, left } => {
                self.metrics.end(&end.outcome, end.lasted);
                let (record, output) = self.runs.end(&end, &about, left, timestamp(now));
                self.events.tell(What::RunEnded { run: Arc::clone(&record) }, now);
                let mut over = self.history.note(record, output);
                let is_success = end.outcome.is_success();
                self.owed.insert(end.run, 1 + usize::from(is_success));
                if is_success {
                    let line = Line { watch: end.watch, applied: end.given, at: now };
                    over.extend(self.ledger.note(end.run, line));
                }
                over.into_iter().for_each(|run| self.settle(run));
            }
            Happening::Beat(beat) => drop(self.beats.send_replace(beat)),
        }
    }

    fn begin(&mut self, run: RunId, about: &About) {
        if let Ok(watch) = about.watch.as_str().try_into() {
            self.ledger.begin(run, &watch, about.given());
        }
    }

    fn hear(&mut self, what: What, missing: u64, now: SystemTime) {
        self.events.tell(what, now);
        if missing > 0 {
            self.events.tell(What::EventsMissing { count: missing }, now);
        }
    }

    /// One of those who take note of an end for good has done so.
    fn settle(&mut self, run: RunId) {
        match self.owed.get_mut(&run) {
            Some(owed) if *owed > 1 => *owed -= 1,
            _ => {
                self.owed.remove(&run);
                // Nobody minds it any more, if nobody listens.
                let _ = self.kept.send(run);
            }
        }
    }

    fn output(&mut self, run: RunId) -> oneshot::Receiver<Option<Output>> {
        let (answer, output) = oneshot::channel();
        match self.runs.output(run) {
            Some(output) => drop(answer.send(Some(output))),
            None => self.history.ask(Question::Output { run, reply: answer }),
        }
        output
    }

    fn answer(&mut self, request: Request) {
        // Who has asked may have gone.
        match request {
            Request::Runs(watch, reply) => {
                let running = self.runs.running(&watch);
                self.history.ask(Question::Runs { watch, running, reply });
            }
            Request::Metrics(reply) => {
                let running = self.runs.count_running();
                drop(reply.send(Metrics { running, ..self.metrics.clone() }));
            }
            Request::LastRuns(reply) => drop(reply.send(self.runs.last())),
            Request::LastRunsOf(watch, reply) => drop(reply.send(self.runs.last_of(&watch))),
            Request::Output(run, reply) => drop(reply.send((self.output(run), self.events.subscribe()))),
            Request::LastOutput(watch, reply) => {
                let output = self.runs.newest(&watch).map(|run| self.output(run));
                let _ = reply.send((output, self.events.subscribe()));
            }
            Request::Follow(since, reply) => drop(reply.send(self.events.follow(since))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::record::events::{Teller, Told, teller};
    use crate::record::reader::{Reader, reader};
    use crate::run::happening::Left;
    use crate::run::protocol::{About, Dropped};
    use crate::schedule::order::{Applied, Ended, Outcome};
    use crate::watch::update::{Event, Version};

    struct Rig {
        happenings: mpsc::Sender<Happening>,
        teller: Teller,
        reader: Reader,
        kept: mpsc::UnboundedReceiver<RunId>,
        journal: JoinHandle<()>,
        base: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let (happenings_in, happenings) = mpsc::channel(8);
            let (teller, tidings) = teller();
            let (reader, requests) = reader();
            let (kept_in, kept) = mpsc::unbounded_channel();
            let beats = watch::Sender::default();
            let inlets = Inlets { happenings, tidings, requests, defined: watch::channel(None).1, beats };
            let ledger = Ledger::open(base.path());
            let history = History::new(base.path().to_owned());
            let journal = tokio::spawn(keep(inlets, ledger, history, kept_in));
            Self { happenings: happenings_in, teller, reader, kept, journal, base }
        }

        async fn start(&self, run: u64) {
            let happening =
                Happening::Started { run: RunId::from_u64(run), about: about(), pid: 17, after: None };
            self.happenings.send(happening).await.unwrap();
        }

        async fn print(&self, run: u64, lines: &'static str) {
            let (run, watch) = (RunId::from_u64(run), "a".to_owned());
            let (lines, dropped) = (Bytes::from(lines), Dropped::default());
            self.happenings.send(Happening::Output { run, watch, lines, dropped }).await.unwrap();
        }

        async fn end(&self, run: u64, outcome: Outcome, output: &'static str) {
            self.happenings.send(ended(run, outcome, output)).await.unwrap();
        }

        async fn runs(&self) -> Vec<(u64, bool)> {
            let runs = self.reader.runs(&"a".try_into().unwrap()).await.unwrap();
            runs.iter().map(|record| (record.run.as_u64(), record.is_running())).collect()
        }
    }

    fn ended(run: u64, outcome: Outcome, output: &'static str) -> Happening {
        let end = Ended {
            run: RunId::from_u64(run),
            watch: "a".try_into().unwrap(),
            given: Applied { znode: "/a".into(), version: Version::default() },
            outcome,
            usage: None,
            lasted: Duration::from_secs(1),
        };
        let left = Left { pid: Some(17), started: None, output: Bytes::from(output) };
        Happening::Ended { end: Box::new(end), about: about(), left }
    }

    fn about() -> About {
        let version = Version::default();
        About { watch: "a".into(), znode: "/a".into(), event: Event::Loaded, version, attempt: 1 }
    }

    #[tokio::test]
    async fn an_end_is_kept_when_the_history_and_if_it_was_well_the_ledger_are_on_disk() {
        let mut rig = Rig::new();
        rig.end(1, Outcome::Exited(0), "").await;
        rig.end(2, Outcome::TimedOut, "").await;
        let mut kept = [rig.kept.recv().await.unwrap(), rig.kept.recv().await.unwrap()];
        kept.sort_unstable();
        assert_eq!(kept, [1, 2].map(RunId::from_u64));
        let on_disk = std::fs::read_to_string(rig.base.path().join("history/a/runs.jsonl")).unwrap();
        assert_eq!(on_disk.lines().count(), 3);
        assert!(rig.base.path().join("ledger.json").exists());
    }

    #[tokio::test]
    async fn while_the_disk_does_not_answer_the_minder_is_told_of_the_first_ends_that_they_are_over() {
        let base = tempfile::tempdir().unwrap();
        let (kept_in, mut kept) = mpsc::unbounded_channel();
        let ledger = Writer::new(Ledger::open(base.path()), watch::channel(None).1);
        let history = History::new(base.path().to_owned());
        let mut journal = Journal::new(ledger, history, kept_in, watch::Sender::default());
        // Nobody looks at whether anything was written: it is as if it had not been.
        for run in 1..=10_000 {
            let outcome = if run % 2 == 0 { Outcome::Exited(0) } else { Outcome::TimedOut };
            journal.note(ended(run, outcome, ""), SystemTime::now());
        }
        let settled = std::iter::from_fn(|| kept.try_recv().ok()).count();
        // The ledger and the history have each what was begun to be written, and a thousand more.
        assert!(settled >= 10_000 - 2 * 2_001, "{settled}");
        assert_eq!(journal.owed.len() + settled, 10_000);
    }

    #[tokio::test]
    async fn what_goes_on_is_told_with_what_it_has_printed_and_prints_from_then_on() {
        let rig = Rig::new();
        rig.end(1, Outcome::Exited(3), "the first").await;
        rig.start(2).await;
        rig.print(2, "one\n").await;
        // Not before it was taken note of.
        while rig.runs().await != [(2, true), (1, false)] {}
        let name = "a".try_into().unwrap();
        let last = &rig.reader.last_runs().await.unwrap()[&name];
        assert_eq!(rig.reader.last_runs_of(&name).await.as_ref(), Some(last));
        assert_eq!(last.running.len(), 1);
        assert_eq!(last.ended.as_ref().unwrap().run.as_u64(), 1);
        let first = rig.reader.output(RunId::from_u64(1)).await.unwrap();
        assert_eq!((&first.text[..], first.is_running), (&b"the first"[..], false));
        assert_eq!(rig.reader.output(RunId::from_u64(9)).await, None);

        while rig.reader.output(RunId::from_u64(2)).await.unwrap().text.is_empty() {}
        let (output, mut live) = rig.reader.follow_output(RunId::from_u64(2)).await.unwrap();
        let output = output.unwrap();
        assert_eq!((&output.text[..], output.is_running), (&b"one\n"[..], true));
        rig.print(2, "two\n").await;
        rig.end(2, Outcome::Exited(0), "one\ntwo\n").await;
        let Some(Told::Event(printed)) = live.next().await else { panic!("an event") };
        assert!(matches!(&printed.what, What::Output { lines, .. } if *lines == ["two"]));
        let Some(Told::Event(ended)) = live.next().await else { panic!("an event") };
        assert!(matches!(&ended.what, What::RunEnded { run } if run.run.as_u64() == 2));
        let output = rig.reader.output(RunId::from_u64(2)).await.unwrap();
        assert_eq!((&output.text[..], output.is_running), (&b"one\ntwo\n"[..], false));
    }

    #[tokio::test]
    async fn what_others_tell_is_among_the_events() {
        let rig = Rig::new();
        let mut live = rig.reader.follow(None).await.unwrap().live;
        rig.teller.tell(What::FileMended { file: "/a".into() });
        let Some(Told::Event(event)) = live.next().await else { panic!("an event") };
        assert_eq!(event.what, What::FileMended { file: "/a".into() });
        let following = rig.reader.follow(Some(event.id)).await.unwrap();
        assert!(following.past.is_empty() && !following.is_missing_some);
        drop(rig.happenings);
        rig.journal.await.unwrap();
        assert_eq!(live.next().await, None);
        assert!(rig.reader.follow(None).await.is_none());
    }
}
