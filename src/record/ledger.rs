//! What each watch last applied, on disk: what an update is compared with that no daemon was there to see.
//!
//! A ledger that cannot be read, or not be written, costs at most a run that was not needed, and is never a
//! reason not to start or not to run.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use nix::libc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::spec::{MOST_REMEMBERED, WatchName, kept_since};
use crate::run::folder;
use crate::schedule::order::{Applied, RunId};
use crate::schedule::progress::Progress;

/// The number of the format. A file with a greater one is a later release's and is set aside.
const FORMAT: u32 = 1;

/// The mode of the state folder and the folders in it: what is applied, and what commands print, is nobody else's
/// business.
pub const FOLDER_MODE: u32 = 0o700;

/// How long the ends of runs are collected before they are written together.
pub(super) const COLLECT: Duration = Duration::from_millis(50);

/// How long after a write that failed the next one is tried.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(10);

/// How many runs whose line is not on disk yet may be waited for, beside those of the line that is being written: a
/// disk that does not answer is not waited for by more.
const MOST_UNWRITTEN: usize = 1_000;

/// A line of the ledger: a run that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub watch: WatchName,
    /// What it was given.
    pub applied: Applied,
    /// When it ended.
    pub at: SystemTime,
}

/// What is on disk.
#[derive(Debug, Serialize)]
struct Contents {
    format: u32,
    watches: BTreeMap<WatchName, Entry>,
}

/// What a ledger of any format says first of all.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

/// A ledger of this format. What it says of each watch is looked at by itself: a later release may have more to say of
/// some.
#[derive(Debug, Deserialize)]
struct Body {
    watches: BTreeMap<String, Value>,
}

impl Contents {
    fn new() -> Self {
        Self { format: FORMAT, watches: BTreeMap::new() }
    }

    /// What these bytes say, and of how many watches they say what cannot be understood.
    fn parse(bytes: &[u8]) -> Result<(Self, usize), Unusable> {
        let Head { format } = serde_json::from_slice(bytes)?;
        if format > FORMAT {
            return Err(Unusable::Later(format));
        }
        let Body { watches } = serde_json::from_slice(bytes)?;
        let mut contents = Self::new();
        let mut not_understood = 0;
        for (name, entry) in watches {
            match (WatchName::try_from(name), serde_json::from_value(entry)) {
                (Ok(name), Ok(entry)) => drop(contents.watches.insert(name, entry)),
                _ => not_understood += 1,
            }
        }
        Ok((contents, not_understood))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    applied: Applied,
    /// For people.
    at: Timestamp,
}

/// Why a ledger is of no use.
#[derive(Debug, Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("a later release has written it, in format {0}")]
    Later(u32),
}

/// The ledger of one host.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    contents: Contents,
    /// Of those watches that have begun runs under this daemon.
    progress: HashMap<WatchName, Progress>,
}

impl Ledger {
    /// Reads the ledger in `state_dir`, which is made if it is missing. One that is of no use is set aside
    /// under another name, said so, and begun anew. Blocking.
    #[must_use]
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("ledger.json");
        let contents = match folder::own(state_dir, FOLDER_MODE) {
            Ok(()) => read(&path).unwrap_or_else(|why| {
                set_aside(&path, &why);
                Contents::new()
            }),
            Err(error) => {
                let folder = state_dir.display();
                error!("cannot use the state folder {folder}: {error}; what is applied is not kept");
                Contents::new()
            }
        };
        Self { path, contents, progress: HashMap::new() }
    }

    /// What each watch last applied.
    #[must_use]
    pub fn applied(&self) -> HashMap<WatchName, Applied> {
        let entries = self.contents.watches.iter();
        entries.map(|(name, entry)| (name.clone(), entry.applied.clone())).collect()
    }

    fn note(&mut self, run: RunId, line: Line) {
        let progress = self.progress(&line.watch);
        progress.end_well(run, line.applied);
        let Some(applied) = progress.applied().cloned() else { return };
        // A clock that is off by ages is no reason to keep nothing.
        let at = Timestamp::try_from(line.at).unwrap_or(Timestamp::UNIX_EPOCH);
        self.contents.watches.insert(line.watch, Entry { applied, at });
    }

    /// Returns whether what is to be written has changed.
    fn begin(&mut self, run: RunId, watch: &WatchName, given: Applied) -> bool {
        let progress = self.progress(watch);
        let known = if progress.begin(run, given) { progress.applied().cloned() } else { None };
        let entry = self.contents.watches.get_mut(watch);
        entry.zip(known).map(|(entry, known)| entry.applied = known).is_some()
    }

    fn progress(&mut self, watch: &WatchName) -> &mut Progress {
        let written = self.contents.watches.get(watch);
        let progress = || Progress::new(written.map(|entry| entry.applied.clone()));
        self.progress.entry(watch.clone()).or_insert_with(progress)
    }

    /// Forgets what was applied longest ago by watches that are not `defined`, where they are too many.
    fn forget_beyond(&mut self, most: usize, defined: &HashSet<WatchName>) {
        let Self { contents: Contents { watches, .. }, progress, .. } = self;
        if watches.len() > most + defined.len() {
            let others = watches.iter().filter(|(name, _)| !defined.contains(*name));
            if let Some(since) = kept_since(others.map(|(_, entry)| entry.at).collect(), most) {
                watches.retain(|name, entry| defined.contains(name) || entry.at >= since);
            }
        }
        if progress.len() > most + defined.len() {
            let others = progress.iter().filter(|(name, _)| !defined.contains(*name));
            if let Some(since) = kept_since(others.map(|(_, progress)| progress.last()).collect(), most) {
                progress.retain(|name, progress| defined.contains(name) || progress.last() >= since);
            }
        }
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.contents)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The watches that are defined, whose entries are never let go of; `None`: they are not known yet.
pub type Defined = watch::Receiver<Option<HashSet<WatchName>>>;

