//! One request at a time, for the command line: a session that is made for it and closed after it, and
//! never outlasts the time it is given. Watches nothing.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};
use zookeeper_client::{Acls, CreateMode, Error as Zk, Stat};

use super::backoff::{Backoff, random};
use super::ensemble::{Ensemble, NotConnected};
use super::failure::Failure;
use super::session;
use super::update::Version;
use crate::config::spec::ZnodePath;

/// The most that is sent as a znode's contents, in bytes: one less than a mebibyte, the most that a server
/// takes in one request as it comes (`jute.maxbuffer` in ZooKeeper's administrator's guide).
///
/// A request holds the path and 20 bytes more, 47 when it makes the znode, so that a server with that limit
/// refuses a little less already, by dropping the connection. One with a higher limit takes it.
pub const MOST_CONTENTS: usize = 0x000f_ffff;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };

/// A session for a few requests, all of them together within the time that it was given.
#[derive(Debug)]
pub struct Client {
    inner: zookeeper_client::Client,
    ensemble: Ensemble,
    time: Duration,
    deadline: Instant,
}

impl Client {
    /// Makes a session. Tries until `time` is over, since a server that restarts, or an ensemble that
    /// elects, is back within it; the requests after it have what is left of it.
    ///
    /// # Errors
    ///
    /// `Unreachable`, or at once `Files`, `BadServers` and `Refused`.
    pub async fn connect(ensemble: &Ensemble, time: Duration) -> Result<Self, Failure> {
        let deadline = Instant::now() + time;
        // Two fifths of it are what the library gives each server to answer.
        let session_timeout = time.clamp(SESSION_TIMEOUTS.0, SESSION_TIMEOUTS.1);
        let servers = ensemble.servers.clone();
        let mut why = ensemble.explain(&Zk::NoHosts);
        let mut failures = 0;
        loop {
            let connector = zookeeper_client::Client::connector().with_session_timeout(session_timeout);
            let error = match timeout_at(deadline, ensemble.connect(connector.with_fail_eagerly())).await {
                Ok(Ok(inner)) => {
                    return Ok(Self { inner, ensemble: ensemble.clone(), time, deadline });
                }
                Ok(Err(NotConnected::Files(why))) => return Err(Failure::Files { why }),
                Ok(Err(NotConnected::Zk(error))) => error,
                Err(_) => return Err(unreachable(&servers, time, why)),
            };
            match error {
                Zk::BadArguments(_) => return Err(Failure::BadServers { servers, why: error.to_string() }),
                Zk::AuthFailed => return Err(Failure::Refused { servers }),
                Zk::NoHosts => why = ensemble.explain(&error),
                other => why = other.to_string(),
            }
            let next = Instant::now() + BACKOFF.delay(failures, random());
            if next >= deadline {
                return Err(unreachable(&servers, time, why));
            }
            sleep_until(next).await;
            failures += 1;
        }
    }

    /// Reads a znode, not from before this call: the server catches up with its leader first.
    ///
    /// # Errors
    ///
    /// `Missing`, `Denied`, and those of ZooKeeper itself.
    pub async fn get(&self, znode: &ZnodePath) -> Result<(Bytes, Version), Failure> {
        let read = async || {
            self.inner.sync("/").await?;
            self.inner.get_data(znode.as_str()).await
        };
        let (contents, stat) = self.until_answered(znode, 0, read).await?;
        let version = version_of(&stat);
        Ok((Bytes::from(contents), version))
    }

    /// The names of a znode's children, sorted, not from before this call.
    ///
    /// # Errors
    ///
    /// `Missing`, `Denied`, and those of ZooKeeper itself.
    pub async fn children(&self, znode: &ZnodePath) -> Result<Vec<String>, Failure> {
        let read = async || {
            self.inner.sync("/").await?;
            self.inner.list_children(znode.as_str()).await
        };
        let mut names = self.until_answered(znode, 0, read).await?;
        names.sort();
        Ok(names)
    }

    /// Deletes a znode. Should the connection go before the answer comes, that it is missing when it is asked again
    /// is what was wanted.
    ///
    /// # Errors
    ///
    /// `Missing`, `HasChildren`, `Denied`, and those of ZooKeeper itself.
    pub async fn delete(&self, znode: &ZnodePath) -> Result<(), Failure> {
        let asked = AtomicBool::new(false);
        let delete = async || match self.inner.delete(znode.as_str(), None).await {
            Err(Zk::NoNode) if asked.load(Ordering::Relaxed) => Ok(()),
            answer => {
                asked.store(true, Ordering::Relaxed);
                answer
            }
        };
        self.until_answered(znode, 0, delete).await
    }

