//! The task that keeps the watches in step with the config folder. Performs what `changes` decides, and
//! says so in the log. All reading is done on a blocking thread, never on the runtime.

mod debounce;
mod eyes;
mod rescan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::changes::{Change, Outdated};
use super::difference::describe_difference;
use super::folder::unfinished::{self, Unfinished};
use super::folder::{Interest, Unread};
use super::problem::{Problem, ProblemNews};
use super::spec::WatchName;
use super::watch_table::Defaults;
use debounce::Debounce;
use eyes::{Seen, Sight, What};
use rescan::{Look, Looked, Reach, State};

/// Who asks for a look, or for the first one, waits this long at most for files that are being written: what
/// was copied just before may not have been seen to be closed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where and how the watch files are read.
#[derive(Debug, Clone)]
pub struct Options {
    /// The config folder, absolute. It need not exist.
    pub config_dir: PathBuf,
    /// What watches take that don't say otherwise.
    pub defaults: Defaults,
    /// Whose files are trusted besides root's: the daemon's effective user id.
    pub euid: u32,
    /// How often everything is looked at without a sign that something changed.
    pub slow_rescan: Duration,
}

/// What a look at the folder led to.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What differs from before, by name of the watch; what is removed comes first.
    pub changes: Vec<Change>,
    /// Everything that is wrong now, by file.
    pub problems: Vec<Problem>,
    /// What of that was not wrong before, and what no longer is.
    pub news: ProblemNews,
    /// The watches that go on under their last good definition, since their file is wrong now.
    pub outdated: Outdated,
    /// How many watches there are, those that are not enabled among them.
    pub watches: usize,
    /// In how many files.
    pub files: usize,
}

/// Asks for a look at the folder, at once. It is answered a little later if files are being written.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Told what came of it, after the changes have been handed on.
    pub reply: oneshot::Sender<Summary>,
}

/// What a reload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Watches that are new.
    pub added: Vec<WatchName>,
    /// Watches with another definition.
    pub redefined: Vec<WatchName>,
    /// Watches that are gone.
    pub removed: Vec<WatchName>,
    /// Everything that is wrong now.
    pub problems: Vec<Problem>,
    /// How many watches there are.
    pub watches: usize,
    /// In how many files.
    pub files: usize,
}

impl Summary {
    /// Adds what a later look came to.
    fn go_on(&mut self, later: Self) {
        self.added.extend(later.added);
        self.redefined.extend(later.redefined);
        self.removed.extend(later.removed);
        (self.problems, self.watches, self.files) = (later.problems, later.watches, later.files);
    }
}

impl Reload {
    /// The same without the definitions.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            problems: self.problems.clone(),
            watches: self.watches,
            files: self.files,
            ..Summary::default()
        };
        for change in &self.changes {
            match change {
                Change::Added(spec) => summary.added.push(spec.name.clone()),
                Change::Redefined { new, .. } => summary.redefined.push(new.name.clone()),
                Change::Removed(name) => summary.removed.push(name.clone()),
            }
        }
        summary
    }
}

/// Reads the folder, hands on what changes, and goes on until `stop`, whatever the folder holds. The
/// first [`Reload`] is sent after the first look even if it is empty; later ones only if something is
/// different.
pub async fn run(
    options: Options,
    mut requests: mpsc::Receiver<ReloadRequest>,
    reloads: mpsc::Sender<Reload>,
    stop: CancellationToken,
) {
    let (sight, seen) = eyes::channel();
    let mut loader = Loader {
        state: Some(State::new(&options, sight.clone())),
        sight,
        seen,
        reloads,
        lost: BTreeSet::new(),
        touched: BTreeSet::new(),
        unfinished: Unfinished::default(),
        unread: Vec::new(),
        told_by: Some(Instant::now() + PATIENCE),
    };
    let mut debounce = Debounce::default();
    let mut asked: Option<Asked> = None;
    // The first look is one that nobody asked for.
    let mut slow = tokio::time::interval(options.slow_rescan.max(Duration::from_millis(1)));
    slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut everything = false;
    let work = async {
        loop {
            let again = loader.unread.iter().map(|unread| unread.until.into()).min();
            let answer = asked.as_ref().map(|asked| asked.by);
            // The tick below is what leads to the first look.
            let first = loader.told_by.filter(|_| again.is_some());
            let due = [debounce.due(), again, answer, first].into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    asked.get_or_insert_with(|| Asked::at(Instant::now())).replies.push(request.reply);
                }
                Some(event) = loader.seen.recv() => {
                    // What was dropped may have been of interest even if what was kept is not.
                    if loader.note(event) || loader.sight.has_overflow() {
                        debounce.event(Instant::now());
                    }
                    continue;
                }
                () = until(due) => {}
                _ = slow.tick() => everything = true,
            }
            debounce = Debounce::default();
            // Who asks wants to know of what inotify does not tell as well.
            let summary = loader.look(everything || asked.is_some()).await;
            everything = false;
            asked = asked.and_then(|asked| asked.answer(summary, &loader.unread, Instant::now()));
        }
    };
    // A look that has begun on its thread ends by itself; nobody waits for what it finds.
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Those who wait for an answer to their request.
struct Asked {
    replies: Vec<oneshot::Sender<Summary>>,
    /// When they are answered in any case.
    by: Instant,
    /// What came of it so far.
    summary: Summary,
}

impl Asked {
    fn at(now: Instant) -> Self {
        Self { replies: Vec::new(), by: now + PATIENCE, summary: Summary::default() }
    }

