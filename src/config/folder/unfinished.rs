//! Which files somebody is still writing, and until when they are passed over: half a watch file can be a
//! whole one without its `uid`. Pure: fed with what inotify saw, and the time is an argument.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that is open and not written to for this long is read as it stands: it is not left unread for a
/// program that holds it open for good, nor for a close that was not seen.
pub const LONGEST: Duration = Duration::from_secs(10);

/// Of a file that was written this shortly before it may be that inotify has yet to tell, or cannot: its
/// folder was not watched yet, or it was written on another machine or through a hard link.
const FRESH: Duration = Duration::from_millis(700);

/// What was seen of files, by their physical path.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    files: BTreeMap<PathBuf, State>,
}

/// What was seen last of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was written to, for the last time `at`, and not closed. Whether it was told of as overdue before.
    Written { at: Instant, told: bool },
    /// It has not been written to for so long that it is no longer waited for.
    Overdue,
    /// Whoever had it open for writing closed it, or it was put there by a rename.
    Whole { at: Instant },
}

impl Unfinished {
    /// Bytes of the file changed at `now`, or its length.
    ///
    /// That a file was created is no such sign: a link is never closed, and an empty file has no watches.
    pub fn written(&mut self, path: PathBuf, now: Instant) {
        let told = match self.files.get(&path) {
            Some(State::Written { told, .. }) => *told,
            Some(State::Overdue) => true,
            Some(State::Whole { .. }) | None => false,
        };
        self.files.insert(path, State::Written { at: now, told });
    }

    /// The file was closed by somebody who could write it, or came by a rename.
    pub fn whole(&mut self, path: PathBuf, now: Instant) {
        self.files.insert(path, State::Whole { at: now });
    }

    /// The file is no more.
    pub fn gone(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// The file or folder that is now at `to` was at `from`: a rename does not close a file.
    pub fn moved(&mut self, from: &Path, to: &Path) {
        let from_on = self.files.range::<Path, _>((Bound::Included(from), Bound::Unbounded));
        let below = from_on.map(|(path, _)| path).take_while(|path| path.starts_with(from));
        for path in below.cloned().collect::<Vec<_>>() {
            let state = self.files.remove(&path);
            let Some((state, rest)) = state.zip(path.strip_prefix(from).ok()) else { continue };
            // `join` would end the path of a file with a slash.
            let path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            match state {
                State::Written { .. } | State::Overdue => {
                    self.files.insert(path, state);
                }
                State::Whole { .. } => {
                    self.files.entry(path).or_insert(state);
                }
            }
        }
    }

    /// When to look at the file again if it is to be passed over now. `age` is how long ago it was modified
    /// as its folder has it, if that was in the past.
    #[must_use]
    pub fn until(&self, path: &Path, age: Option<Duration>, now: Instant) -> Option<Instant> {
        let fresh = age.filter(|age| *age < FRESH);
        match self.files.get(path) {
            Some(State::Written { at, .. }) => Some(*at + LONGEST),
            Some(State::Overdue) => None,
            // What was modified after that is being written once more.
            Some(State::Whole { at }) => {
                fresh.filter(|age| now.saturating_duration_since(*at) > *age).map(|age| now + (FRESH - age))
            }
            None => fresh.map(|age| now + (FRESH - age)),
        }
    }

    /// Ends the wait for those that have not been written to for [`LONGEST`]. Returns those of which that
    /// was not said since they were opened.
    #[must_use]
    pub fn overdue(&mut self, now: Instant) -> Vec<PathBuf> {
        let mut overdue = Vec::new();
        self.files.retain(|path, state| match *state {
            State::Written { at, told } => {
                if now.saturating_duration_since(at) >= LONGEST {
                    *state = State::Overdue;
                    overdue.extend((!told).then(|| path.clone()));
                }
                true
            }
            State::Overdue => true,
            State::Whole { at } => now.saturating_duration_since(at) < FRESH,
        });
        overdue
    }

    /// Forgets the files of which `matters` is false.
    pub fn keep(&mut self, matters: impl Fn(&Path) -> bool) {
        self.files.retain(|path, _| matters(path));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OLD: Option<Duration> = Some(Duration::from_secs(60));

    fn a() -> &'static Path {
        Path::new("/d/a.toml")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_file_is_passed_over_from_its_first_write_until_it_is_closed() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        assert_eq!(files.until(a(), OLD, start), None);
        files.written(a().into(), start);
        assert_eq!(files.until(a(), Some(ms(5000)), start + ms(5000)), Some(start + LONGEST));
        files.written(a().into(), start + ms(6000));
        assert!(files.overdue(start + LONGEST).is_empty());
        assert_eq!(files.until(a(), OLD, start + LONGEST), Some(start + ms(6000) + LONGEST));
        assert_eq!(files.until(Path::new("/d/b.toml"), OLD, start), None);
        files.whole(a().into(), start + ms(11_000));
        assert_eq!(files.until(a(), Some(ms(100)), start + ms(11_050)), None);
        files.written(a().into(), start + ms(12_000));
        files.gone(a());
        assert_eq!(files.until(a(), OLD, start + ms(12_000)), None);
    }

    #[test]
    fn a_file_that_is_kept_open_is_read_after_a_while_and_told_of_once() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        files.written(a().into(), start);
        assert!(files.overdue(start + LONGEST - ms(1)).is_empty());
        assert_eq!(files.overdue(start + LONGEST), [a()]);
        assert_eq!(files.until(a(), OLD, start + LONGEST), None);
        assert!(files.overdue(start + LONGEST).is_empty());
        // It is written on: once more it is waited for, and nothing is said.
        let later = start + LONGEST + ms(5000);
        files.written(a().into(), later);
        assert_eq!(files.until(a(), Some(ms(0)), later), Some(later + LONGEST));
        assert!(files.overdue(later + LONGEST).is_empty());
        assert_eq!(files.until(a(), OLD, later + LONGEST), None);
        // Closed, and opened by another.
        files.whole(a().into(), later + LONGEST);
        files.written(a().into(), later + LONGEST);
        assert_eq!(files.overdue(later + LONGEST * 2), [a()]);
    }

