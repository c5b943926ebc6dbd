//! The daemon's end of the minders: one that takes new orders, and any number of earlier releases that keep
//! their children to the end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::spec::WatchName;
use crate::minder;
use crate::run::happening::Happening;
use crate::run::identity::{self, Account, IdentityError};
use crate::run::link::{Heard, Link, LinkError, Welcome};
use crate::run::protocol::{About, End, Ending, Executable, Report, Request, Start};
use crate::run::start::Run;
use crate::schedule::order::{Adopted, Ended, Order, Outcome, RunId};

/// How long to wait before a minder is started again that did not start: first, and at most.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Carries out orders and tells how they ended.
#[derive(Debug)]
pub struct Minders {
    folder: PathBuf,
    executable: Executable,
    lang: Option<String>,
    /// The daemon's own, for the runs that ask for no other: nothing is looked up for them.
    own_account: Account,
    links: BTreeMap<u64, Link>,
    /// The one that takes new orders.
    current: u64,
    heard: mpsc::Receiver<(u64, Heard)>,
    heard_from: mpsc::Sender<(u64, Heard)>,
    runs: HashMap<RunId, Known>,
    /// What is being looked up, one order of a watch at a time so that none overtakes another.
    preparing: JoinSet<Prepared>,
    to_prepare: HashMap<WatchName, VecDeque<Order>>,
}

/// A run that has not ended.
#[derive(Debug)]
struct Known {
    link: u64,
    about: About,
}

/// An order on its way to the minder.
#[derive(Debug)]
struct Prepared {
    run: RunId,
    about: About,
    watch: WatchName,
    contents: Bytes,
    /// Or why it cannot be.
    start: Result<Box<Start>, String>,
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
    /// `lang` is what children get as `LANG`.
    ///
    /// # Errors
    /// When none can be started, or one that is there does not answer: what it minds is not known then, and
    /// could be started beside itself.
    pub async fn find(run_dir: &Path, lang: Option<String>) -> Result<(Self, Vec<Adopted>), LinkError> {
        let folder = run_dir.join(minder::FOLDER);
        let at = |error: io::Error| LinkError::Io { path: folder.clone(), error };
        make_private(&folder).map_err(at)?;
        let executable = minder::executable().map_err(at)?;
        let own_account = tokio::task::spawn_blocking(|| identity::look_up(None, None)).await;
        let own_account =
            own_account.map_err(io::Error::other).and_then(|found| found.map_err(io::Error::other));
        let own_account = own_account.map_err(at)?;
        let (heard_from, heard) = mpsc::channel(64);
        let mut minders = Self {
            executable,
            lang,
            own_account,
            links: BTreeMap::new(),
            current: 0,
            heard,
            heard_from,
            runs: HashMap::new(),
            preparing: JoinSet::new(),
            to_prepare: HashMap::new(),
            folder: folder.clone(),
        };
        for socket in sockets(&folder).map_err(at)? {
            match minders.connect(&socket).await {
                Ok(()) => {}
                Err(LinkError::Gone(_)) => {
                    let _ = std::fs::remove_file(&socket);
                }
                Err(error) => return Err(error),
            }
        }
        if minders.current == 0 {
            minders.start().await?;
        }
        let watch = |about: &About| WatchName::try_from(about.watch.as_str()).ok();
        let adopted = minders
            .runs
            .iter()
            .filter_map(|(&run, known)| Some(Adopted { run, watch: watch(&known.about)? }));
        let adopted = adopted.collect();
        Ok((minders, adopted))
    }