    /// Answers with what another look came to, unless it left files `unread` and there is time to wait.
    fn answer(mut self, look: Summary, unread: &[Unread], now: Instant) -> Option<Self> {
        self.summary.go_on(look);
        if !unread.is_empty() && now < self.by {
            return Some(self);
        }
        for reply in self.replies {
            // Whoever asked may have gone away.
            let _ = reply.send(self.summary.clone());
        }
        None
    }
}

struct Loader {
    /// `None` while a blocking thread has it.
    state: Option<State>,
    sight: Sight,
    seen: mpsc::Receiver<Seen>,
    reloads: mpsc::Sender<Reload>,
    /// Folders that have gone away or moved since the last look.
    lost: BTreeSet<PathBuf>,
    /// Of which paths something of interest was told since the last look.
    touched: BTreeSet<PathBuf>,
    /// What is known of files that are being written.
    unfinished: Unfinished,
    /// Those that the last look passed over for that.
    unread: Vec<Unread>,
    /// Until when the first [`Reload`] may wait for them; `None` once it is sent.
    told_by: Option<Instant>,
}

impl Loader {
    /// Whether `event` is a reason to look.
    fn note(&mut self, event: Seen) -> bool {
        let now = std::time::Instant::now();
        match event {
            Seen::Overflow => true,
            Seen::Moved { from, to } => {
                self.unfinished.moved(&from, &to);
                false
            }
            Seen::Happened(path, what) => {
                if what.is_another() {
                    self.lost.insert(path.clone());
                }
                let state = self.state.as_ref();
                let of_interest = state.is_none_or(|state| is_of_interest(state, &path));
                if of_interest {
                    self.touched.insert(path.clone());
                }
                if state.is_none_or(|state| is_in_sight(state, &path)) {
                    match what {
                        What::Written => self.unfinished.written(path, now),
                        What::Closed | What::Arrived => self.unfinished.whole(path, now),
                        What::Removed => self.unfinished.gone(&path),
                        // A rename within what is watched is told of as such next.
                        What::Left | What::Other => {}
                    }
                }
                of_interest
            }
        }
    }

    /// Reads as they stand those files that have been waited for too long, and says so.
    fn give_up_waiting(&mut self) {
        let overdue = self.unfinished.overdue(std::time::Instant::now());
        for unread in self.unread.iter().filter(|unread| overdue.contains(&unread.physical)) {
            warn!(
                "{}: was written to {} s ago and not closed since; it is read as it stands",
                unread.path.display(),
                unfinished::LONGEST.as_secs()
            );
        }
    }

    /// Looks at the folder, at `everything` or at what was touched, logs what is different and hands it on.
    async fn look(&mut self, everything: bool) -> Summary {
        // What waits to be told comes first, so that a file that was opened or closed counts as that.
        for _ in 0..self.seen.len() {
            let Ok(event) = self.seen.try_recv() else { break };
            self.note(event);
        }
        self.give_up_waiting();
        let Some(mut state) = self.state.take() else { return Summary::default() };
        let touched = std::mem::take(&mut self.touched);
        let look = Look {
            reach: if everything { Reach::Everything } else { Reach::Paths(touched) },
            gone: std::mem::take(&mut self.lost),
            overflow: self.sight.take_overflow(),
            unfinished: self.unfinished.clone(),
            waits: self.told_by.is_some_and(|by| Instant::now() < by),
        };
        let looked = tokio::task::spawn_blocking(move || {
            let looked = state.look(&look);
            (state, looked)
        });
        // The thread is not started once the runtime is going down.
        let Ok((state, looked)) = looked.await else { return Summary::default() };
        self.unfinished.keep(|path| is_in_sight(&state, path));
        self.state = Some(state);
        self.unread.clear();
        let Some(Looked { reload, is_news, unread }) = looked else { return Summary::default() };
        self.unread = unread;
        let Some(reload) = reload else { return Summary::default() };
        self.told_by = None;
        let summary = reload.summary();
        log_changes(&reload.changes);
        log_problems(&reload.news);
        if is_news {
            // Nobody listens only while the daemon goes down.
            let _ = self.reloads.send(reload).await;
        }
        summary
    }
}

fn is_of_interest(state: &State, path: &Path) -> bool {
    let places = state.places();
    let within = path.parent().and_then(|parent| places.get(parent)).zip(path.file_name());
    places.contains_key(path) || within.is_some_and(|(interest, name)| interest.covers(name))
}

/// Whether what happens to a file is kept in mind: also of a hidden one, since it may be renamed.
fn is_in_sight(state: &State, path: &Path) -> bool {
    let within = path.parent().and_then(|parent| state.places().get(parent)).zip(path.file_name());
    within.is_some_and(|(Interest { all, names }, name)| *all || names.contains(name))
}

fn log_changes(changes: &[Change]) {
    for change in changes {
        match change {
            Change::Added(spec) if !spec.enabled => info!(watch = %spec.name, "added, and not enabled"),
            Change::Added(spec) => info!(watch = %spec.name, "added, on znode {}", spec.znode),
            Change::Redefined { old, new } => info!(watch = %new.name, "{}", describe_difference(old, new)),
            Change::Removed(name) => info!(watch = %name, "removed"),
        }
    }
}

fn log_problems(news: &ProblemNews) {
    for problem in &news.new {
        error!("{}", problem.one_line());
    }
    for file in &news.mended {
        info!("{}: nothing is wrong with it any more", file.display());
    }
}

#[cfg(test)]
mod tests;
