//! What tells that a file is still as it was when it was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was changed this shortly before it was read may be changed again without a sign: the
/// kernel counts times in its ticks, of up to 10 ms.
const TICK: Duration = Duration::from_millis(50);

/// Which file it is, and when and how large it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    settled: bool,
}

impl Stamp {
    /// The stamp of a file that is looked at at `now`.
    pub(super) fn new(metadata: &Metadata, now: SystemTime) -> Self {
        let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
        let changed = u64::try_from(metadata.ctime()).map(|s| UNIX_EPOCH + Duration::new(s, nanos));
        // A time to come says nothing either: the clock was set back.
        let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
        Self {
            identity: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            settled: age.is_some_and(|age| age > TICK),
        }
    }

    /// Whether the file is the same as when it was read, for all that can be seen.
    pub(super) fn still_holds(&self, now: &Self) -> bool {
        self.settled && Self { settled: true, ..now.clone() } == *self
    }
}
