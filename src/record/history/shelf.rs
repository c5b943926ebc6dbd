//! One watch's part of the history: a folder with a file of runs, and a file for what each of the last of
//! them has printed. Blocking.
//!
//! The format, number 1: `runs.jsonl` has a line `{"format":1}` and then a line of JSON for each run that has
//! ended, in the order of their ends. It is only added to, and when it has come to twice its bound, written
//! anew. `ID.output` is what the run of that id has printed last, as it stands. A line that is no record, as a
//! crash may leave one, costs only itself; of a run that is there twice the last counts.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::record::run_record::RunRecord;
use crate::schedule::order::RunId;

/// The number of the format. A file with a greater one is a later release's and is set aside.
const FORMAT: u32 = 1;

/// How many runs are kept.
pub const RUNS: usize = 100;

/// Of how many runs the output is kept.
pub const OUTPUTS: usize = 10;

/// How much room the runs may take, in bytes. As many as are kept take less by far, unless their znodes have
/// paths as long as a book.
const MOST_BYTES: u64 = 512 << 10;

/// How much is read to learn of the last runs alone, in bytes.
const TAIL: u64 = 16 << 10;

/// What a file takes on a disk is a multiple of this, in bytes.
const BLOCK: u64 = 4096;

/// The file with the runs.
const NAME: &str = "runs.jsonl";

/// Its first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
}

/// Where one watch's runs are.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    /// How long the file of runs is, as it was left.
    length: u64,
    /// How many lines it has; `None`: nobody has looked yet.
    lines: Option<usize>,
    /// Whether the last line may lack its newline.
    is_torn: bool,
    /// The last runs that have ended, with what is kept of their output; the oldest first.
    outputs: VecDeque<Kept>,
    /// When it was last written to.
    pub touched: SystemTime,
}

/// What is kept of a run's output.
#[derive(Debug, Clone, Copy)]
struct Kept {
    run: RunId,
    bytes: u64,
    is_truncated: bool,
    /// Whether a record of it was seen: a crash may have left its output alone.
    is_recorded: bool,
}

