//! A look at what was touched leads to the same as one at everything, on a real folder.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proptest::prelude::*;

use crate::config::changes::{Catalog, Change, Watches};
use crate::config::folder::Folder;
use crate::config::folder::unfinished::Unfinished;
use crate::config::problem::Problem;
use crate::config::watch_table::Defaults;

const NAMES: [&str; 9] = [
    "a.toml",
    "b.toml",
    "c.toml",
    "sub/a.toml",
    "sub/b.toml",
    "sub/deep/a.toml",
    "sub/deep/b.toml",
    "sub/other",
    ".hidden.toml",
];

const TEXTS: [&str; 9] = [
    "[[watch]]\nznode='/a'\ncommand='x'\n",
    "[[watch]]\nznode='/a'\ncommand='another'\n",
    "[[watch]]\nznode='/a'\ncommand='x'\nname='n'\n",
    "[[watch]]\nznode='/b'\ncommand='x'\nname='n'\n[[watch]]\nznode='/b'\ncommand='x'\nname='a'\n",
    "[[watch]]\nznode='/b'\ncommand='x'\nname='z'\n[[watch]]\nznode='/b'\ncommand='x'\nname='n'\n",
    "[[watch]]\nznode='/c'\ncommand='x'\nname='n'\nenabled=false\n",
    "[[watch",
    "",
    "# nothing\n",
];

#[derive(Debug, Clone)]
enum Edit {
    /// In place.
    Write(usize, usize),
    /// In place, and not closed.
    Begin(usize, usize),
    /// By a rename from beside it.
    Replace(usize, usize),
    Rename(usize, usize),
    Remove(usize),
    Mode(usize, u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    let (name, text) = (0..NAMES.len(), 0..TEXTS.len());
    prop_oneof![
        3 => (name.clone(), text.clone()).prop_map(|(name, text)| Edit::Write(name, text)),
        1 => (name.clone(), text.clone()).prop_map(|(name, text)| Edit::Begin(name, text)),
        3 => (name.clone(), text).prop_map(|(name, text)| Edit::Replace(name, text)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Edit::Rename(from, to)),
        2 => name.clone().prop_map(Edit::Remove),
        2 => (name, prop_oneof![Just(0o644), Just(0o664)]).prop_map(|(name, mode)| Edit::Mode(name, mode)),
    ]
}

/// A folder, and what inotify would have told of it.
struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    unfinished: Unfinished,
    touched: BTreeSet<PathBuf>,
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("d");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        for folder in [&root, &root.join("sub"), &root.join("sub/deep")] {
            mode(folder, 0o755);
        }
        Self { _dir: dir, root, unfinished: Unfinished::default(), touched: BTreeSet::new() }
    }

    fn write(&self, path: &Path, text: usize) {
        let is_new = !path.exists();
        fs::write(path, TEXTS[text]).unwrap();
        // Long ago, so that it is no matter when it is looked at.
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        if is_new {
            mode(path, 0o644);
        }
    }

    fn edit(&mut self, edit: &Edit) {
        let at = |name: usize| self.root.join(NAMES[name]);
        let now = Instant::now;
        match *edit {
            Edit::Write(name, text) => {
                self.write(&at(name), text);
                self.unfinished.whole(at(name), now());
                self.touched.insert(at(name));
            }
            Edit::Begin(name, text) => {
                self.write(&at(name), text);
                self.unfinished.written(at(name), now());
                self.touched.insert(at(name));
            }
            Edit::Replace(name, text) => {
                let beside = at(name).with_file_name("beside");
                self.write(&beside, text);
                fs::rename(&beside, at(name)).unwrap();
                self.unfinished.whole(at(name), now());
                self.touched.extend([beside, at(name)]);
            }
            Edit::Rename(from, to) => {
                let (from, to) = (at(from), at(to));
                if from != to && fs::rename(&from, &to).is_ok() {
                    self.unfinished.whole(to.clone(), now());
                    self.unfinished.moved(&from, &to);
                    self.touched.extend([from, to]);
                }
            }
            Edit::Remove(name) => {
                let _ = fs::remove_file(at(name));
                self.unfinished.gone(&at(name));
                self.touched.insert(at(name));
            }
            Edit::Mode(name, mode) => {
                let _ = fs::set_permissions(at(name), fs::Permissions::from_mode(mode));
                self.touched.insert(at(name));
            }
        }
    }
}

/// The folder as one who looks at it knows it.
struct Looker {
    folder: Folder,
    catalog: Catalog,
}

impl Looker {
    fn new(bench: &Bench) -> Self {
        let folder = Folder::new(bench.root.clone(), nix::unistd::geteuid().as_raw());
        let mut looker = Self { folder, catalog: Catalog::new(Defaults::default()) };
        looker.look_at_everything(bench);
        looker
    }

    fn look_at_everything(&mut self, bench: &Bench) {
        let scan = self.folder.scan_finished(&bench.unfinished);
        self.catalog.take_in(scan);
    }

