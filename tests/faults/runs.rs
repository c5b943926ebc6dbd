//! The journal of one host, as its children have written it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A run, from its own point of view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The daemon's name for it.
    pub id: u64,
    /// When it began, in microseconds of the monotonic clock.
    pub began: u64,
    pub zxid: i64,
    pub attempt: u32,
    pub event: String,
    /// What it was given.
    pub token: u64,
    /// When it ended and its exit status; `None`: something has ended it.
    pub end: Option<(u64, u8)>,
}

/// A run that has lasted for so long may have timed out while it wrote its last line.
const MAY_TIME_OUT_US: u64 = 700_000;

impl Run {
    /// Whether the daemon must have it that it went well, if it came to know.
    pub fn went_well(&self) -> bool {
        self.end.is_some_and(|(ended, status)| status == 0 && ended - self.began < MAY_TIME_OUT_US)
    }
}

/// The runs of each watch in the order in which they began.
#[derive(Debug)]
pub struct Runs {
    journal: PathBuf,
    read: u64,
    /// A line that is not whole yet.
    rest: String,
    pub of: HashMap<String, Vec<Run>>,
    /// The watches of runs that found another one beside themselves.
    pub overlaps: Vec<String>,
    /// Runs that began more than once.
    pub twice: Vec<String>,
}

impl Runs {
    /// A journal in this folder, and the folder of the locks.
    pub fn new(folder: &Path) -> Self {
        let journal = folder.join("journal");
        fs::write(&journal, "").expect("an empty journal");
        fs::create_dir(folder.join("locks")).expect("a folder for locks");
        let (of, overlaps, twice) = (HashMap::new(), Vec::new(), Vec::new());
        Self { journal, read: 0, rest: String::new(), of, overlaps, twice }
    }

    /// Takes in what was written since the last time.
    pub fn read(&mut self) {
        let mut file = fs::File::open(&self.journal).expect("the journal");
        file.seek(SeekFrom::Start(self.read)).expect("where it was read to");
        self.read += file.read_to_string(&mut self.rest).expect("text") as u64;
        let text = std::mem::take(&mut self.rest);
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().for_each(|line| self.take_in(line));
        text[whole..].clone_into(&mut self.rest);
    }

    fn take_in(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let (watch, id) = (words[1], u64::from_str_radix(words[2], 16).expect("a run's id"));
        let at = words[3].parse().expect("a time");
        let runs = self.of.entry(watch.to_owned()).or_default();
        match words[0] {
            "begin" => {
                if runs.iter().any(|run| run.id == id) {
                    self.twice.push(line.to_owned());
                }
                runs.push(Run {
                    id,
                    began: at,
                    zxid: words[4].parse().expect("a zxid"),
                    attempt: words[5].parse().expect("a number"),
                    event: words[6].to_owned(),
                    token: u64::from_str_radix(words[7], 16).expect("a token"),
                    end: None,
                });
            }
            "end" => {
                let run = runs.iter_mut().rev().find(|run| run.id == id).expect("an end after a beginning");
                run.end = Some((at, words[4].parse().expect("an exit status")));
            }
            _ => self.overlaps.push(watch.to_owned()),
        }
    }

    /// The last run of a watch.
    pub fn last(&self, watch: &str) -> Option<&Run> {
        self.of.get(watch)?.last()
    }
}
