//! The one place where a test waits.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long a thing that must happen may take. Far beyond what it takes on a slow machine: what a test
/// asserts is the order of things, never their speed.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// What a look yields: what was looked for, or what there is instead.
pub trait Look {
    type Found;
    type Instead: Debug;

    fn taken(self) -> Result<Self::Found, Self::Instead>;
}

impl<T, S: Debug> Look for Result<T, S> {
    type Found = T;
    type Instead = S;

    fn taken(self) -> Self {
        self
    }
}

impl<T> Look for Option<T> {
    type Found = T;
    type Instead = &'static str;

    fn taken(self) -> Result<T, &'static str> {
        self.ok_or("nothing")
    }
}

impl Look for bool {
    type Found = ();
    type Instead = &'static str;

    fn taken(self) -> Result<(), &'static str> {
        self.then_some(()).ok_or("no such thing")
    }
}

/// Looks again and again until `look` finds what it looks for, and returns it.
///
/// # Panics
///
/// When it was not there at the deadline: with what was waited for, and what there was instead.
#[track_caller]
pub fn eventually<L: Look>(
    deadline: Duration,
    what: impl AsRef<str>,
    mut look: impl FnMut() -> L,
) -> L::Found {
    let end = Instant::now() + deadline;
    loop {
        match look().taken() {
            Ok(found) => return found,
            Err(instead) if Instant::now() >= end => {
                panic!("waited {deadline:?} for {}; there is {instead:#?}", what.as_ref())
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Looks again and again until it is so, and says whether it was before the deadline: for what must not
/// panic, because it tidies up.
pub fn within(deadline: Duration, mut look: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if look() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}
