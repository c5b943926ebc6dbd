//! What is between an order and the minder: who the run is run as is looked up, on a thread that may block, one order
//! of a watch at a time so that none overtakes another.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::error;

use crate::config::spec::WatchName;
use crate::run::identity::{Account, IdentityError, look_up};
use crate::run::protocol::{About, Start};
use crate::schedule::order::{Run, RunId};

/// Makes of orders what the minder needs.
#[derive(Debug)]
pub(super) struct Preparation {
    lang: Option<String>,
    /// The daemon's own, for the runs that ask for no other: nothing is looked up for them.
    own_account: Account,
    looking: JoinSet<Prepared>,
    /// What waits for the one of its watch that is looked up now.
    lines: HashMap<WatchName, VecDeque<Run>>,
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
    /// Or why it cannot be.
    pub(super) start: Result<Box<Start>, String>,
}

impl Preparation {
    /// With nothing to do yet. `lang` is what children get as `LANG`.
    ///
    /// # Errors
    /// When it cannot be found out who the daemon runs as.
    pub(super) async fn new(lang: Option<String>) -> io::Result<Self> {
        let own_account =
            tokio::task::spawn_blocking(|| look_up(None, None)).await.map_err(io::Error::other)?;
        let own_account = own_account.map_err(io::Error::other)?;
        Ok(Self { lang, own_account, looking: JoinSet::new(), lines: HashMap::new() })
    }

    /// Prepares a run; `None`: `next` will have it.
    pub(super) fn take(&mut self, run: Run) -> Option<Prepared> {
        if let Some(line) = self.lines.get_mut(&run.spec.name) {
            line.push_back(run);
        } else if run.spec.uid.is_none() && run.spec.gid.is_none() {
            return Some(prepare(run, Ok(self.own_account.clone()), self.lang.as_deref()));
        } else {
            self.lines.insert(run.spec.name.clone(), VecDeque::new());
            self.look_up(run);
        }
        None
    }

    /// The next that had to be looked up; `None`: there is none. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Prepared> {
        let prepared = match self.looking.join_next().await? {
            Ok(prepared) => prepared,
            Err(error) => {
                error!("looking up who to run as failed: {error}");
                return None;
            }
        };
        match self.lines.get_mut(&prepared.watch).and_then(VecDeque::pop_front) {
            Some(next) => self.look_up(next),
            None => drop(self.lines.remove(&prepared.watch)),
        }
        Some(prepared)
    }

    fn look_up(&mut self, run: Run) {
        let lang = self.lang.clone();
        self.looking.spawn_blocking(move || {
            let account = look_up(run.spec.uid.as_ref(), run.spec.gid.as_ref());
            prepare(run, account, lang.as_deref())
        });
    }
}

fn prepare(run: Run, account: Result<Account, IdentityError>, lang: Option<&str>) -> Prepared {
    let start = account.map(|account| Box::new(run.start(account, lang))).map_err(|error| error.to_string());
    let (about, watch) = (run.about(), run.spec.name.clone());
    Prepared { run: run.id, about, watch, contents: run.update.contents, seen: run.seen, start }
}
