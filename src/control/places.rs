//! What somebody is served who connects, and how many may be there at once.

use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::Problem;
use super::route::Route;
use super::survey;

/// How many connections there may be at once. More are let in as others go.
pub const CONNECTIONS: usize = 256;

/// How many of them only root has, which can mend what others do.
pub const ROOTS: usize = 16;

/// How many may follow or wait for a run at once, root's and those of all others each, so that there are places left for
/// who wants an answer now.
pub const LINGERING: usize = 64;

/// How many may be told at once that they are not served. More are told nothing.
pub const REFUSALS: usize = 16;

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Everything, to somebody who may use the socket.
    Everything {
        /// Who that is.
        by: Uid,
    },
    /// What only tells how the daemon does, to whoever asks, one request to a connection.
    Readings,
    /// Nothing but why not.
    Nothing(Refusal),
}

/// Why somebody is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// They may not use the socket.
    NotAllowed,
    /// There are as many connections as may be.
    Full,
}

impl Refusal {
    /// The same, as it is answered.
    #[must_use]
    pub fn problem(self) -> Problem {
        match self {
            Self::NotAllowed => Problem::new(403, "not allowed", "the socket is not yours to use"),
            Self::Full => Problem::new(
                503,
                "too many connections",
                format!("there are {} connections already; try again", CONNECTIONS - ROOTS),
            ),
        }
    }
}

impl Offer {
    /// Whether this is among it.
    #[must_use]
    pub fn has(self, route: &Route) -> bool {
        matches!(self, Self::Everything { .. })
            || matches!(route, Route::Metrics | Route::Live | Route::Ready)
    }

    /// Who asks for something to be done.
    ///
    /// # Errors
    /// That nothing can be done from there.
    pub fn by(self) -> Result<Uid, Problem> {
        match self {
            Self::Everything { by } => Ok(by),
            Self::Readings | Self::Nothing(_) => {
                Err(Problem::new(403, "not allowed", "nothing can be changed from here"))
            }
        }
    }

    /// How old metrics may be: those who may change something want to see that it is changed.
    #[must_use]
    pub fn age(self) -> Duration {
        match self {
            Self::Readings => survey::KEPT,
            Self::Everything { .. } | Self::Nothing(_) => Duration::ZERO,
        }
    }
}

/// The places for those who connect.
#[derive(Debug)]
pub struct Places {
    /// One for each connection, taken before `accept`.
    pub all: Arc<Semaphore>,
    /// Those that are not root's alone.
    others: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    /// For those of them who stay.
    pub lingering: Lingering,
}

/// The places for those who follow or wait.
#[derive(Debug, Clone)]
pub struct Lingering {
    root: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let some = |count| Arc::new(Semaphore::new(count));
        Self {
            all: some(CONNECTIONS),
            others: some(CONNECTIONS - ROOTS),
            refused: some(REFUSALS),
            lingering: Lingering { root: some(LINGERING), others: some(LINGERING) },
        }
    }
}

impl Places {
    /// What somebody gets who has come to this place, and what they hold meanwhile; `None`: nothing at all.
    pub fn seat(
        &self,
        place: OwnedSemaphorePermit,
        offer: Offer,
    ) -> Option<(Offer, Vec<OwnedSemaphorePermit>)> {
        let refuse = |refusal| {
            let place = Arc::clone(&self.refused).try_acquire_owned().ok()?;
            Some((Offer::Nothing(refusal), vec![place]))
        };
        match offer {
            Offer::Everything { by } if !by.is_root() => match Arc::clone(&self.others).try_acquire_owned() {
                Ok(other) => Some((offer, vec![place, other])),
                Err(_) => refuse(Refusal::Full),
            },
            Offer::Everything { .. } | Offer::Readings => Some((offer, vec![place])),
            Offer::Nothing(refusal) => refuse(refusal),
        }
    }
}

impl Lingering {
    /// A place for who follows or waits.
    ///
    /// # Errors
    /// That there is none.
    pub fn place(&self, by: Uid) -> Result<OwnedSemaphorePermit, Problem> {
        let places = if by.is_root() { &self.root } else { &self.others };
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            let detail = format!("{LINGERING} follow or wait already; try again");
            Problem::new(503, "too many who wait", detail)
        })
    }
}
