//! The words that stand in a file for the values of an enum: one table for each, read by what parses
//! and by what prints.

use super::spec::{OnDelete, OnFailure, RunMode, WatchType};

/// A value, and the word for it.
pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const WATCH_TYPE: Words<WatchType> =
    &[("data", WatchType::Data), ("children", WatchType::Children), ("newest-child", WatchType::NewestChild)];
pub(super) const ON_DELETE: Words<OnDelete> = &[("ignore", OnDelete::Ignore), ("run", OnDelete::Run)];
pub(super) const ON_FAILURE: Words<OnFailure> = &[("keep", OnFailure::Keep), ("stop", OnFailure::Stop)];

/// A run mode without what only one of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Queue,
    Discard,
    Parallel,
}

pub(super) const RUN_MODE: Words<Mode> =
    &[("QUEUE", Mode::Queue), ("DISCARD", Mode::Discard), ("PARALLEL", Mode::Parallel)];

impl WatchType {
    /// The word for it in a watch file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word(WATCH_TYPE, &self)
    }
}

impl RunMode {
    /// The word for it in a watch file.
    #[must_use]
    pub fn word(self) -> &'static str {
        let mode = match self {
            Self::Queue { .. } => Mode::Queue,
            Self::Discard => Mode::Discard,
            Self::Parallel { .. } => Mode::Parallel,
        };
        word(RUN_MODE, &mode)
    }
}

/// The word for `value`.
pub(super) fn word<T: PartialEq>(words: Words<T>, value: &T) -> &'static str {
    words.iter().find(|(_, v)| v == value).map_or("", |(word, _)| word)
}

/// `"a", "b" or "c"`.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