    #[test]
    fn a_file_of_which_nothing_was_seen_is_passed_over_for_less_than_a_second() {
        let (files, now) = (Unfinished::default(), Instant::now());
        assert_eq!(files.until(a(), Some(ms(0)), now), Some(now + ms(700)));
        assert_eq!(files.until(a(), Some(ms(600)), now), Some(now + ms(100)));
        assert_eq!(files.until(a(), Some(ms(700)), now), None);
        // A time to come says nothing.
        assert_eq!(files.until(a(), None, now), None);
    }

    #[test]
    fn a_file_that_was_modified_after_its_close_was_seen_is_being_written_again() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        files.whole(a().into(), start);
        let now = start + ms(100);
        assert_eq!(files.until(a(), Some(ms(101)), now), None);
        assert_eq!(files.until(a(), Some(ms(40)), now), Some(now + ms(660)));
        // What is known of it matters no longer.
        assert!(files.overdue(start + FRESH).is_empty());
        assert!(files.files.is_empty());
    }

    #[test]
    fn a_file_that_is_renamed_while_it_is_written_is_still_being_written() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        let draft = Path::new("/d/draft");
        files.written(draft.into(), start);
        files.whole(a().into(), start);
        files.moved(draft, a());
        assert_eq!(files.until(a(), Some(ms(1)), start), Some(start + LONGEST));
        // And one that was closed first is whole, also in place of one that is being written.
        files.written(draft.into(), start);
        files.whole(draft.into(), start);
        files.whole(a().into(), start);
        files.moved(draft, a());
        assert_eq!(files.until(a(), Some(ms(1)), start), None);
    }

    #[test]
    fn what_is_known_of_the_files_of_a_folder_goes_with_it() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        let (open, closed) = (Path::new("/d/x/y/open.toml"), Path::new("/d/x/closed.toml"));
        files.written(open.into(), start);
        files.whole(closed.into(), start);
        files.whole("/d/z".into(), start);
        files.moved(Path::new("/d/x"), Path::new("/d/z"));
        let until = |path| files.until(Path::new(path), Some(ms(1)), start);
        assert_eq!(until("/d/z/y/open.toml"), Some(start + LONGEST));
        assert_eq!(until("/d/z/closed.toml"), None);
        assert!(until("/d/x/closed.toml").is_some());
    }

    #[test]
    fn what_does_not_matter_is_forgotten() {
        let (mut files, start) = (Unfinished::default(), Instant::now());
        files.written(a().into(), start);
        files.written("/tmp/x".into(), start);
        files.keep(|path| path.starts_with("/d"));
        assert_eq!(files.files.keys().collect::<Vec<_>>(), [a()]);
    }
}
