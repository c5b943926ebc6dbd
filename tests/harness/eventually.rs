//! The one place where a test waits.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long a thing that must happen may take. Far beyond what it takes on a slow machine: what a test
/// asserts is the order of things, never their speed.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// Looks again and again until `look` finds what it looks for, and returns it.
///
/// # Panics
///
/// When it was not there at the deadline: with what was waited for, and what was there instead.
#[track_caller]
pub fn eventually<T, S: Debug>(
    deadline: Duration,
    what: impl AsRef<str>,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) if Instant::now() >= end => {
                panic!("waited {deadline:?} for {}; there is {instead:#?}", what.as_ref())
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}