impl Shelf {
    /// One that is not there yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            length: 0,
            lines: None,
            is_torn: false,
            outputs: VecDeque::new(),
            touched: SystemTime::UNIX_EPOCH,
        }
    }

    /// The one in this folder, as it was left, and its last run.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(folder: PathBuf) -> io::Result<(Self, Option<RunRecord>)> {
        let mut shelf = Self::new(folder);
        shelf.touched = fs::metadata(&shelf.folder)?.modified()?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&shelf.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(run) = name.strip_suffix(".output").and_then(|run| run.parse::<RunId>().ok()) {
                found.push((run, entry.metadata()?.len()));
            } else if name.ends_with(".new") {
                // What a crash has left.
                let _ = fs::remove_file(entry.path());
            }
        }
        if let Ok(at) = fs::metadata(shelf.runs_path()) {
            shelf.touched = at.modified()?;
            shelf.length = at.len();
        }
        let records = shelf.read(TAIL).unwrap_or_default();
        found.sort_unstable();
        let is_among = |run: RunId| records.iter().any(|record| record.run == run);
        shelf.outputs = found.iter().filter(|(run, _)| !is_among(*run)).copied().map(Kept::found).collect();
        for record in &records {
            let bytes = found.iter().find(|(run, _)| *run == record.run).map(|(_, bytes)| *bytes);
            let end = record.end.as_ref();
            match bytes {
                Some(bytes) => {
                    let is_truncated = end.is_some_and(|end| end.output_truncated);
                    shelf.outputs.push_back(Kept { run: record.run, bytes, is_truncated, is_recorded: true });
                }
                None if end.is_some_and(|end| end.output_bytes == 0) => {
                    let is_truncated = end.is_some_and(|end| end.output_truncated);
                    shelf.outputs.push_back(Kept {
                        run: record.run,
                        bytes: 0,
                        is_truncated,
                        is_recorded: true,
                    });
                }
                None => {}
            }
        }
        shelf.drop_outputs_beyond(OUTPUTS);
        Ok((shelf, records.into_iter().next_back()))
    }

    /// How much room it takes on the disk, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let outputs = self.outputs.iter().map(|kept| kept.bytes.next_multiple_of(BLOCK)).sum::<u64>();
        BLOCK + self.length.next_multiple_of(BLOCK) + outputs
    }

    /// Adds a run that has ended, unless it is among the last: the daemon that has added it died before it
    /// could say so.
    ///
    /// # Errors
    /// When the disk does not take it. Nothing is changed then, but for a line that may have no end.
    pub fn add(&mut self, record: &RunRecord, output: &[u8], now: SystemTime) -> io::Result<()> {
        let is_known = self.outputs.iter().any(|kept| kept.run == record.run && kept.is_recorded);
        if is_known && self.runs_path().exists() {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !output.is_empty() {
            let path = self.output_path(record.run);
            let written = private().truncate(true).open(&path).and_then(|mut file| file.write_all(output));
            if let Err(error) = written {
                let _ = fs::remove_file(path);
                return Err(error);
            }
        }
        self.append(record).inspect_err(|_| {
            // It would be of a run that nobody knows.
            let _ = fs::remove_file(self.output_path(record.run));
        })?;
        self.touched = now;
        self.outputs.retain(|kept| kept.run != record.run);
        let is_truncated = record.end.as_ref().is_some_and(|end| end.output_truncated);
        self.outputs.push_back(Kept {
            run: record.run,
            bytes: output.len() as u64,
            is_truncated,
            is_recorded: true,
        });
        self.drop_outputs_beyond(OUTPUTS);
        Ok(())
    }

    fn append(&mut self, record: &RunRecord) -> io::Result<()> {
        let mut file = self.open_runs()?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut length = found.len();
        if self.lines.is_none() || length != self.length {
            if is_of_later_release(&mut file)? {
                fs::rename(self.runs_path(), self.folder.join("runs.later"))?;
                file = self.open_runs()?;
                length = 0;
            }
            // As it was left by an earlier daemon, or somebody else has been at it.
            self.look(&mut file, length)?;
        }
        // Before anything is added, so that what cannot be written anew does not grow.
        if self.lines.is_some_and(|lines| lines > 2 * RUNS) || length > 2 * MOST_BYTES {
            self.compact()?;
            file = self.open_runs()?;
            length = self.length;
        }
        let mut text = Vec::new();
        if length == 0 {
            serde_json::to_writer(&mut text, &Header { format: FORMAT })?;
            text.push(b'\n');
        } else if self.is_torn {
            text.push(b'\n');
        }
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
        if let Err(error) = file.write_all(&text) {
            // Where that fails, too, the next line begins with the end of this one.
            self.is_torn = file.set_len(length).is_err();
            self.length = file.metadata().map_or(length, |file| file.len());
            return Err(error);
        }
        self.is_torn = false;
        self.length = length + text.len() as u64;
        self.lines = self.lines.map(|lines| lines + 1 + usize::from(length == 0));
        Ok(())
    }

    /// Counts the lines of the file of runs and sees whether the last one has its end.
    fn look(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(length.saturating_sub(2 * MOST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(2 * MOST_BYTES).read_to_end(&mut bytes)?;
        self.lines = Some(bytes.iter().filter(|&&byte| byte == b'\n').count());
        self.is_torn = bytes.last().is_some_and(|&last| last != b'\n');
        Ok(())
    }

    /// Writes the runs that are kept to a file beside, and then in the place of the one there is.
    fn compact(&mut self) -> io::Result<()> {
        let records = self.runs()?;
        let mut text = serde_json::to_vec(&Header { format: FORMAT })?;
        text.push(b'\n');
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut room = MOST_BYTES;
        for record in records.iter().rev() {
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            if line.len() as u64 > room {
                break;
            }
            room -= line.len() as u64;
            lines.push(line);
        }
        lines.reverse();
        text.extend(lines.concat());
        let unfinished = self.folder.join("runs.new");
        let mut file = private().truncate(true).open(&unfinished)?;
        // Else a crash of the machine could leave the new name and nothing behind it.
        file.write_all(&text).and_then(|()| file.sync_data()).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })?;
        fs::rename(&unfinished, self.runs_path())?;
        self.length = text.len() as u64;
        self.lines = Some(lines.len() + 1);
        self.is_torn = false;
        Ok(())
    }

    /// The runs that have ended, in the order of their ends.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn runs(&self) -> io::Result<Vec<RunRecord>> {
        let mut records = self.read(2 * MOST_BYTES)?;
        records.drain(..records.len().saturating_sub(RUNS));
        Ok(records)
    }

    /// What a run has printed last, and whether it has printed more; `None` where it is not kept.
    #[must_use]
    pub fn output(&self, run: RunId) -> Option<(Vec<u8>, bool)> {
        let kept = self.outputs.iter().find(|kept| kept.run == run)?;
        let mut bytes = Vec::new();
        if kept.bytes > 0 {
            let file = open(&self.output_path(run)).ok()?;
            file.take(kept.bytes).read_to_end(&mut bytes).ok()?;
        }
        Some((bytes, kept.is_truncated))
    }

    /// Keeps the output of the last so many runs.
    pub fn drop_outputs_beyond(&mut self, most: usize) {
        while self.outputs.len() > most
            && let Some(oldest) = self.outputs.pop_front()
        {
            if oldest.bytes > 0 {
                let _ = fs::remove_file(self.output_path(oldest.run));
            }
        }
    }

    /// Takes it away, with all that is in it.
    ///
    /// # Errors
    /// When something is left of it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The runs that the last so many bytes tell of, in the order of their ends.
    fn read(&self, most: u64) -> io::Result<Vec<RunRecord>> {
        let mut file = match open(&self.runs_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        if is_of_later_release(&mut file)? {
            return Ok(Vec::new());
        }
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        let mut known = HashSet::new();
        // Of one that is told twice, what was told last is what counts.
        let lines = bytes.split(|&byte| byte == b'\n').rev();
        let records = lines.filter_map(|line| serde_json::from_slice::<RunRecord>(line).ok());
        let mut records: Vec<RunRecord> = records.filter(|record| known.insert(record.run)).collect();
        records.reverse();
        Ok(records)
    }

    fn open_runs(&self) -> io::Result<File> {
        private().read(true).append(true).open(self.runs_path())
    }

    fn runs_path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn output_path(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.output"))
    }
}

