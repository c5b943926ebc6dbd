//! Texts for the parser: what it says of broken ones, and that no text makes it fail.
//!
//! A binary of its own, since to try texts for a minute takes a processor from whatever runs beside it.
//!
//! `broken/` has files that are wrong, each with what is said of it, and `good/` files that are right. Both are
//! what texts are made of at random.

mod broken;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder beside this one, with the bytes in each, in the order of their names.
fn corpus(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/watch_files").join(folder);
    let entries = fs::read_dir(&folder).expect("a folder of watch files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a watch file"))).collect()
}

/// What a file is called in messages, and what names of watches are made of.
fn name(path: &Path) -> (PathBuf, String) {
    let name = PathBuf::from(path.file_name().expect("a name"));
    let base = twitcher::config::parse::base_name(&name);
    (name, base)
}
