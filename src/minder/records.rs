//! What is left of a run on disk, below the minders' folder, for the minder that comes after one that died.
//!
//! A child writes its own record before it executes anything, so that no command ever runs without one. An
//! end that no daemon has taken note of is written by a minder that exits. Both go when they are known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::minder::output::Output;
use crate::minder::processes::{Process, look_up, ticks};
use crate::run::protocol::{About, Decoder, End, Report, encode};
use crate::schedule::order::RunId;

/// The folder of records below that of the minders' sockets.
const FOLDER: &str = "runs";

/// What a minder needs to go on with a run that another has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names the run.
    pub run: RunId,
    /// As it was given.
    pub about: About,
    /// The minder that is its parent.
    pub minder: Named,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: u64,
    /// As it was given.
    pub timeout_ms: Option<u64>,
    /// As it was given.
    pub kill_after_ms: u64,
    /// The cgroup that it has to itself.
    pub cgroup: Option<PathBuf>,
    /// The file that its script is in.
    pub script: Option<PathBuf>,
}

/// A process, named for good: a number alone is another's one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its number.
    pub pid: i32,
    /// When it was started, in clock ticks since the machine was.
    pub start_time: u64,
}

impl Named {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn this() -> io::Result<Self> {
        let pid = std::process::id().cast_signed();
        let process = look_up(pid).ok_or_else(|| io::Error::other("/proc is not mounted"))?;
        Ok(Self { pid, start_time: process.start_time })
    }

    /// The process, if it has not ended.
    #[must_use]
    pub fn find(self) -> Option<Process> {
        look_up(self.pid).filter(|found| found.start_time == self.start_time && !found.is_zombie)
    }
}

/// What was found of a run whose minder is gone.
#[derive(Debug)]
pub enum Left {
    /// It was started, as this process.
    Started(Record, Named),
    /// It has ended, and this was the last of its output.
    Ended(End, Output),
}

impl Left {
    fn run(&self) -> RunId {
        match self {
            Self::Started(record, _) => record.run,
            Self::Ended(end, _) => end.run,
        }
    }
}

/// The records of one run folder.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The records below `minders`, the folder of the minders' sockets.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub fn below(minders: &Path) -> io::Result<Self> {
        let folder = minders.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Where the record of a run that goes on is.
    #[must_use]
    pub fn of_started(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.run"))
    }

    fn of_ended(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.end"))
    }

    /// Leaves an end for a later minder: what of the last output was passed on goes with it, and the rest
    /// follows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn leave(&self, end: &End, output: &Output) -> io::Result<()> {
        let (last, unsent) = (output.last(), output.unsent());
        let sent = &last[..last.len() - unsent.len()];
        let rest = Report::Output { run: end.run, watch: end.about.watch.clone(), dropped: output.dropped() };
        let ended = encode(&Report::Ended(Box::new(end.clone())), sent);
        let rest = encode(&rest, &unsent);
        let frames = ended.and_then(|ended| Ok([ended, rest?].concat())).map_err(io::Error::other)?;
        write_whole(&self.of_ended(end.run), &frames)
    }

    /// From here on the run is `minder`'s, so that no other one takes it.
    ///
    /// # Errors
    /// When that cannot be written; the record is as it was.
    pub fn take_over(&self, record: &Record, main: Named, minder: Named) -> io::Result<()> {
        let mut text = format!("{} {} {}\n", main.pid, main.start_time, main.start_time).into_bytes();
        serde_json::to_writer(&mut text, &Record { minder, ..record.clone() })?;
        write_whole(&self.of_started(record.run), &text)
    }

    /// Whether there is a record of a run that goes on.
    #[must_use]
    pub fn has_started(&self, run: RunId) -> bool {
        self.of_started(run).exists()
    }

    /// Why no record can be kept by now, if none can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let path = self.folder.join("room");
        let trouble = write_whole(&path, &[0; 4096]).err();
        let _ = fs::remove_file(path);
        trouble.map(|error| format!("in {}: {error}", self.folder.display()))
    }

    /// Forgets a run that went on and has ended.
    pub fn forget_started(&self, run: RunId) {
        // That it is not there is what is wanted.
        let _ = fs::remove_file(self.of_started(run));
    }

    /// Forgets a run that was left, and how.
    pub fn forget(&self, run: RunId) {
        self.forget_started(run);
        let _ = fs::remove_file(self.of_ended(run));
    }

    /// What minders that are gone have left, in the order of the runs: of two ends of one watch, the later one
    /// says what it has applied. What cannot be read says nothing and is removed.
    #[must_use]
    pub fn left(&self) -> Vec<Left> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let read = match path.extension().and_then(|extension| extension.to_str()) {
                Some("run") => read_started(&path),
                Some("end") => read_ended(&path),
                Some(_) | None => continue,
            };
            match read {
                Some(Left::Started(record, _)) if record.minder.find().is_some() => {}
                Some(read) => left.push(read),
                None => drop(fs::remove_file(path)),
            }
        }
        left.sort_by_key(Left::run);
        left
    }
}