impl Kept {
    /// Of a run that nothing else is known of.
    fn found((run, bytes): (RunId, u64)) -> Self {
        Self { run, bytes, is_truncated: bytes >= super::OUTPUT_BYTES as u64, is_recorded: false }
    }
}

/// To write a file that is nobody else's business, and not to wait for the reader of a FIFO.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Not to wait for the writer of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Whether the first line says so. One that says nothing is no worse than any other.
fn is_of_later_release(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    Read::by_ref(file).take(256).read_to_end(&mut start)?;
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice::<Header>(line).is_ok_and(|header| header.format > FORMAT))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::record::run_record::tests::ended;
    use crate::schedule::order::Outcome;

    struct Rig {
        base: tempfile::TempDir,
    }

    impl Rig {
        fn new() -> Self {
            Self { base: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.base.path().join("a")
        }

        fn file(&self) -> PathBuf {
            self.path().join(NAME)
        }

        /// As a daemon finds it that starts.
        fn found(&self) -> (Shelf, Option<RunRecord>) {
            Shelf::find(self.path()).unwrap()
        }

        fn lines(&self) -> usize {
            fs::read_to_string(self.file()).unwrap().lines().count()
        }
    }

    /// A record of the run of this number that knows how much was printed.
    fn record(number: u64, output: &[u8]) -> RunRecord {
        let mut record = ended("a", number, Outcome::Exited(0));
        record.end.as_mut().unwrap().output_bytes = output.len() as u64;
        record
    }

    fn add(shelf: &mut Shelf, number: u64) -> io::Result<()> {
        let output = format!("output of {number}");
        shelf.add(&record(number, output.as_bytes()), output.as_bytes(), SystemTime::now())
    }

    fn numbers(shelf: &Shelf) -> Vec<u64> {
        shelf.runs().unwrap().iter().map(|record| record.run.as_u64()).collect()
    }

    fn with_output(shelf: &Shelf, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let kept = |number: &u64| shelf.output(RunId::from_u64(*number)).is_some();
        numbers.into_iter().filter(kept).collect()
    }

    #[test]
    fn the_last_runs_are_kept_and_the_output_of_the_last_of_them_also_over_a_restart() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        for number in 1..=450 {
            add(&mut shelf, number).unwrap();
            assert!(rig.lines() <= 2 * RUNS + 1);
        }
        for shelf in [shelf, rig.found().0] {
            assert_eq!(numbers(&shelf), (351..=450).collect::<Vec<_>>());
            assert_eq!(with_output(&shelf, 1..=450), (441..=450).collect::<Vec<_>>());
            assert_eq!(shelf.output(RunId::from_u64(450)), Some((b"output of 450".to_vec(), false)));
        }
        assert_eq!(rig.found().1.unwrap(), record(450, b"output of 450"));
        assert_eq!(fs::read_dir(rig.path()).unwrap().count(), 1 + OUTPUTS);
    }

    #[test]
    fn what_is_not_compacted_by_one_daemon_is_by_the_next() {
        let rig = Rig::new();
        for number in 1..=2 * RUNS as u64 + 1 {
            add(&mut rig.found_or_new(), number).unwrap();
        }
        assert!(rig.lines() < 2 * RUNS);
    }

    impl Rig {
        fn found_or_new(&self) -> Shelf {
            if self.path().exists() { self.found().0 } else { Shelf::new(self.path()) }
        }
    }

    #[test]
    fn a_line_that_was_torn_costs_only_itself() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        (1..=3).for_each(|number| add(&mut shelf, number).unwrap());
        let length = fs::metadata(rig.file()).unwrap().len();
        File::options().write(true).open(rig.file()).unwrap().set_len(length - 20).unwrap();
        let (mut shelf, last) = rig.found();
        assert_eq!(last.unwrap().run.as_u64(), 2);
        add(&mut shelf, 4).unwrap();
        assert_eq!(numbers(&shelf), [1, 2, 4]);
        assert_eq!(numbers(&rig.found().0), [1, 2, 4]);
    }

    #[test]
    fn garbage_costs_only_the_records_that_it_has_taken_the_place_of() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        (1..=3).for_each(|number| add(&mut shelf, number).unwrap());
        let text = fs::read_to_string(rig.file()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[0] = "not a header";
        lines[2] = "{\"format\":9}\0\u{fffd}";
        fs::write(rig.file(), lines.join("\n")).unwrap();
        let (mut shelf, last) = rig.found();
        assert_eq!(last.unwrap().run.as_u64(), 3);
        add(&mut shelf, 4).unwrap();
        assert_eq!(numbers(&shelf), [1, 3, 4]);
    }

    #[test]
    fn a_run_that_is_told_twice_is_one() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        (1..=3).for_each(|number| add(&mut shelf, number).unwrap());
        let (mut shelf, _) = rig.found();
        add(&mut shelf, 2).unwrap();
        assert_eq!(rig.lines(), 4);
        // More have ended since than are known without looking.
        (4..=30).for_each(|number| add(&mut shelf, number).unwrap());
        add(&mut shelf, 2).unwrap();
        let (shelf, _) = rig.found();
        assert_eq!(numbers(&shelf), [&[1][..], &(3..=30).collect::<Vec<_>>(), &[2]].concat());
    }

    #[test]
    fn an_output_that_a_crash_has_left_alone_gets_its_record() {
        let rig = Rig::new();
        add(&mut Shelf::new(rig.path()), 1).unwrap();
        fs::write(rig.path().join("2.output"), "half of").unwrap();
        let (mut shelf, _) = rig.found();
        add(&mut shelf, 2).unwrap();
        for shelf in [shelf, rig.found().0] {
            assert_eq!(numbers(&shelf), [1, 2]);
            assert_eq!(shelf.output(RunId::from_u64(2)), Some((b"output of 2".to_vec(), false)));
        }
    }

    #[test]
    fn a_file_of_a_later_release_is_set_aside() {
        let rig = Rig::new();
        fs::create_dir(rig.path()).unwrap();
        fs::write(rig.file(), "{\"format\":2}\n").unwrap();
        let (mut shelf, last) = rig.found();
        assert!(last.is_none() && numbers(&shelf).is_empty());
        add(&mut shelf, 1).unwrap();
        assert_eq!(numbers(&shelf), [1]);
        assert_eq!(fs::read_to_string(rig.path().join("runs.later")).unwrap(), "{\"format\":2}\n");
    }

    #[test]
    fn what_is_no_file_is_an_error_and_waits_for_nobody() {
        let rig = Rig::new();
        fs::create_dir(rig.path()).unwrap();
        nix::unistd::mkfifo(&rig.file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut shelf, _) = rig.found();
        assert!(add(&mut shelf, 1).is_err() && shelf.runs().is_err());
    }

    #[test]
    fn what_is_taken_away_while_the_daemon_runs_is_begun_anew() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        (1..=3).for_each(|number| add(&mut shelf, number).unwrap());
        fs::remove_dir_all(rig.path()).unwrap();
        assert_eq!((numbers(&shelf), with_output(&shelf, 1..=3)), (vec![], vec![]));
        add(&mut shelf, 4).unwrap();
        assert_eq!(numbers(&shelf), [4]);
    }

    #[test]
    fn runs_without_output_have_an_empty_one() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        shelf.add(&record(1, b""), b"", SystemTime::now()).unwrap();
        for shelf in [shelf, rig.found().0] {
            assert_eq!(shelf.output(RunId::from_u64(1)), Some((vec![], false)));
            assert_eq!(shelf.output(RunId::from_u64(2)), None);
        }
    }

    #[test]
    fn records_of_any_length_have_a_bound_in_bytes() {
        let rig = Rig::new();
        let mut shelf = Shelf::new(rig.path());
        for number in 1..=30 {
            let mut record = record(number, b"");
            record.znode = "/".repeat(100 << 10);
            shelf.add(&record, b"", SystemTime::now()).unwrap();
            assert!(fs::metadata(rig.file()).unwrap().len() <= 2 * MOST_BYTES + (101 << 10));
        }
        assert!(numbers(&shelf).ends_with(&[28, 29, 30]));
    }

    #[test]
    fn nobody_else_can_read_it() {
        let rig = Rig::new();
        add(&mut Shelf::new(rig.path()), 1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&rig.path()), 0o700);
        for entry in fs::read_dir(rig.path()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }
}
