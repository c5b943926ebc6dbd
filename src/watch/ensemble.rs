//! Where ZooKeeper is, who one is to it, and whom one trusts to be it. What the files say is read anew for
//! each session, so that credentials and certificates can be replaced while the daemon runs.

use std::path::{Path, PathBuf};

use thiserror::Error;
use zookeeper_client::{Client, Connector, Error as Zk, TlsOptions};

use crate::config::problem::Problem;
use crate::config::settings::{Credential, Tls, ZooKeeper};

/// An ensemble, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensemble {
    /// The connect string: `host:port` separated by commas, and a chroot after the last one.
    pub servers: String,
    /// The file of credentials; `None`: one is nobody in particular.
    pub credentials: Option<PathBuf>,
    /// The files that TLS takes; `None`: plain TCP.
    pub tls: Option<Tls>,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub(super) enum NotConnected {
    /// The credentials or certificates cannot be used; nothing was sent.
    #[error("{0}")]
    Files(String),
    /// What the library says.
    #[error(transparent)]
    Zk(#[from] Zk),
}

/// What the files said.
struct Keys {
    credentials: Vec<Credential>,
    tls: Option<TlsOptions>,
}

impl Ensemble {
    /// An ensemble that is reached over plain TCP, as nobody in particular.
    #[must_use]
    pub fn plain(servers: impl Into<String>) -> Self {
        Self { servers: servers.into(), credentials: None, tls: None }
    }

    /// Reads the files, and makes a session with them.
    pub(super) async fn connect(&self, mut connector: Connector) -> Result<Client, NotConnected> {
        let this = self.clone();
        let keys = match tokio::task::spawn_blocking(move || this.read()).await {
            Ok(keys) => keys.map_err(NotConnected::Files)?,
            Err(panic) => return Err(NotConnected::Files(panic.to_string())),
        };
        for credential in &keys.credentials {
            connector = connector.with_auth(&credential.scheme, credential.auth.expose().as_bytes());
        }
        Ok(match keys.tls {
            Some(options) => connector.with_tls(options).secure_connect(&self.servers).await?,
            None => connector.connect(&self.servers).await?,
        })
    }

    /// What an error of the library means here. With `fail_eagerly` a round over the servers that came to
    /// nothing is `NoHosts`, whatever it was.
    pub(super) fn explain(&self, error: &Zk) -> String {
        match (error, &self.tls) {
            (Zk::NoHosts, None) => "no server answers".to_owned(),
            (Zk::NoHosts, Some(tls)) => {
                format!(
                    "no server answers over TLS with a certificate for its name that {} vouches for",
                    tls.ca.display()
                )
            }
            (other, _) => other.to_string(),
        }
    }

    /// Blocking.
    fn read(&self) -> Result<Keys, String> {
        let credentials = match &self.credentials {
            Some(path) => Credential::read(path, nix::unistd::geteuid().as_raw())
                .map_err(|problems| problems.iter().map(in_a_line).collect::<Vec<_>>().join("; "))?,
            None => Vec::new(),
        };
        let tls = self.tls.as_ref().map(tls_options).transpose()?;
        Ok(Keys { credentials, tls })
    }
}

impl From<ZooKeeper> for Ensemble {
    fn from(settings: ZooKeeper) -> Self {
        Self { servers: settings.servers, credentials: settings.credentials, tls: settings.tls }
    }
}

fn tls_options(files: &Tls) -> Result<TlsOptions, String> {
    let unfit = |path: &Path| {
        let path = path.display().to_string();
        move |error: Zk| format!("{path}: {error}")
    };
    let options = TlsOptions::new().with_pem_ca(&text(&files.ca)?).map_err(unfit(&files.ca))?;
    match &files.client {
        Some((cert, key)) => options.with_pem_identity(&text(cert)?, &text(key)?).map_err(unfit(key)),
        None => Ok(options),
    }
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: cannot be read: {error}", path.display()))
}

fn in_a_line(problem: &Problem) -> String {
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}: {}{help}", problem.location(), problem.message)
}
