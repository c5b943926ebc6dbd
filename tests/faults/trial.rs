//! What shows that the judge can tell a fault: journals that are made up, each with what it must be found guilty of.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use crate::harness::Folder;
use crate::host::Done;
use crate::plan::{Kind, Mode, OnLoad, watches};
use crate::runs::Runs;
use crate::verdict::faults;
use crate::writer::Story;

/// What was written, and in which transactions.
const WRITTEN: [(u64, i64); 2] = [(0xa, 1), (0xb, 2)];

/// A journal, in which `W` is the watch, and what is said of it.
type Case = (&'static str, &'static [&'static str]);

const CASES: [Case; 8] = [
    ("begin W 1 10 1 1 loaded a|end W 1 20 0|begin W 2 30 2 1 changed b|end W 2 40 0", &[]),
    ("begin W 1 10 1 1 loaded a|overlap W 2 15", &["a run found another one"]),
    ("begin W 1 10 1 1 loaded a|begin W 2 15 2 1 changed b|end W 1 20 0|end W 2 25 0", &["two runs at once"]),
    (
        "begin W 1 10 1 1 loaded a|end W 1 20 0|begin W 2 30 1 1 changed a|end W 2 40 0",
        &["run again although nothing was loaded since"],
    ),
    ("begin W 1 10 2 1 loaded b|end W 1 20 0|begin W 2 30 1 1 changed a", &["back in time"]),
    ("begin W 1 10 1 1 loaded c", &["nobody has written that"]),
    ("begin W 1 10 1 1 loaded a|end W 1 20 0|begin W 2 30 1 2 loaded a", &["tried again without a failure"]),
    (
        "begin W 1 10 1 1 loaded a|end W 1 20 0|begin W 1 30 2 1 changed b",
        &["a run that began twice", "the later of two runs has the earlier number"],
    ),
];

/// Has each of the made-up journals judged.
///
/// # Panics
/// When another fault is found than there is, or none.
pub fn the_judge() {
    let watches = watches();
    let watch = |watch: &&crate::plan::Watch| {
        watch.kind == Kind::Data
            && watch.mode == Mode::Queue
            && watch.on_load == OnLoad::Always
            && watch.retries > 0
    };
    let watch = watches.iter().find(watch).expect("a watch of the usual kind");
    let stories = HashMap::from([(watch.znode.clone(), Story::of(&WRITTEN))]);
    for (journal, expected) in CASES {
        let folder = Folder::new();
        let mut runs = Runs::new(&folder);
        let lines = journal.replace('|', "\n").replace('W', &watch.name) + "\n";
        fs::write(folder.join("journal"), &lines).expect("a journal");
        runs.read();
        let found = faults("made up", &runs, &[(0, Done::Started)], &watches, &stories, &BTreeSet::new());
        let is_so = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.contains(b));
        assert!(is_so, "found {found:#?} and not {expected:?} in\n{lines}");
    }
}
