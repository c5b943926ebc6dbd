//! The daemon's end of the minders: one that takes new orders, and any number of earlier releases that keep
//! their children to the end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as StdInstant, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::spec::WatchName;
use crate::run::asked::Asked;
use crate::run::executable::executable;
use crate::run::folder;
use crate::run::happening::{Happening, Left};
use crate::run::link::{ANSWER, Heard, Link, LinkError, Welcome};
use crate::run::preparation::{LookUp, Preparation, Prepared};
use crate::run::protocol::{About, End, Ending, Executable, FOLDER, Minded, Report, Request, Start};
use crate::run::restarts::{News, Restarts};
use crate::schedule::order::{Adopted, Ended, Order, Outcome, RunId};

/// How long a stop waits for the record of the last runs, should the disk be slow.
const LAST_KEPT: Duration = Duration::from_secs(2);

/// Carries out orders and tells how they ended.
#[derive(Debug)]
pub struct Minders {
    folder: PathBuf,
    executable: Executable,
    preparation: Preparation,
    links: BTreeMap<u64, Link>,
    /// The number of the link that was made last.
    last_link: u64,
    /// The one that takes new orders.
    current: u64,
    heard: mpsc::Receiver<(u64, Heard)>,
    heard_from: mpsc::Sender<(u64, Heard)>,
    /// What was heard while something else was waited for.
    backlog: VecDeque<(u64, Heard)>,
    runs: HashMap<RunId, Known>,
    /// Runs that have ended and that no record is kept of yet, with who minded them.
    ended: HashMap<RunId, u64>,
    /// How often the current minder was asked to adopt and has not answered: what it answers says nothing of
    /// what was lost after it was asked.
    unanswered: u32,
    /// When another minder is tried to be started, while there is none that takes orders.
    restart: Option<Instant>,
    restarts: Restarts,
    /// Whether it can do nothing before a minder does something.
    waits: watch::Sender<bool>,
}

/// A run that has not ended.
#[derive(Debug)]
struct Known {
    /// Who minds it; `None`: who did is gone, and nobody has found it yet.
    link: Option<u64>,
    about: About,
    pid: Option<i32>,
    asked: Asked,
    /// What was ordered; `None`: an earlier daemon has ordered it.
    ordered: Option<Ordered>,
}

/// What a minder was told to start.
#[derive(Debug)]
struct Ordered {
    start: Box<Start>,
    contents: Bytes,
    /// When the scheduler was told of the update.
    seen: StdInstant,
}

/// Where what becomes of runs is told.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// To whom decides.
    pub ended: mpsc::Sender<Ended>,
    /// To whom keeps a record.
    pub happenings: mpsc::Sender<Happening>,
}

impl Minders {
    /// Finds the minders below `run_dir` that an earlier daemon has left, and starts one if none of them is
    /// of this binary. Tells what goes on in them.
    ///
    /// `look_up` finds out who runs are run as, and `lang` is what children get as `LANG`.
    ///
    /// # Errors
    /// When none can be started, or one that is there does not answer: what it minds is not known then, and
    /// could be started beside itself.
    pub async fn find(
        run_dir: &Path,
        look_up: LookUp,
        lang: Option<String>,
    ) -> Result<(Self, Vec<Adopted>), LinkError> {
        let folder = run_dir.join(FOLDER);
        let at = |error: io::Error| LinkError::Io { path: folder.clone(), error };
        folder::own(&folder, 0o700).map_err(at)?;
        let executable = executable().map_err(at)?;
        let preparation = Preparation::new(look_up, lang).await.map_err(at)?;
        let (heard_from, heard) = mpsc::channel(64);
        let mut minders = Self {
            executable,
            preparation,
            links: BTreeMap::new(),
            last_link: 0,
            current: 0,
            heard,
            heard_from,
            backlog: VecDeque::new(),
            runs: HashMap::new(),
            ended: HashMap::new(),
            unanswered: 0,
            restart: None,
            restarts: Restarts::new(Instant::now()),
            waits: watch::Sender::new(false),
            folder: folder.clone(),
        };
        for socket in sockets(&folder).map_err(at)? {
            match minders.connect(&socket).await {
                Ok((number, welcome)) => minders.meet(number, welcome).await,
                Err(LinkError::Gone(_)) => {
                    let _ = std::fs::remove_file(&socket);
                }
                Err(error) => return Err(error),
            }
        }
        if minders.current == 0 {
            minders.start().await?;
        }
        minders.adopt().await?;
        let watch = |about: &About| WatchName::try_from(about.watch.as_str()).ok();
        let adopted = minders.runs.iter().filter_map(|(&run, known)| {
            Some(Adopted { run, watch: watch(&known.about)?, given: known.about.given() })
        });
        let adopted = adopted.collect();
        Ok((minders, adopted))
    }

