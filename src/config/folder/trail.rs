//! Where a path leads, link by link: a change of any of these links changes what is at the end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows, `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// The way from a path to what it stands for.
#[derive(Debug)]
pub(super) struct Trail {
    /// What is at the end, free of links.
    pub(super) target: io::Result<PathBuf>,
    /// Folder and name of each link on the way, and of the end or of what is missing.
    pub(super) places: Vec<(PathBuf, OsString)>,
    /// The links.
    pub(super) links: Vec<PathBuf>,
    /// The folders that names were looked up in once the first link had been followed.
    pub(super) folders: Vec<PathBuf>,
}

impl Trail {
    /// Whether `path`, which was followed, leads through no link.
    pub(super) fn is_only(&self, path: &Path) -> bool {
        self.links.is_empty() && self.target.as_ref().is_ok_and(|target| target == path)
    }
}

/// Follows `path`. A path without a link in its last part has itself for a target.
pub(super) fn follow(path: &Path) -> Trail {
    let mut trail =
        Trail { target: Ok(PathBuf::new()), places: Vec::new(), links: Vec::new(), folders: Vec::new() };
    trail.target = walk(path, &mut trail);
    trail
}

fn walk(path: &Path, trail: &mut Trail) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut todo: VecDeque<OsString> = VecDeque::new();
    let mut at = PathBuf::from("/");
    prepend(&absolute, &mut todo);
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        if !trail.links.is_empty() && trail.folders.last() != Some(&at) {
            trail.folders.push(at.clone());
        }
        let next = at.join(&name);
        let place = || (at.clone(), name.clone());
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) => {
                trail.places.push(place());
                return Err(error);
            }
        };
        if metadata.is_symlink() {
            trail.places.push(place());
            if trail.links.len() >= MOST_LINKS {
                return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            trail.links.push(next);
            prepend(&target, &mut todo);
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
        } else {
            if todo.is_empty() {
                trail.places.push(place());
            }
            at = next;
        }
    }
    Ok(at)
}

/// Puts the names of `path` before those that are still to be looked up.
fn prepend(path: &Path, todo: &mut VecDeque<OsString>) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
