//! How things stand with ZooKeeper, published and said: a line in the log when that changes, and none
//! while it stays as it is. Asks nothing of ZooKeeper itself.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use tokio::sync::watch;

use super::ensemble::Ensemble;

/// How things stand with ZooKeeper; for `status` and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// There was no connection yet.
    Connecting {
        /// Since when it is tried.
        since: Timestamp,
    },
    /// There is one.
    Connected {
        /// Since when.
        since: Timestamp,
        /// The session's id, which the server's log has in hexadecimal.
        session: i64,
    },
    /// There was one. The session may be alive still, or another one is being made.
    Disconnected {
        /// Since when.
        since: Timestamp,
    },
}

/// How often there was another connection since the daemon started; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconnects {
    /// How often there was one again after it was lost, be it of the same session or of a new one.
    pub connections: u64,
    /// How often a new session took the place of one that was over.
    pub sessions: u64,
}

/// What keeps a session from being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No server answers, or none is ready to serve.
    Unreachable,
    /// The credentials are refused, or asked for where there are none.
    Refused,
    /// The files of credentials or certificates cannot be used.
    Files,
    /// The connect string is not one.
    BadServers,
}

/// Publishes the connection's state, and logs what is new in it.
#[derive(Debug)]
pub struct Announcer {
    servers: String,
    credentials: Option<PathBuf>,
    connection: watch::Sender<Connection>,
    trouble: watch::Sender<Option<String>>,
    reconnects: watch::Sender<Reconnects>,
    /// The session of the last connection, zero before the first.
    session: i64,
    /// What was said since things were well. Of an ensemble whose servers each have a trouble of their own, each is
    /// said once.
    said: BTreeSet<Trouble>,
}

impl Announcer {
    /// Says nothing yet. `connection` should say `Connecting`.
    #[must_use]
    pub fn new(
        ensemble: &Ensemble,
        connection: watch::Sender<Connection>,
        reconnects: watch::Sender<Reconnects>,
        trouble: watch::Sender<Option<String>>,
    ) -> Self {
        let Ensemble { servers, credentials, tls: _ } = ensemble.clone();
        Self { servers, credentials, connection, reconnects, trouble, session: 0, said: BTreeSet::new() }
    }

    /// A session could not be made; it is tried again.
    pub fn failed(&mut self, trouble: Trouble, why: &str) {
        let reason = match (trouble, &self.credentials) {
            (Trouble::Refused, Some(path)) => format!("it refuses the credentials in {}", path.display()),
            (Trouble::Refused, None) => "it asks for credentials, and no credentials_file is set".to_owned(),
            (Trouble::Unreachable | Trouble::Files | Trouble::BadServers, _) => why.to_owned(),
        };
        self.trouble.send_replace(Some(reason));
        let servers = &self.servers;
        if !self.said.insert(trouble) {
            tracing::debug!("no session with ZooKeeper at '{servers}': {why}");
            return;
        }
        match trouble {
            Trouble::Unreachable => {
                tracing::warn!("cannot reach ZooKeeper at '{servers}': {why}; trying until it answers");
            }
            Trouble::Refused => match &self.credentials {
                Some(path) => tracing::error!(
                    "ZooKeeper at '{servers}' refuses the credentials in {}; trying until it takes them",
                    path.display()
                ),
                None => tracing::error!(
                    "ZooKeeper at '{servers}' asks for credentials, and no credentials_file is set; trying until it takes none"
                ),
            },
            Trouble::Files => {
                tracing::error!(
                    "no session with ZooKeeper at '{servers}': {why}; trying until it can be used"
                );
            }
            Trouble::BadServers => {
                tracing::error!(
                    "'{servers}' is not a list of ZooKeeper servers: {why}; write 'host:port,host:port/chroot'"
                );
            }
        }
    }

    /// There is a new session.
    pub fn opened(&mut self, session: i64) {
        let servers = &self.servers;
        match self.session {
            0 => tracing::info!("connected to ZooKeeper at '{servers}', session {session:#x}"),
            _ => {
                tracing::info!("connected to ZooKeeper again, with a new session, {session:#x}");
                self.reconnects.send_modify(|reconnects| {
                    reconnects.connections += 1;
                    reconnects.sessions += 1;
                });
            }
        }
        self.session = session;
        self.well();
        self.connection.send_replace(Connection::Connected { since: Timestamp::now(), session });
    }

    /// The connection went, and the library tries to make another for the same session.
    pub fn disconnected(&mut self) {
        if self.is_connected() {
            tracing::warn!("lost the connection to ZooKeeper at '{}'; trying to get it back", self.servers);
            // Until it is back there is nothing to add: that no server answers is the same news.
            self.said = BTreeSet::from([Trouble::Unreachable]);
            self.connection.send_replace(Connection::Disconnected { since: Timestamp::now() });
        }
    }

    /// There is a connection, of the session that there was.
    pub fn connected(&mut self) {
        if !self.is_connected() {
            tracing::info!("connected to ZooKeeper again, session {:#x} lived on", self.session);
            self.well();
            self.reconnects.send_modify(|reconnects| reconnects.connections += 1);
            let session = self.session;
            self.connection.send_replace(Connection::Connected { since: Timestamp::now(), session });
        }
    }

    /// The session is over, and another one will be made.
    pub fn ended(&mut self, trouble: Option<Trouble>) {
        self.disconnected();
        tracing::debug!("session {:#x} is over", self.session);
        if let Some(trouble) = trouble {
            self.failed(trouble, "the session was ended");
        }
    }

    fn well(&mut self) {
        self.said.clear();
        self.trouble.send_replace(None);
    }

    fn is_connected(&self) -> bool {
        matches!(*self.connection.borrow(), Connection::Connected { .. })
    }
}
