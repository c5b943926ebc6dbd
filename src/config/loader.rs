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
use tracing::{error, info};

use super::changes::Change;
use super::difference::describe_difference;
use super::problem::Problem;
use super::spec::WatchName;
use super::watch_table::Defaults;
use debounce::Debounce;
use eyes::{Seen, Sight};
use rescan::State;

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
    /// How many watches there are.
    pub watches: usize,
    /// In how many files.
    pub files: usize,
}

/// Asks for a look at the folder, at once.
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
    let (sight, mut seen) = eyes::channel();
    let mut loader = Loader {
        state: Some(State::new(&options, sight.clone())),
        sight,
        reloads,
        problems: None,
        lost: BTreeSet::new(),
    };
    let mut debounce = Debounce::default();
    // The first look is one that nobody asked for.
    let mut slow = tokio::time::interval(options.slow_rescan.max(Duration::from_millis(1)));
    slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let work = async {
        loop {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    debounce = Debounce::default();
                    let summary = loader.look().await;
                    // Whoever asked may have gone away.
                    let _ = request.reply.send(summary);
                }
                Some(event) = seen.recv() => {
                    // What was dropped may have been of interest even if what was kept is not.
                    if loader.note(&event) || loader.sight.has_overflow() {
                        debounce.event(Instant::now());
                    }
                }
                () = until(debounce.due()) => {
                    debounce = Debounce::default();
                    loader.look().await;
                }
                _ = slow.tick() => {
                    loader.look().await;
                }
            }
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

struct Loader {
    /// `None` while a blocking thread has it.
    state: Option<State>,
    sight: Sight,
    reloads: mpsc::Sender<Reload>,
    /// What was wrong at the last look; `None` before the first.
    problems: Option<Vec<Problem>>,
    /// Folders that have gone away or moved since the last look.
    lost: BTreeSet<PathBuf>,
}

impl Loader {
    /// Whether `event` is a reason to look.
    fn note(&mut self, event: &Seen) -> bool {
        match event {
            Seen::Overflow => true,
            Seen::Changed { path, gone } => {
                if *gone {
                    self.lost.insert(path.clone());
                }
                self.state.as_ref().is_none_or(|state| is_of_interest(state, path))
            }
        }
    }

    /// Looks at the folder, logs what is different and hands it on.
    async fn look(&mut self) -> Summary {
        let Some(mut state) = self.state.take() else { return Summary::default() };
        let lost = std::mem::take(&mut self.lost);
        let overflow = self.sight.take_overflow();
        let looked = tokio::task::spawn_blocking(move || {
            let reload = state.look(&lost, overflow);
            (state, reload)
        });
        let reload = match looked.await {
            Ok((state, reload)) => {
                self.state = Some(state);
                reload
            }
            // The thread is not started once the runtime is going down.
            Err(_) => return Summary::default(),
        };
        let Some(reload) = reload else { return Summary::default() };
        let summary = reload.summary();
        log_changes(&reload.changes);
        log_problems(self.problems.as_deref().unwrap_or_default(), &reload.problems);
        let is_first = self.problems.is_none();
        let differs = self.problems.as_ref() != Some(&reload.problems);
        self.problems = Some(reload.problems.clone());
        if is_first || differs || !reload.changes.is_empty() {
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

fn log_changes(changes: &[Change]) {
    for change in changes {
        match change {
            Change::Added(spec) => info!(watch = %spec.name, "added, on znode {}", spec.znode),
            Change::Redefined { old, new } => info!(watch = %new.name, "{}", describe_difference(old, new)),
            Change::Removed(name) => info!(watch = %name, "removed"),
        }
    }
}

fn log_problems(before: &[Problem], now: &[Problem]) {
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        error!("{}", problem.one_line());
    }
    let broken: BTreeSet<&PathBuf> = now.iter().map(|problem| &problem.file).collect();
    let repaired: BTreeSet<&PathBuf> =
        before.iter().map(|problem| &problem.file).filter(|file| !broken.contains(file)).collect();
    for file in repaired {
        info!("{}: nothing is wrong with it any more", file.display());
    }
}

#[cfg(test)]
mod tests;
