//! The other end of the socket, for the command line.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::api::Problem;
use super::socket;

/// How long the daemon may take to answer, where nothing is waited for that takes its time.
const ANSWER: Duration = Duration::from_secs(10);

/// Why the daemon was not asked, or did not do it.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no daemon at the socket.
    #[error("no daemon at {path}: {error}\nhelp: {}", if_up(guessed.as_deref()))]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// Why the folder is a guess, if it is.
        guessed: Option<String>,
    },
    /// There is one, for others.
    #[error("the socket {0} is not yours to use\nhelp: ask as root, or as the user that the daemon runs as")]
    NotAllowed(PathBuf),
    /// It does not answer.
    #[error("the daemon at {socket} does not answer within {} s\nhelp: its log may say why; one that is started again takes its runs over", ANSWER.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection broke.
    #[error("the daemon has gone away")]
    Broken(#[from] hyper::Error),
    /// What it said makes no sense: it is another release.
    #[error("the daemon's answer is not understood, it is of another release: {0}")]
    Strange(#[from] serde_json::Error),
    /// It did not do it.
    #[error("{}", .0.detail)]
    Refused(Problem),
}

fn if_up(guessed: Option<&str>) -> String {
    match guessed {
        None => "is 'twitcher run' up, and with the same --run-dir?".to_owned(),
        Some(why) => {
            format!("its settings were not read ({why}): if their run_dir is another, name it with --run-dir")
        }
    }
}

/// What is at the socket of a run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    socket: PathBuf,
    guessed: Option<String>,
}

impl Client {
    /// The daemon whose run folder this is.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join(socket::NAME), guessed: None }
    }

    /// The same where the run folder is a guess, and why: who finds no daemon there is told so.
    #[must_use]
    pub fn guessed(self, why: String) -> Self {
        Self { guessed: Some(why), ..self }
    }

    /// What is at this path.
    ///
    /// # Errors
    /// When there is no daemon, or it has nothing there.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.bytes("GET", path).await?)?)
    }

    /// Has something done.
    ///
    /// # Errors
    /// When there is no daemon, or it does not do it.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.bytes("POST", path).await?)?)
    }

    /// The same of something that may take as long as it likes.
    ///
    /// # Errors
    /// As `post`.
    pub async fn post_and_wait<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        // Else one that does not answer at all is not told from one whose run takes its time.
        self.bytes("GET", "/livez").await?;
        Ok(serde_json::from_slice(&self.send("POST", path).await?.collect().await?.to_bytes())?)
    }

    /// The body as it stands.
    ///
    /// # Errors
    /// As `get`.
    pub async fn bytes(&self, method: &str, path: &str) -> Result<Bytes, ClientError> {
        self.in_time(async { Ok(self.send(method, path).await?.collect().await?.to_bytes()) }).await
    }

    /// The body as it comes.
    ///
    /// # Errors
    /// As `get`.
    pub async fn stream(&self, path: &str) -> Result<Parts, ClientError> {
        Ok(Parts(self.in_time(self.send("GET", path)).await?))
    }

    /// Hands on each event as it comes: its name, if it is not an ordinary one, and its data; until `hear` says that
    /// it is enough, or the daemon stops.
    ///
    /// # Errors
    /// As `get`.
    pub async fn follow(
        &self,
        path: &str,
        mut hear: impl FnMut(Option<&str>, &str) -> io::Result<bool>,
    ) -> Result<(), ClientError> {
        let mut body = self.in_time(self.send("GET", path)).await?;
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8_lossy(&text[..end]).into_owned();
                text.drain(..end + 2);
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                if let Some(data) = field("data")
                    && !hear(field("event"), data).unwrap_or(false)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let silent = |_| ClientError::Silent { socket: self.socket.clone() };
        timeout(ANSWER, answer).await.map_err(silent)?
    }

    async fn send(&self, method: &str, path: &str) -> Result<Incoming, ClientError> {
        let no_daemon = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(self.socket.clone()),
            _ => ClientError::NoDaemon { path: self.socket.clone(), error, guessed: self.guessed.clone() },
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(no_daemon)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the body.
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "twitcher");
        let request =
            request.body(Empty::<Bytes>::new()).map_err(|error| no_daemon(io::Error::other(error)))?;
        let answer = sender.send_request(request).await?;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        if answer.status() == StatusCode::FORBIDDEN {
            return Err(ClientError::NotAllowed(self.socket.clone()));
        }
        let body = answer.into_body().collect().await?.to_bytes();
        Err(ClientError::Refused(serde_json::from_slice(&body)?))
    }
}

/// A body that comes in parts.
#[derive(Debug)]
pub struct Parts(Incoming);

impl Parts {
    /// Waits for the next; `None` when that was all.
    ///
    /// # Errors
    /// When the daemon stops before it was.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let frame = self.0.frame().await.transpose()?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }
}

impl ClientError {
    /// The exit code of a command that ended like this: 6 no daemon, or no longer; 5 it did not answer in time; 1
    /// all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoDaemon { .. } | Self::Broken(_) => 6,
            Self::Silent { .. } => 5,
            Self::NotAllowed(_) | Self::Strange(_) | Self::Refused(_) => 1,
        }
    }
}