    /// Works until `shutdown`, or until nobody gives orders any more. Then children go on, or are ended as
    /// their timeout would if `stop_children` says so.
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        outlets: Outlets,
        shutdown: CancellationToken,
        stop_children: bool,
    ) {
        for (&run, known) in &self.runs {
            let adopted = Happening::Adopted { run, about: known.about.clone(), pid: None };
            let _ = outlets.happenings.send(adopted).await;
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some((link, heard)) = self.heard.recv() => match heard {
                    Heard::Report(report, payload) => self.hear(link, report, payload, &outlets).await,
                    Heard::Gone(why) => self.lose(link, why, &outlets).await,
                },
                Some(prepared) = self.preparing.join_next() => match prepared {
                    Ok(prepared) => {
                        let watch = prepared.watch.clone();
                        self.start_run(prepared, &outlets).await;
                        match self.to_prepare.get_mut(&watch).and_then(VecDeque::pop_front) {
                            Some(next) => self.look_up(next),
                            None => drop(self.to_prepare.remove(&watch)),
                        }
                    }
                    Err(error) => error!("looking up who to run as failed: {error}"),
                },
                order = orders.recv() => match order {
                    Some(order) => self.take(order, &outlets).await,
                    None => break,
                },
            }
        }
        if stop_children {
            self.end_all(&outlets).await;
        }
    }

    async fn end_all(&mut self, outlets: &Outlets) {
        for (&run, known) in &self.runs {
            if let Some(link) = self.links.get(&known.link) {
                let _ = link.say(&Request::End { run }, &[]).await;
            }
        }
        while !self.runs.is_empty() {
            tokio::select! {
                Some((link, heard)) = self.heard.recv() => match heard {
                    Heard::Report(report, payload) => self.hear(link, report, payload, outlets).await,
                    Heard::Gone(_) => self.runs.retain(|_, known| known.link != link),
                },
                else => return,
            }
        }
    }

    async fn start(&mut self) -> Result<(), LinkError> {
        let socket = Link::start_minder(&self.folder).await?;
        self.connect(&socket).await
    }

    async fn connect(&mut self, socket: &Path) -> Result<(), LinkError> {
        let number = self.links.last_key_value().map_or(0, |(&last, _)| last).max(self.current) + 1;
        let (link, welcome) = Link::connect(socket, number, self.heard_from.clone()).await?;
        let Welcome { executable, runs } = welcome;
        if executable == self.executable && self.current == 0 {
            self.current = number;
        } else {
            info!(
                release = executable.release,
                runs = runs.len(),
                "an earlier minder keeps its runs to their end"
            );
        }
        for minded in runs {
            self.runs.insert(minded.run, Known { link: number, about: minded.about });
        }
        self.links.insert(number, link);
        Ok(())
    }

    async fn take(&mut self, order: Order, outlets: &Outlets) {
        let Order::Start { spec, .. } = &order;
        if let Some(line) = self.to_prepare.get_mut(&spec.name) {
            line.push_back(order);
        } else if spec.uid.is_none() && spec.gid.is_none() {
            let prepared = prepare(order, Ok(self.own_account.clone()), self.lang.as_deref());
            self.start_run(prepared, outlets).await;
        } else {
            self.to_prepare.insert(spec.name.clone(), VecDeque::new());
            self.look_up(order);
        }
    }

    fn look_up(&mut self, order: Order) {
        let lang = self.lang.clone();
        self.preparing.spawn_blocking(move || {
            let Order::Start { spec, .. } = &order;
            let account = identity::look_up(spec.uid.as_ref(), spec.gid.as_ref());
            prepare(order, account, lang.as_deref())
        });
    }

    async fn start_run(&mut self, prepared: Prepared, outlets: &Outlets) {
        let Prepared { run, about, watch, contents, start } = prepared;
        let started = match (start, self.links.get(&self.current)) {
            (Ok(start), Some(link)) => {
                let contents = if start.stdin { contents } else { Bytes::new() };
                link.say(&Request::Start(start), &contents).await.map_err(|error| error.to_string())
            }
            (Ok(_), None) => Err("there is no minder".to_owned()),
            (Err(why), _) => Err(why),
        };
        match started {
            Ok(()) => drop(self.runs.insert(run, Known { link: self.current, about })),
            Err(why) => {
                let end = Ended {
                    run,
                    watch,
                    outcome: Outcome::SpawnFailed(why),
                    usage: None,
                    lasted: Duration::ZERO,
                };
                tell_end(end, about, outlets).await;
            }
        }
    }

    async fn hear(&mut self, link: u64, report: Report, payload: Bytes, outlets: &Outlets) {
        let about = |run: RunId| self.runs.get(&run).map(|known| known.about.clone());
        let happening = match report {
            Report::Started { run, pid } => about(run).map(|about| Happening::Started { run, about, pid }),
            Report::Output { run, watch, dropped } => {
                Some(Happening::Output { run, watch, lines: payload, dropped })
            }
            Report::Ended(end) => return self.hear_end(link, *end, outlets).await,
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

    async fn hear_end(&mut self, link: u64, end: End, outlets: &Outlets) {
        if let Some(link) = self.links.get(&link) {
            let _ = link.say(&Request::Noted { run: end.run }, &[]).await;
        }
        // Told twice, when a connection was made anew in between: known once.
        if self.runs.remove(&end.run).is_none() {
            return;
        }
        let Ok(watch) = WatchName::try_from(end.about.watch.as_str()) else { return };
        let outcome = match end.ending {
            Ending::Exited(status) => Outcome::Exited(status),
            Ending::Signaled(number) => Outcome::Signaled(number),
            Ending::TimedOut => Outcome::TimedOut,
            Ending::SpawnFailed(why) => Outcome::SpawnFailed(why),
            Ending::Lost => Outcome::Lost,
        };
        let lasted = Duration::from_micros(end.lasted_us);
        tell_end(Ended { run: end.run, watch, outcome, usage: end.usage, lasted }, end.about, outlets).await;
    }

    /// A minder is gone: what it minded is lost, and another takes the orders that it would have.
    async fn lose(&mut self, gone: u64, why: Option<String>, outlets: &Outlets) {
        self.links.remove(&gone);
        let lost: Vec<RunId> =
            self.runs.iter().filter(|(_, known)| known.link == gone).map(|(&run, _)| run).collect();
        if gone == self.current || !lost.is_empty() {
            warn!(
                lost = lost.len(),
                "the minder has ended{}",
                why.map(|why| format!(": {why}")).unwrap_or_default()
            );
        }
        if gone == self.current {
            self.current = 0;
            let mut pause = RESTART.0;
            while let Err(error) = self.start().await {
                error!("{error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RESTART.1);
            }
        }
        for run in lost {
            let Some(known) = self.runs.remove(&run) else { continue };
            let Ok(watch) = WatchName::try_from(known.about.watch.as_str()) else { continue };
            let end = Ended { run, watch, outcome: Outcome::Lost, usage: None, lasted: Duration::ZERO };
            tell_end(end, known.about, outlets).await;
        }
    }
}

fn prepare(order: Order, account: Result<Account, IdentityError>, lang: Option<&str>) -> Prepared {
    let Order::Start { run: id, spec, update, attempt } = order;
    let run = Run { id, spec: &spec, update: &update, attempt };
    let start = account.map(|account| Box::new(run.start(account, lang))).map_err(|error| error.to_string());
    Prepared { run: id, about: run.about(), watch: spec.name.clone(), contents: update.contents, start }
}

async fn tell_end(end: Ended, about: About, outlets: &Outlets) {
    let _ = outlets.happenings.send(Happening::Ended { end: end.clone(), about }).await;
    let _ = outlets.ended.send(end).await;
}

fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
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