/// The ledger with a writer of its own, so that a disk that is slow or full keeps nobody waiting.
#[derive(Debug)]
pub struct Writer {
    ledger: Ledger,
    defined: Defined,
    /// The runs whose line is not on disk yet.
    unwritten: VecDeque<RunId>,
    /// When what has come together is written; `None`: there is nothing.
    due: Option<Instant>,
    /// What is being written.
    writing: Option<(JoinHandle<io::Result<()>>, VecDeque<RunId>)>,
    failed: bool,
}

impl Writer {
    /// A writer of this ledger.
    #[must_use]
    pub fn new(ledger: Ledger, defined: Defined) -> Self {
        Self { ledger, defined, unwritten: VecDeque::new(), due: None, writing: None, failed: false }
    }

    /// Takes note of a run that ended well. Returns the run that is no longer waited for, if the disk takes too long:
    /// there is no more to do for it, and its line is written with the others.
    #[must_use]
    pub fn note(&mut self, run: RunId, line: Line) -> Option<RunId> {
        self.ledger.note(run, line);
        self.forget();
        self.unwritten.push_back(run);
        self.due.get_or_insert_with(|| Instant::now() + COLLECT);
        if self.unwritten.len() <= MOST_UNWRITTEN {
            return None;
        }
        if self.writing.is_none() && !self.failed {
            // They wait only to be written together, not for the disk.
            self.begin_write();
            return None;
        }
        if !std::mem::replace(&mut self.failed, true) {
            error!("the ledger {} takes too long to write", self.ledger.path.display());
        }
        self.unwritten.pop_front()
    }

    /// Takes note of a run that is begun. Nobody waits for that to be written: only where the machine stops in
    /// the same moment is it forgotten together with the run.
    pub fn begin(&mut self, run: RunId, watch: &WatchName, given: Applied) {
        if self.ledger.begin(run, watch, given) {
            self.due.get_or_insert_with(|| Instant::now() + COLLECT);
        }
        self.forget();
    }

    /// Names may be made up by a program.
    fn forget(&mut self) {
        if let Some(defined) = &*self.defined.borrow() {
            self.ledger.forget_beyond(MOST_REMEMBERED, defined);
        }
    }

    /// Whether all that was noted is on disk, or could not be written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.writing.is_none() && self.unwritten.is_empty()
    }

    /// Writes what was noted, and returns the runs that there is no more to do for: also where the disk
    /// refuses them, since nobody could wait for that. Waits for ever where there is nothing. May be
    /// cancelled.
    pub async fn written(&mut self) -> VecDeque<RunId> {
        loop {
            let Some((writing, _)) = &mut self.writing else {
                match self.due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
                self.begin_write();
                continue;
            };
            let written = writing.await.map_err(io::Error::other).and_then(|written| written);
            let runs = self.writing.take().map_or_else(VecDeque::new, |(_, runs)| runs);
            self.look_at(written);
            return runs;
        }
    }

    fn begin_write(&mut self) {
        self.due = None;
        let (path, text) = (self.ledger.path.clone(), self.ledger.text());
        let writing = tokio::task::spawn_blocking(move || write(&path, &text?));
        self.writing = Some((writing, std::mem::take(&mut self.unwritten)));
    }

    fn look_at(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.failed) {
                    info!("the ledger is written again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    error!("cannot write the ledger {}: {error}; trying again", self.ledger.path.display());
                }
                self.due = Some(Instant::now() + TRY_AGAIN);
            }
        }
    }
}

