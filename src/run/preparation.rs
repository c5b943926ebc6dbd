//! What is between an order and the minder: who the run is run as is looked up, on a thread that may block, one order
//! of a watch at a time so that none overtakes another.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::config::spec::{GroupRef, UserRef, WatchName, WatchSpec};
use crate::run::asked::Asked;
use crate::run::identity::{Account, IdentityError};
use crate::run::protocol::{About, Request, Start};
use crate::schedule::order::{Run, RunId};

/// Finds out who is meant; may block.
pub type LookUp = fn(Option<&UserRef>, Option<&GroupRef>) -> Result<Account, IdentityError>;

/// Makes of orders what the minder needs.
#[derive(Debug)]
pub(super) struct Preparation {
    look_up: LookUp,
    lang: Option<String>,
    /// The daemon's own, for the runs that ask for no other: nothing is looked up for them.
    own_account: Account,
    looking: JoinSet<Prepared>,
    /// What waits for the one of its watch that is looked up now.
    lines: HashMap<WatchName, VecDeque<Run>>,
    /// What was asked of each run that is here.
    asked: HashMap<RunId, Asked>,
}

/// An order on its way to the minder.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) run: RunId,
    pub(super) about: About,
    pub(super) watch: WatchName,
    pub(super) contents: Bytes,
    /// When the scheduler was told of the update.
    pub(super) seen: Instant,
    pub(super) asked: Asked,
    /// Or why it cannot be.
    pub(super) start: Result<Box<Start>, String>,
}

impl Preparation {
    /// With nothing to do yet. `lang` is what children get as `LANG`.
    ///
    /// # Errors
    /// When it cannot be found out who the daemon runs as.
    pub(super) async fn new(look_up: LookUp, lang: Option<String>) -> io::Result<Self> {
        let own_account = tokio::task::spawn_blocking(move || look_up(None, None)).await;
        let own_account = own_account.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let (looking, lines, asked) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Ok(Self { look_up, lang, own_account, looking, lines, asked })
    }

    /// Prepares a run; `None`: `next` will have it.
    pub(super) fn take(&mut self, run: Run) -> Option<Prepared> {
        let has_line = self.lines.contains_key(&run.spec.name);
        if !has_line && run.spec.uid.is_none() && run.spec.gid.is_none() {
            return Some(prepare(run, |_| Ok(self.own_account.clone()), self.lang.as_deref()));
        }
        self.asked.insert(run.id, Asked::default());
        match self.lines.get_mut(&run.spec.name) {
            Some(line) => line.push_back(run),
            None => {
                self.lines.insert(run.spec.name.clone(), VecDeque::new());
                self.look_up(run);
            }
        }
        None
    }

    /// Something is asked of a run that may be here.
    pub(super) fn hold(&mut self, run: RunId, request: Request) {
        if let Some(asked) = self.asked.get_mut(&run) {
            asked.hold(request);
        }
    }

    /// The next that had to be looked up; `None`: there is none. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Prepared> {
        // No panic gets this far: `prepare` makes an answer of it. And none is ended early.
        let mut prepared = self.looking.join_next().await?.ok()?;
        match self.lines.get_mut(&prepared.watch).and_then(VecDeque::pop_front) {
            Some(next) => self.look_up(next),
            None => drop(self.lines.remove(&prepared.watch)),
        }
        prepared.asked = self.asked.remove(&prepared.run).unwrap_or_default();
        Some(prepared)
    }

    fn look_up(&mut self, run: Run) {
        let (look_up, lang) = (self.look_up, self.lang.clone());
        self.looking.spawn_blocking(move || {
            prepare(run, |spec| look_up(spec.uid.as_ref(), spec.gid.as_ref()), lang.as_deref())
        });
    }
}

/// Whatever becomes of it: what comes after it in the line of its watch waits for an answer.
fn prepare(
    run: Run,
    account: impl FnOnce(&WatchSpec) -> Result<Account, IdentityError>,
    lang: Option<&str>,
) -> Prepared {
    let start = catch_unwind(AssertUnwindSafe(|| match account(&run.spec) {
        Ok(account) => Ok(Box::new(run.start(account, lang))),
        Err(error) => Err(error.to_string()),
    }));
    let start = start.unwrap_or_else(|_| Err("preparing it has panicked".to_owned()));
    let (about, watch) = (run.about(), run.spec.name.clone());
    let (contents, asked) = (run.update.contents, Asked::default());
    Prepared { run: run.id, about, watch, contents, seen: run.seen, asked, start }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use crate::run::identity::look_up;

    /// Stands for a directory that takes its time: the user's name is that of a FIFO, and once something was written
    /// there, it is the daemon's own.
    pub fn look_up_by_fifo(uid: Option<&UserRef>, gid: Option<&GroupRef>) -> Result<Account, IdentityError> {
        match uid {
            Some(UserRef::Name(path)) => drop(std::fs::read(path).unwrap()),
            Some(UserRef::Id(_)) | None => {}
        }
        look_up(None, gid)
    }
}
