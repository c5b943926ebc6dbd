//! What the daemon's parts see, told as events: who sees it does not know that there are any.

use std::collections::HashSet;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::loader::Reload;
use crate::record::events::{Teller, What};
use crate::schedule::scheduler::Fate;
use crate::watch::connection::Connection;

/// What is wrong with files, as it was told last.
#[derive(Debug, Default)]
pub struct Problems {
    told: HashSet<String>,
}

impl Problems {
    /// Tells what a look at the config folder has changed, and what is wrong that was not before.
    pub fn tell(&mut self, reload: &Reload, teller: &Teller) {
        let summary = reload.summary();
        summary.removed.into_iter().for_each(|watch| teller.tell(What::WatchRemoved { watch }));
        summary.redefined.into_iter().for_each(|watch| teller.tell(What::WatchRedefined { watch }));
        summary.added.into_iter().for_each(|watch| teller.tell(What::WatchAdded { watch }));
        let mut wrong = HashSet::new();
        for problem in summary.problems {
            let name = problem.to_string();
            if !self.told.contains(&name) {
                let place = problem.place.as_deref();
                teller.tell(What::FileProblem {
                    line: place.map(|place| place.line),
                    column: place.map(|place| place.column),
                    file: problem.file,
                    message: problem.message,
                    help: problem.help,
                });
            }
            wrong.insert(name);
        }
        self.told = wrong;
    }
}

/// Tells of connections that are made and lost, until `stop`.
pub async fn tell_connection(
    mut connection: watch::Receiver<Connection>,
    teller: Teller,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = connection.changed() => if changed.is_err() { return },
        }
        let now = *connection.borrow_and_update();
        match now {
            Connection::Connecting { .. } => {}
            Connection::Connected { session, .. } => {
                teller.tell(What::Connected { session: format!("{session:#x}") });
            }
            Connection::Disconnected { .. } => teller.tell(What::Disconnected),
        }
    }
}

/// Tells what becomes of updates, until nobody says.
pub async fn tell_fates(mut fates: mpsc::Receiver<Fate>, teller: Teller) {
    while let Some(Fate { watch, event: update, mzxid, is_accepted }) = fates.recv().await {
        teller.tell(match is_accepted {
            Ok(instead_of_mzxid) => What::UpdateAccepted { watch, update, mzxid, instead_of_mzxid },
            Err(why) => What::UpdateDropped { watch, update, mzxid, why: why.to_string() },
        });
    }
}
