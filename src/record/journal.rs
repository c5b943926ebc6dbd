//! Takes note of all that happens: in the log, in the events, in the history, and where a run ends well in the
//! ledger; and answers those who ask. The only one who knows what runs and what ran.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::record::events::{Events, Tidings, What};
use crate::record::history::{History, Question};
use crate::record::ledger::{Ledger, Line, Writer};
use crate::record::reader::Request;
use crate::record::run_log::log;
use crate::record::run_record::timestamp;
use crate::record::runs::{Left, Runs};
use crate::run::happening::Happening;
use crate::schedule::order::RunId;

/// What the journal is told and asked.
#[derive(Debug)]
pub struct Inlets {
    /// What becomes of runs. It works until there is no more of it.
    pub happenings: mpsc::Receiver<Happening>,
    /// What the daemon's other parts see.
    pub tidings: Tidings,
    /// What others want to know.
    pub requests: mpsc::Receiver<Request>,
}

/// Takes note of what happens until nobody tells any more. Runs that have ended and that nothing more is to
/// be noted of go to `kept`, which has no bound so that this and whoever tells cannot wait for each other; what
/// is in it is a number for each run that has ended just now.
pub async fn keep(inlets: Inlets, ledger: Ledger, history: History, kept: mpsc::UnboundedSender<RunId>) {
    let Inlets { mut happenings, mut tidings, mut requests } = inlets;
    let mut journal = Journal::new(ledger, history, kept);
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
    /// The runs that have ended, and how many have yet to take note of it for good.
    owed: HashMap<RunId, usize>,
    kept: mpsc::UnboundedSender<RunId>,
}

impl Journal {
    fn new(ledger: Ledger, history: History, kept: mpsc::UnboundedSender<RunId>) -> Self {
        Self {
            ledger: Writer::new(ledger),
            history,
            events: Events::new(SystemTime::now()),
            runs: Runs::default(),
            owed: HashMap::new(),
            kept,
        }
    }

    fn is_idle(&self) -> bool {
        self.ledger.is_idle() && self.history.is_idle()
    }

    fn note(&mut self, happening: Happening, now: SystemTime) {
        match happening {
            Happening::Started { run, about, pid } => {
                if let Some(run) = self.runs.begin(run, &about, Some(pid), Some(timestamp(now))) {
                    self.events.tell(What::RunStarted { run }, now);
                }
            }
            Happening::Adopted { run, about, pid } => {
                if let Some(run) = self.runs.begin(run, &about, pid, None) {
                    self.events.tell(What::RunAdopted { run }, now);
                }
            }
            Happening::Output { run, watch, lines, dropped } => {
                self.runs.print(run, &lines, dropped);
                if let Ok(watch) = watch.as_str().try_into() {
                    self.events.tell_output(run, &watch, &lines, dropped, now);
                }
            }
            Happening::Stuck { run, watch } => {
                if let Ok(watch) = watch.as_str().try_into() {
                    self.events.tell(What::RunStuck { run, watch }, now);
                }
            }
            Happening::Ended { end, about, pid, started, output } => {
                let left = Left { pid, started: started.map(timestamp), output };
                let (record, output) = self.runs.end(&end, &about, left, timestamp(now));
                self.events.tell(What::RunEnded { run: Arc::clone(&record) }, now);
                self.history.note(record, output);
                let is_success = end.outcome.is_success();
                self.owed.insert(end.run, 1 + usize::from(is_success));
                if is_success {
                    self.ledger.note(end.run, Line { watch: end.watch, applied: end.given, at: now });
                }
            }
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

    fn answer(&mut self, request: Request) {
        // Who has asked may have gone.
        match request {
            Request::Runs(watch, reply) => {
                let running = self.runs.running(&watch);
                self.history.ask(Question::Runs { watch, running, reply });
            }
            Request::LastRuns(reply) => drop(reply.send(self.runs.last())),
            Request::Output(run, reply) => {
                let (answer, output) = oneshot::channel();
                let live = self.events.subscribe();
                match self.runs.output(run) {
                    Some(output) => drop(answer.send(Some(output))),
                    None => self.history.ask(Question::Output { run, reply: answer }),
                }
                let _ = reply.send((output, live));
            }
            Request::Follow(since, reply) => drop(reply.send(self.events.follow(since))),
        }
    }
}