    /// Writes a znode, whatever it held. Should the connection go before the answer comes, it is written
    /// again: an update too many is better than none.
    ///
    /// # Errors
    ///
    /// `TooLong`, `Missing`, `Denied`, and those of ZooKeeper itself.
    pub async fn set(&self, znode: &ZnodePath, contents: &[u8]) -> Result<Version, Failure> {
        fits(znode, contents)?;
        let request = SET_BYTES + self.path_bytes(znode) + contents.len();
        let write = async || self.inner.set_data(znode.as_str(), contents, None).await;
        let stat = self
            .until_answered(znode, request, write)
            .await
            .map_err(|failure| measured(failure, contents))?;
        Ok(version_of(&stat))
    }

    /// Writes a znode, and where it is missing makes it, persistent and open to everyone, and what is
    /// missing above it. Others may make or delete the same meanwhile.
    ///
    /// # Errors
    ///
    /// `TooLong`, `Denied`, and those of ZooKeeper itself; `Missing` only if the chroot is.
    pub async fn set_or_create(&self, znode: &ZnodePath, contents: &[u8]) -> Result<Version, Failure> {
        loop {
            match self.set(znode, contents).await {
                Err(Failure::Missing { .. }) => {}
                other => return other,
            }
            for above in znode.ancestors() {
                self.create(znode, above, &[]).await?;
            }
            if let Some(version) = self.create(znode, znode.as_str(), contents).await? {
                return Ok(version);
            }
        }
    }

    /// Closes the session, so that the server drops it at once.
    pub async fn close(self) {
        session::close(self.inner).await;
    }

    /// `None`: it was there already.
    async fn create(
        &self,
        asked: &ZnodePath,
        znode: &str,
        contents: &[u8],
    ) -> Result<Option<Version>, Failure> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let request = CREATE_BYTES + self.path_bytes(asked) + contents.len();
        let create = async || match self.inner.create(znode, contents, &options).await {
            Ok((stat, _)) => Ok(Some(version_of(&stat))),
            Err(Zk::NodeExists) => Ok(None),
            Err(error) => Err(error),
        };
        self.until_answered(asked, request, create).await.map_err(|failure| measured(failure, contents))
    }

    /// Tries until there is an answer that will not change, or the time is over. `request` is the length
    /// of the request in bytes, if it may be too long.
    async fn until_answered<T, F>(
        &self,
        znode: &ZnodePath,
        request: usize,
        ask: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Zk>>,
    {
        let mut why = "no answer".to_owned();
        let mut failures = 0;
        loop {
            let error = match timeout_at(self.deadline, ask()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(unreachable(&self.ensemble.servers, self.time, why)),
            };
            let znode = || znode.clone();
            match error {
                Zk::NoNode => return Err(Failure::Missing { znode: znode() }),
                Zk::NotEmpty => return Err(Failure::HasChildren { znode: znode() }),
                Zk::NoAuth | Zk::InvalidAcl => return Err(Failure::Denied { znode: znode() }),
                Zk::AuthFailed => return Err(Failure::Refused { servers: self.ensemble.servers.clone() }),
                Zk::ConnectionLoss | Zk::Custom(_) if request > SERVER_BYTES => {
                    return Err(Failure::TooLong { znode: znode(), length: request });
                }
                Zk::ConnectionLoss | Zk::Custom(_) | Zk::Timeout | Zk::Throttled => why = error.to_string(),
                Zk::SessionExpired | Zk::ClientClosed | Zk::SessionMoved => {
                    return Err(unreachable(&self.ensemble.servers, self.time, error.to_string()));
                }
                source => return Err(Failure::Other { znode: znode(), source }),
            }
            let next = Instant::now() + BACKOFF.delay(failures, random());
            if next >= self.deadline {
                return Err(unreachable(&self.ensemble.servers, self.time, why));
            }
            sleep_until(next).await;
            failures += 1;
        }
    }

    /// The length in bytes of a path as the server gets it, with the chroot.
    fn path_bytes(&self, znode: &ZnodePath) -> usize {
        self.inner.path().len() + znode.as_str().len()
    }
}

/// What a session timeout may be, from and to: servers grant about this.
const SESSION_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The longest request that a server takes as it comes, in bytes.
const SERVER_BYTES: usize = MOST_CONTENTS;

/// A request but for the path and the contents: number, operation, two lengths, version.
const SET_BYTES: usize = 20;

/// The same with an ACL for everyone and the znode's kind in the place of the version.
const CREATE_BYTES: usize = 47;

fn version_of(stat: &Stat) -> Version {
    Version { czxid: stat.czxid, mzxid: stat.mzxid, version: stat.version, sign: None }
}

fn fits(znode: &ZnodePath, contents: &[u8]) -> Result<(), Failure> {
    if contents.len() > MOST_CONTENTS {
        return Err(Failure::TooLong { znode: znode.clone(), length: contents.len() });
    }
    Ok(())
}

/// The person at the terminal knows the contents, not the request.
fn measured(failure: Failure, contents: &[u8]) -> Failure {
    match failure {
        Failure::TooLong { znode, length: _ } => Failure::TooLong { znode, length: contents.len() },
        other => other,
    }
}

fn unreachable(servers: &str, waited: Duration, why: String) -> Failure {
    Failure::Unreachable { servers: servers.to_owned(), waited, why }
}