/// Writes the record of the calling process, which came to be after `since`: a line that names it, and then
/// what `prepared` holds.
///
/// A process knows when it is, and not when it was started; to ask `/proc` takes longer than all the rest of
/// this. Between the two moments that it knows there is no room for another process with its number.
///
/// # Errors
/// When it cannot be written.
pub fn write_own(path: &Path, since: u64, prepared: &[u8]) -> io::Result<()> {
    let mut text = format!("{} {since} {}\n", std::process::id(), ticks()).into_bytes();
    text.extend_from_slice(prepared);
    write_whole(path, &text)
}

fn read_started(path: &Path) -> Option<Left> {
    let text = fs::read_to_string(path).ok()?;
    let (name, record) = text.split_once('\n')?;
    let mut name = name.split(' ');
    let mut number = || name.next()?.parse::<u64>().ok();
    let (pid, since, until) = (i32::try_from(number()?).ok()?, number()?, number()?);
    let is_it = |process: &Process| (since..=until).contains(&process.start_time);
    // If it is gone, there is no more to know of it than that.
    let start_time = look_up(pid).filter(is_it).map_or(since, |process| process.start_time);
    Some(Left::Started(serde_json::from_str(record).ok()?, Named { pid, start_time }))
}

fn read_ended(path: &Path) -> Option<Left> {
    let mut decoder = Decoder::default();
    decoder.push(&fs::read(path).ok()?);
    let (Report::Ended(end), sent) = decoder.next_message().ok()?? else { return None };
    let (Report::Output { dropped, .. }, unsent) = decoder.next_message().ok()?? else { return None };
    Some(Left::Ended(*end, Output::left(&sent, &unsent, dropped)))
}

/// Writes a file that is there with all of its contents or not at all: another process may look at any time.
fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let written = fs::write(&unfinished, contents).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // On a disk that is full there is no room for what is of no use.
        let _ = fs::remove_file(unfinished);
    }
    written
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::run::protocol::Ending;
    use crate::watch::update::{Event, Version};

    fn about() -> About {
        About {
            watch: "a".into(),
            znode: "/a".into(),
            event: Event::Changed,
            version: Version::default(),
            attempt: 1,
        }
    }

    fn record(minder: Named) -> Record {
        Record {
            run: RunId::from_u64(7),
            about: about(),
            minder,
            started_ms: 1,
            timeout_ms: None,
            kill_after_ms: 5000,
            cgroup: None,
            script: None,
        }
    }

    #[test]
    fn a_run_of_a_minder_that_is_gone_is_found_and_one_of_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path()).unwrap();
        let path = records.of_started(RunId::from_u64(7));
        let living = Named::this().unwrap();
        write_own(&path, living.start_time, &serde_json::to_vec(&record(living)).unwrap()).unwrap();
        assert!(records.left().is_empty());

        let gone = Named { start_time: living.start_time + 1, ..living };
        write_own(&path, living.start_time, &serde_json::to_vec(&record(gone)).unwrap()).unwrap();
        let left = records.left();
        let Left::Started(found, main) = &left[0] else { panic!("{left:?}") };
        assert_eq!((found, *main), (&record(gone), living));
        records.forget(RunId::from_u64(7));
        assert!(records.left().is_empty());
    }

    #[test]
    fn an_end_that_was_left_reads_back_with_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path()).unwrap();
        let end = End {
            run: RunId::from_u64(7),
            about: about(),
            pid: Some(1),
            ending: Ending::Exited(3),
            usage: None,
            started_ms: 1,
            lasted_us: 2,
        };
        let mut output = Output::default();
        output.push(b"said\n");
        let _ = output.take_lines(std::time::Instant::now(), 100);
        output.push(b"and\n");
        records.leave(&end, &output).unwrap();
        let left = records.left();
        let Left::Ended(found, output) = &left[0] else { panic!("{left:?}") };
        assert_eq!(
            (found, output.last(), output.unsent()),
            (&end, b"said\nand\n".to_vec(), b"and\n".to_vec())
        );
    }

    #[test]
    fn p3_ends_that_were_left_are_told_in_the_order_of_their_runs() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path()).unwrap();
        let (ending, usage) = (Ending::Exited(0), None);
        let end = End {
            run: RunId::from_u64(0),
            about: about(),
            pid: None,
            ending,
            usage,
            started_ms: 1,
            lasted_us: 2,
        };
        for run in [7, 3, 9, 1, 8, 2, 6, 4, 5] {
            let end = End { run: RunId::from_u64(run), ..end.clone() };
            records.leave(&end, &Output::default()).unwrap();
        }
        let runs: Vec<u64> = records.left().iter().map(|left| left.run().as_u64()).collect();
        assert_eq!(runs, (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn garbage_is_removed_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::below(folder.path()).unwrap();
        for name in ["1.run", "2.run", "3.end", "4.end"] {
            let bytes = if name.starts_with(['1', '3']) { &b""[..] } else { &b"\xff garbage\n{"[..] };
            fs::write(folder.path().join(FOLDER).join(name), bytes).unwrap();
        }
        assert!(records.left().is_empty());
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }
}