/// Writes the ledger to a file beside it, to the disk, and then in its place, so that there is a whole one at
/// any time. Blocking.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    // It may have become possible to make it meanwhile, or somebody may have given it away.
    path.parent().map_or(Ok(()), |state_dir| folder::own(state_dir, FOLDER_MODE))?;
    let unfinished = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    // The new name is a change of the folder, which has a place on the disk of its own.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn read(path: &Path) -> Result<Contents, Unusable> {
    // Not to wait for the writer of a FIFO.
    match File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path) {
        Ok(mut file) => {
            if !file.metadata()?.is_file() {
                return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let (contents, not_understood) = Contents::parse(&bytes)?;
            if not_understood > 0 {
                let ledger = path.display();
                warn!(
                    "the ledger {ledger} says of {not_understood} watches what cannot be understood; it is passed over"
                );
            }
            Ok(contents)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::new()),
        Err(error) => Err(error.into()),
    }
}

fn set_aside(path: &Path, why: &Unusable) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = path.with_extension(format!("unusable-{}", since.as_secs()));
    match fs::rename(path, &aside) {
        Ok(()) => warn!("the ledger {} is set aside as {}: {why}", path.display(), aside.display()),
        Err(error) => {
            error!("the ledger {} is of no use: {why}; nor can it be set aside: {error}", path.display())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::watch::update::{Digest, Sign, Version};

    fn line(watch: &str, mzxid: i64) -> Line {
        Line {
            watch: watch.try_into().unwrap(),
            applied: Applied {
                znode: "/a".into(),
                version: Version { czxid: 1, mzxid, version: 2, sign: None },
            },
            at: SystemTime::now(),
        }
    }

    fn writer(folder: &Path) -> Writer {
        // Nobody says which watches are defined.
        Writer::new(Ledger::open(folder), watch::channel(None).1)
    }

    async fn kept(folder: &Path, lines: impl IntoIterator<Item = Line>) {
        let mut writer = writer(folder);
        for (number, line) in (1..).zip(lines) {
            assert_eq!(writer.note(RunId::from_u64(number), line), None);
        }
        writer.written().await;
        assert!(writer.is_idle());
    }

    fn children(pzxid: i64, names: &str) -> Version {
        let sign = Some(Sign::Children(Digest::of(names.as_bytes())));
        Version { czxid: 1, mzxid: pzxid, version: 2, sign }
    }

    #[tokio::test]
    async fn what_an_earlier_release_has_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"format": 1, "watches": {"a": {
            "applied": {"znode": "/a", "version": {"czxid": 1, "mzxid": 3, "version": 2}},
            "at": "2026-01-01T00:00:00Z"}}}"#;
        fs::write(folder.path().join("ledger.json"), text).unwrap();
        assert_eq!(Ledger::open(folder.path()).applied()[&"a".try_into().unwrap()], line("a", 3).applied);
    }

    #[tokio::test]
    async fn p1_p3_the_names_that_were_applied_are_known_until_something_else_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let known = || Ledger::open(folder.path()).applied()[&"a".try_into().unwrap()].version;
        let applied = Applied { znode: "/a".into(), version: children(3, "x\n") };
        kept(folder.path(), [Line { applied, ..line("a", 0) }]).await;
        assert!(!children(5, "x\n").is_update_to(&known()));
        assert!(children(5, "y\n").is_update_to(&known()));
        let mut writer = writer(folder.path());
        let given = Applied { znode: "/a".into(), version: children(4, "y\n") };
        writer.begin(RunId::from_u64(1), &"a".try_into().unwrap(), given);
        let written = tokio::time::timeout(Duration::from_secs(30), writer.written()).await;
        assert!(written.unwrap().is_empty());
        assert!(children(5, "x\n").is_update_to(&known()));
    }

    #[tokio::test]
    async fn no_more_than_so_many_runs_wait_for_a_disk_that_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let most = MOST_UNWRITTEN as u64;
        assert_eq!(writer.note(RunId::from_u64(1), line("a", 7)), None);
        // Nobody looks at whether it was written: it is as if it had not been.
        writer.begin_write();
        let given_up: Vec<RunId> =
            (2..=most + 3).filter_map(|run| writer.note(RunId::from_u64(run), line("a", 7))).collect();
        assert_eq!(given_up, [2, 3].map(RunId::from_u64));
        assert_eq!(writer.written().await, [RunId::from_u64(1)]);
        assert_eq!(writer.written().await.len(), MOST_UNWRITTEN);
        assert!(writer.is_idle());
        assert_eq!(Ledger::open(folder.path()).applied().len(), 1);
    }

    #[tokio::test]
    async fn of_what_ends_at_once_nothing_is_given_up_before_the_disk_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let runs = 1..=MOST_UNWRITTEN as u64 + 1;
        for run in runs.clone() {
            assert_eq!(writer.note(RunId::from_u64(run), line(&format!("w{run}"), 7)), None);
        }
        // It does not rest with who looks at the writer that no more come together.
        assert!(writer.writing.is_some() && writer.unwritten.is_empty());
        assert!(writer.written().await.into_iter().eq(runs.map(RunId::from_u64)));
        assert!(writer.is_idle() && !writer.failed);
        assert_eq!(Ledger::open(folder.path()).applied().len(), MOST_UNWRITTEN + 1);
    }

    #[test]
    fn a_watch_of_which_a_later_release_says_more_costs_the_others_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |sign: &str| {
            format!(
                r#"{{"applied": {{"znode": "/a", "version": {{"czxid": 1, "mzxid": 3, "version": 2, "sign": {sign}}}}},
                "at": "2026-01-01T00:00:00Z"}}"#
            )
        };
        let (known, unknown) = (entry("null"), entry(r#"{"unheard-of": 1}"#));
        let text =
            format!(r#"{{"format": 1, "watches": {{"a": {known}, "b": {unknown}, "not a name": {known}}}}}"#);
        fs::write(folder.path().join("ledger.json"), text).unwrap();
        let applied = Ledger::open(folder.path()).applied();
        assert_eq!((applied.len(), &applied[&"a".try_into().unwrap()]), (1, &line("a", 3).applied));
        assert_eq!(set_aside_in(folder.path()), 0);
    }

    #[test]
    fn a_ledger_of_a_later_release_is_known_as_that_whatever_it_looks_like() {
        let parsed = Contents::parse(br#"{"format": 2, "watches": [{"name": "a"}]}"#);
        assert!(matches!(parsed, Err(Unusable::Later(2))), "{parsed:?}");
    }

    #[test]
    fn of_more_watches_than_any_host_has_the_oldest_are_forgotten_but_not_those_that_are_defined() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path());
        let name = |number: u64| WatchName::try_from(format!("w{number}").as_str()).unwrap();
        let defined: HashSet<WatchName> = [1, 2, 3].map(name).into();
        for number in 1..=100 {
            let line =
                Line { at: UNIX_EPOCH + Duration::from_secs(number), ..line(name(number).as_str(), 7) };
            ledger.begin(RunId::from_u64(number), &line.watch, line.applied.clone());
            ledger.note(RunId::from_u64(number), line);
            ledger.forget_beyond(16, &defined);
            assert!(ledger.contents.watches.len() <= 16 + 3 && ledger.progress.len() <= 16 + 3);
        }
        let kept = ledger.applied();
        assert!(defined.iter().all(|name| kept.contains_key(name) && ledger.progress.contains_key(name)));
        assert!((90..=100).all(|number| kept.contains_key(&name(number))));
    }

    fn set_aside_in(folder: &Path) -> usize {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("unusable")).count()
    }

    #[tokio::test]
    async fn what_was_applied_last_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        kept(folder.path(), [line("a", 1), line("b", 2), line("a", 3)]).await;
        let applied = Ledger::open(folder.path()).applied();
        assert_eq!(applied.len(), 2);
        assert_eq!(applied[&"a".try_into().unwrap()], line("a", 3).applied);
    }

    #[tokio::test]
    async fn a_ledger_that_is_empty_or_garbage_or_of_a_later_release_is_set_aside_and_begun_anew() {
        for bytes in [&b""[..], b"\0\xff garbage", b"{\"format\":1", b"{\"format\":99,\"watches\":{}}", b"[]"]
        {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("ledger.json"), bytes).unwrap();
            assert!(Ledger::open(folder.path()).applied().is_empty());
            assert_eq!(set_aside_in(folder.path()), 1, "{bytes:?}");
            kept(folder.path(), [line("a", 1)]).await;
            assert_eq!(Ledger::open(folder.path()).applied().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_to_is_no_reason_not_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        kept(&in_the_way.join("state"), [line("a", 1)]).await;
    }

    #[test]
    fn nobody_else_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let ledger = Ledger::open(&state);
        write(&ledger.path, &ledger.text().unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join("ledger.json"))), (0o700, 0o600));
    }
}