    /// Whether a look at what was touched was enough.
    fn glance(&mut self, bench: &Bench) -> bool {
        let glance = self.folder.glance(&bench.touched, &bench.unfinished);
        let is_enough = glance.is_some();
        glance.into_iter().for_each(|glance| self.catalog.take_in_glance(glance));
        is_enough
    }

    /// What follows, and all that is known afterwards.
    fn settle(&mut self) -> (Vec<Change>, Vec<Problem>, Watches, Vec<PathBuf>) {
        let (changes, problems) = self.catalog.settle();
        let holders = self.catalog.all().map(|(path, _)| path.to_owned());
        (changes, problems, self.catalog.watches().clone(), holders.collect())
    }

    /// The watches of all files, whatever was touched.
    fn watches(&self) -> Watches {
        let mut watches = BTreeMap::new();
        // One that is not enabled takes its name from nobody.
        let mut all: Vec<_> = self.catalog.all().map(|(_, placed)| placed).collect();
        all.sort_by_key(|placed| !placed.spec.enabled);
        for placed in all {
            watches.entry(placed.spec.name.clone()).or_insert_with(|| Arc::clone(&placed.spec));
        }
        watches
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn looks_at_what_was_touched_lead_to_the_same_as_looks_at_everything(
        steps in prop::collection::vec((prop::collection::vec(edit(), 1..5), prop::bool::weighted(0.8)), 1..12)
    ) {
        let mut bench = Bench::new();
        let (mut quick, mut thorough) = (Looker::new(&bench), Looker::new(&bench));
        for (edits, settles) in &steps {
            for edit in edits {
                bench.edit(edit);
            }
            prop_assert!(quick.glance(&bench));
            bench.touched.clear();
            thorough.look_at_everything(&bench);
            if *settles {
                prop_assert_eq!(quick.settle(), thorough.settle());
                prop_assert_eq!(&quick.watches(), quick.catalog.watches());
                prop_assert_eq!(quick.catalog.file_count(), thorough.catalog.file_count());
            }
        }
    }
}

#[test]
fn what_is_more_than_a_file_takes_a_look_at_everything() {
    type Act = fn(&Path);
    let acts: [(&str, &str, Act); 9] = [
        ("a link", "link.toml", |root| symlink("a.toml", root.join("link.toml")).unwrap()),
        ("a hard link", "b.toml", |root| fs::hard_link(root.join("a.toml"), root.join("b.toml")).unwrap()),
        ("a folder that comes", "new", |root| fs::create_dir(root.join("new")).unwrap()),
        ("a folder for a file", "a.toml", |root| {
            fs::remove_file(root.join("a.toml")).unwrap();
            fs::create_dir(root.join("a.toml")).unwrap();
        }),
        ("a folder that goes", "sub", |root| fs::remove_dir_all(root.join("sub")).unwrap()),
        ("a folder that is not safe", "sub", |root| mode(&root.join("sub"), 0o775)),
        ("a file in such a folder", "sub/a.toml", |root| mode(&root.join("sub"), 0o775)),
        ("a file in another folder of that name", "sub/deep/a.toml", |root| {
            fs::rename(root.join("sub"), root.with_file_name("away")).unwrap();
            fs::create_dir_all(root.join("sub/deep")).unwrap();
            mode(&root.join("sub"), 0o755);
            mode(&root.join("sub/deep"), 0o755);
        }),
        ("a file behind a link", "sub/deep/a.toml", |root| {
            fs::rename(root.join("sub"), root.with_file_name("away")).unwrap();
            symlink(root.with_file_name("away"), root.join("sub")).unwrap();
        }),
    ];
    for (what, touched, act) in acts {
        let mut bench = Bench::new();
        bench.edit(&Edit::Write(0, 0));
        let mut looker = Looker::new(&bench);
        assert!(looker.glance(&bench), "{what}");
        act(&bench.root);
        bench.touched = [bench.root.join(touched)].into();
        assert!(!looker.glance(&bench), "{what}");
        // Nor are the next ones enough before there was one.
        bench.touched.clear();
        assert!(!looker.glance(&bench), "{what}");
    }
}

#[test]
fn where_there_are_links_or_something_is_wrong_every_look_is_at_everything() {
    let bench = Bench::new();
    fs::create_dir(bench.root.join("bad")).unwrap();
    mode(&bench.root.join("bad"), 0o777);
    let mut looker = Looker::new(&bench);
    assert!(!looker.glance(&bench));
    mode(&bench.root.join("bad"), 0o755);
    looker.look_at_everything(&bench);
    assert!(looker.glance(&bench));
    symlink("nothing", bench.root.join("link")).unwrap();
    looker.look_at_everything(&bench);
    assert!(!looker.glance(&bench));
    fs::remove_file(bench.root.join("link")).unwrap();
    bench.write(&bench.root.join("a.toml"), 0);
    fs::hard_link(bench.root.join("a.toml"), bench.root.join("a.off")).unwrap();
    looker.look_at_everything(&bench);
    assert!(!looker.glance(&bench));
}