    /// Whether it stands still because there is no minder, or one that takes nothing.
    #[must_use]
    pub fn waits(&self) -> watch::Receiver<bool> {
        self.waits.subscribe()
    }

    /// Works until `shutdown`, or until nobody gives orders any more. Then children go on, or are ended as
    /// their timeout would if `stop_children` says so. `kept` names the ended runs of which a record is kept:
    /// the minder may forget them.
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        outlets: Outlets,
        mut kept: mpsc::UnboundedReceiver<RunId>,
        shutdown: CancellationToken,
        stop_children: bool,
    ) {
        for (&run, known) in &self.runs {
            let adopted = Happening::Adopted { run, about: known.about.clone(), pid: known.pid };
            let _ = outlets.happenings.send(adopted).await;
        }
        let mut backlog: Vec<_> = std::mem::take(&mut self.backlog).into();
        // Whichever minder has told of them first, of what is known by now the last run of a watch is heard of last.
        backlog.sort_by_key(|(_, heard)| turn(heard));
        for (link, heard) in backlog {
            self.take_in(link, heard, &outlets).await;
        }
        loop {
            let has_minder = self.restart.is_none();
            self.waits.send_replace(!has_minder);
            let restart_at = self.restart.unwrap_or_else(Instant::now);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some((link, heard)) = self.heard.recv() => self.take_in(link, heard, &outlets).await,
                Some(run) = kept.recv() => self.note(run).await,
                () = sleep_until(restart_at), if !has_minder => self.try_restart().await,
                Some(prepared) = self.preparation.next(), if has_minder => self.start_run(prepared, &outlets).await,
                order = orders.recv(), if has_minder => match order {
                    Some(order) => self.take(order, &outlets).await,
                    None => break,
                },
            }
        }
        if stop_children {
            self.end_all(&outlets).await;
        }
        drop(outlets);
        // Else what was kept last would be told to the next daemon again.
        while let Ok(Some(run)) = timeout(LAST_KEPT, kept.recv()).await {
            self.note(run).await;
        }
        for link in std::mem::take(&mut self.links).into_values() {
            link.close().await;
        }
    }

    async fn end_all(&mut self, outlets: &Outlets) {
        self.runs.retain(|_, known| known.link.is_some() || known.pid.is_some() || known.ordered.is_none());
        // Nothing is ordered again that did not come to be.
        self.runs.values_mut().for_each(|known| known.ordered = None);
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for run in runs {
            self.tell_of(run, Request::End { run }).await;
        }
        while !self.runs.is_empty() {
            let restart_at = self.restart.unwrap_or_else(Instant::now);
            tokio::select! {
                Some((link, heard)) = self.heard.recv() => self.take_in(link, heard, outlets).await,
                () = sleep_until(restart_at), if self.restart.is_some() => self.try_restart().await,
            }
        }
    }

    async fn take_in(&mut self, link: u64, heard: Heard, outlets: &Outlets) {
        match heard {
            Heard::Report(report, payload) => self.hear(link, report, payload, outlets).await,
            Heard::Gone(why) => self.lose(link, why).await,
        }
    }

    /// Has the minder go on with what others have left that are gone.
    async fn adopt(&mut self) -> Result<(), LinkError> {
        self.ask_to_adopt().await;
        loop {
            let silent = || LinkError::Silent(self.folder.clone());
            let heard = timeout(ANSWER, self.heard.recv()).await.ok().flatten().ok_or_else(silent)?;
            match heard {
                (link, Heard::Report(Report::Adopted { runs, more } | Report::Listed { runs, more }, _))
                    if link == self.current =>
                {
                    self.know(link, runs);
                    if !more {
                        self.unanswered = 0;
                        return Ok(());
                    }
                }
                (link, Heard::Gone(_)) if link == self.current => return Err(silent()),
                other => self.backlog.push_back(other),
            }
        }
    }

    fn know(&mut self, link: u64, runs: Vec<Minded>) {
        for Minded { run, about, pid } in runs {
            let asked = Asked::default();
            self.runs.insert(run, Known { link: Some(link), about, pid, asked, ordered: None });
        }
    }

    async fn ask_to_adopt(&mut self) {
        if let Some(link) = self.links.get(&self.current) {
            self.unanswered += 1;
            let _ = link.say(&Request::Adopt, &[]).await;
        }
    }

    async fn start(&mut self) -> Result<(), LinkError> {
        let socket = Link::start_minder(&self.folder).await?;
        // Whatever it says of its binary: it is the one that was just started.
        let (number, welcome) = self.connect(&socket).await?;
        self.current = number;
        self.know(number, welcome.runs);
        Ok(())
    }

    async fn connect(&mut self, socket: &Path) -> Result<(u64, Welcome), LinkError> {
        self.last_link += 1;
        let (link, welcome) =
            Link::connect(socket, self.last_link, self.heard_from.clone(), self.waits.clone()).await?;
        self.links.insert(self.last_link, link);
        Ok((self.last_link, welcome))
    }

    /// Takes note of a minder that was there before.
    async fn meet(&mut self, number: u64, welcome: Welcome) {
        let Welcome { executable, runs } = welcome;
        if executable == self.executable && self.current == 0 {
            self.current = number;
        } else {
            let release = executable.release;
            info!(release, runs = runs.len(), "an earlier minder keeps its runs to their end");
            if let Some(link) = self.links.get(&number) {
                let _ = link.say(&Request::Retire, &[]).await;
            }
        }
        self.know(number, runs);
    }

    async fn take(&mut self, order: Order, outlets: &Outlets) {
        match order {
            Order::Start(run) => {
                if let Some(prepared) = self.preparation.take(run) {
                    self.start_run(prepared, outlets).await;
                }
            }
            Order::Signal { run, signal } => {
                self.tell_of(run, Request::Signal { run, signal: signal as i32 }).await;
            }
            Order::Notify { run, signal } => self.notify(run, signal as i32).await,
            Order::End { run } => self.tell_of(run, Request::End { run }).await,
            Order::Beat(beat) => drop(outlets.happenings.send(Happening::Beat(beat)).await),
        }
    }

    /// Tells the minder of a run, at once or when the run has one, if it goes on.
    async fn tell_of(&mut self, run: RunId, request: Request) {
        match self.runs.get_mut(&run) {
            Some(known) => {
                known.asked.hold(request);
                self.say_asked(run).await;
            }
            None => self.preparation.hold(run, request),
        }
    }

    /// Signals a run that has begun, or not at all: it is never held, since it would reach a run as it begins, before
    /// that has a handler for it.
    async fn notify(&self, run: RunId, signal: i32) {
        let known = self.runs.get(&run).filter(|known| known.pid.is_some());
        if let Some(link) = known.and_then(|known| self.links.get(&known.link?)) {
            let _ = link.say(&Request::Signal { run, signal }, &[]).await;
        }
    }

    async fn say_asked(&mut self, run: RunId) {
        let Some(known) = self.runs.get_mut(&run) else { return };
        let Some(link) = known.link.and_then(|link| self.links.get(&link)) else { return };
        for request in known.asked.take_unsaid() {
            // It is about to be heard that the minder is gone: the next one is told.
            if let Ok(false) = link.say(&request, &[]).await {
                known.asked.hold(request);
            }
        }
    }

    async fn start_run(&mut self, prepared: Prepared, outlets: &Outlets) {
        let Prepared { run, about, watch: _, contents, seen, asked, start } = prepared;
        match start {
            Ok(start) => {
                let contents = if start.stdin { contents } else { Bytes::new() };
                self.order(Ordered { start, contents, seen }, about, asked, outlets).await;
            }
            Err(why) => tell_unstarted(run, about, why, outlets).await,
        }
    }

    async fn order(&mut self, ordered: Ordered, about: About, asked: Asked, outlets: &Outlets) {
        let run = ordered.start.run;
        if asked.is_to_end() {
            return tell_unstarted(run, about, "it was ended before it was started".to_owned(), outlets)
                .await;
        }
        let (request, contents) = (Request::Start(ordered.start.clone()), ordered.contents.clone());
        let known = Known { link: Some(self.current), about, pid: None, asked, ordered: Some(ordered) };
        self.runs.insert(run, known);
        // Where there is none, it is about to be heard that the minder is gone; what was not started goes to the next.
        let Some(link) = self.links.get(&self.current) else { return };
        match link.say(&request, &contents).await {
            Ok(_) => self.say_asked(run).await,
            Err(error) => {
                if let Some(known) = self.runs.remove(&run) {
                    tell_unstarted(run, known.about, error.to_string(), outlets).await;
                }
            }
        }
    }

    async fn hear(&mut self, link: u64, report: Report, payload: Bytes, outlets: &Outlets) {
        let happening = match report {
            Report::Started { run, pid } => self.runs.get_mut(&run).map(|known| {
                known.pid = Some(pid);
                let now = Instant::now().into_std();
                let after = known.ordered.as_ref().map(|ordered| now.saturating_duration_since(ordered.seen));
                Happening::Started { run, about: known.about.clone(), pid, after }
            }),
            Report::Stuck { run, watch } => Some(Happening::Stuck { run, watch }),
            Report::Adopted { runs, more } | Report::Listed { runs, more } => {
                return self.hear_adopted(link, runs, more, outlets).await;
            }
            Report::Output { run, watch, dropped } => {
                Some(Happening::Output { run, watch, lines: payload, dropped })
            }
            Report::Ended(end) => return self.hear_end(link, *end, payload, outlets).await,
            Report::Trouble { message } => {
                warn!("the minder says: {message}");
                None
            }
            Report::Welcome { .. } | Report::Unknown => None,
        };
        if let Some(happening) = happening {
            let _ = outlets.happenings.send(happening).await;
        }
    }

    async fn hear_end(&mut self, link: u64, end: End, output: Bytes, outlets: &Outlets) {
        // Until a record is kept of it, the minder is the only one who knows.
        self.ended.insert(end.run, link);
        // Told twice, when a connection was made anew in between: known once.
        if self.runs.remove(&end.run).is_some() {
            self.tell_minded_end(end, output, outlets).await;
        } else {
            self.note(end.run).await;
        }
    }

    async fn note(&mut self, run: RunId) {
        if let Some(link) = self.ended.remove(&run).and_then(|link| self.links.get(&link)) {
            let _ = link.say(&Request::Noted { run }, &[]).await;
        }
    }

    async fn tell_minded_end(&self, end: End, output: Bytes, outlets: &Outlets) {
        let Ok(watch) = WatchName::try_from(end.about.watch.as_str()) else { return };
        let outcome = match end.ending {
            Ending::Exited(status) => Outcome::Exited(status),
            Ending::Signaled(number) => Outcome::Signaled(number),
            Ending::TimedOut => Outcome::TimedOut,
            Ending::SpawnFailed(why) => Outcome::SpawnFailed(why),
            Ending::Lost => Outcome::Lost,
        };
        let lasted = Duration::from_micros(end.lasted_us);
        let given = end.about.given();
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(end.started_ms));
        let left = Left { pid: end.pid, started, output };
        let ended = Ended { run: end.run, watch, given, outcome, usage: end.usage, lasted };
        tell_end(ended, end.about, left, outlets).await;
    }

    /// A minder is gone. Another one takes the orders that it would have, and looks for what it left.
    async fn lose(&mut self, gone: u64, why: Option<String>) {
        if let Some(link) = self.links.remove(&gone) {
            // One that was killed has left it.
            let _ = std::fs::remove_file(link.socket());
        }
        self.ended.retain(|_, link| *link != gone);
        let mut left = 0;
        for known in self.runs.values_mut().filter(|known| known.link == Some(gone)) {
            known.link = None;
            left += 1;
        }
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        if gone == self.current {
            let (restart_at, news) = self.restarts.ended(Instant::now());
            match news {
                News::Ended => warn!(runs = left, "the minder has ended{why}; starting another"),
                News::Again => warn!(
                    runs = left,
                    "the minder has ended again{why}, soon after it was started; if that goes on, others are started less and less often"
                ),
                News::Nothing => debug!(runs = left, "the minder has ended again{why}"),
            }
            self.unanswered = 0;
            self.restart = Some(restart_at);
        } else if left > 0 {
            warn!(runs = left, "an earlier minder has ended before its runs{why}");
            self.ask_to_adopt().await;
        }
    }

    async fn try_restart(&mut self) {
        self.restart = None;
        self.current = 0;
        match self.start().await {
            Ok(()) => {
                self.restarts.started(Instant::now());
                self.ask_to_adopt().await;
            }
            Err(error) => {
                let (restart_at, is_news) = self.restarts.failed(Instant::now());
                if is_news {
                    error!("{error}; trying again");
                } else {
                    debug!("{error}; trying again");
                }
                self.restart = Some(restart_at);
            }
        }
    }

    /// What a minder that is gone had is found, or it never came to be and is ordered again, or it is lost.
    ///
    /// A run without a record never came to execute anything, also where a process was made for it: a process
    /// writes its record before it does, and ends itself if its minder is gone by then.
    async fn hear_adopted(&mut self, link: u64, runs: Vec<Minded>, more: bool, outlets: &Outlets) {
        for Minded { run, about: _, pid } in runs {
            // Others have ended, and the minder is gone that was to be told so.
            if let Some(known) = self.runs.get_mut(&run) {
                known.link = Some(link);
                known.pid = pid;
                self.say_asked(run).await;
            }
        }
        if more {
            return;
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered > 0 {
            return;
        }
        let missing: Vec<RunId> =
            self.runs.iter().filter(|(_, known)| known.link.is_none()).map(|(&run, _)| run).collect();
        for run in missing {
            let Some(known) = self.runs.remove(&run) else { continue };
            match known.ordered {
                Some(ordered) => self.order(ordered, known.about, known.asked, outlets).await,
                None => {
                    let Ok(watch) = WatchName::try_from(known.about.watch.as_str()) else { continue };
                    let (given, outcome, lasted) = (known.about.given(), Outcome::Lost, Duration::ZERO);
                    let end = Ended { run, watch, given, outcome, usage: None, lasted };
                    let left = Left { pid: known.pid, ..Left::default() };
                    tell_end(end, known.about, left, outlets).await;
                }
            }
        }
    }
}

/// When what was heard before anybody listened has its turn: ends in the order of the runs, after what they are
/// about and before the end of a connection.
fn turn(heard: &Heard) -> (u8, Option<RunId>) {
    match heard {
        Heard::Report(Report::Ended(end), _) => (1, Some(end.run)),
        Heard::Report(..) => (0, None),
        Heard::Gone(_) => (2, None),
    }
}

async fn tell_end(end: Ended, about: About, left: Left, outlets: &Outlets) {
    let happening = Happening::Ended { end: Box::new(end.clone()), about, left };
    let _ = outlets.happenings.send(happening).await;
    let _ = outlets.ended.send(end).await;
}

async fn tell_unstarted(run: RunId, about: About, why: String, outlets: &Outlets) {
    let Ok(watch) = WatchName::try_from(about.watch.as_str()) else { return };
    let (given, outcome, lasted) = (about.given(), Outcome::SpawnFailed(why), Duration::ZERO);
    let end = Ended { run, watch, given, outcome, usage: None, lasted };
    tell_end(end, about, Left::default(), outlets).await;
}

fn sockets(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            sockets.push(path);
        }
    }
    sockets.sort();
    Ok(sockets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
