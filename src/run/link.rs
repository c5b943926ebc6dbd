//! One connection to a minder: found or started, greeted, and then read and written by tasks of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Command;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::run::protocol::{DecodeError, Decoder, Executable, Minded, PROTOCOL, Report, Request, encode};

/// How long a minder has to answer, on a machine that is very busy.
pub const ANSWER: Duration = Duration::from_secs(30);

/// How long a minder that is left may take to be told the last.
const FAREWELL: Duration = Duration::from_secs(2);

/// How many requests may wait to be written.
const REQUESTS_AHEAD: usize = 64;

/// Why there is no connection to a minder.
#[derive(Debug, Error)]
pub enum LinkError {
    /// It could not be started.
    #[error("cannot start a minder: {0}")]
    Start(io::Error),
    /// It started and did not come to listen.
    #[error("the minder ended before it listened")]
    Stillborn,
    /// Nobody listens at its socket any more.
    #[error("no minder listens at {0}")]
    Gone(PathBuf),
    /// It cannot be talked to.
    #[error("cannot talk to the minder at {path}: {error}")]
    Io {
        /// Its socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It says what is no message.
    #[error("the minder at {path} says what cannot be understood: {error}")]
    Decode {
        /// Its socket.
        path: PathBuf,
        /// Why.
        error: DecodeError,
    },
    /// It takes too long.
    #[error("the minder at {0} does not answer")]
    Silent(PathBuf),
}

/// What a minder said when it was greeted.
#[derive(Debug)]
pub struct Welcome {
    /// The binary that it runs.
    pub executable: Executable,
    /// What it minds.
    pub runs: Vec<Minded>,
}

/// What comes from a minder after its welcome.
#[derive(Debug)]
pub enum Heard {
    /// It said this, with this payload.
    Report(Report, Bytes),
    /// The connection is over, and why if it is known.
    Gone(Option<String>),
}

/// A connection to a minder.
#[derive(Debug)]
pub struct Link {
    requests: mpsc::Sender<Vec<u8>>,
    waits: watch::Sender<bool>,
    writer: JoinHandle<()>,
    socket: PathBuf,
}

impl Link {
    /// Starts a minder of this very binary whose socket will be in `folder`, and tells where it is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_minder(folder: &Path) -> Result<PathBuf, LinkError> {
        // Not by its path, where another release may be by now.
        let mut child = Command::new("/proc/self/exe")
            .arg0("twitcher")
            .arg("minder")
            .arg(folder)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(LinkError::Start)?;
        let pid = child.id().ok_or(LinkError::Stillborn)?;
        let stdout = child.stdout.take();
        // Takes it out of the process table, should it end before this process does.
        tokio::spawn(async move { child.wait().await });
        if let Some(mut stdout) = stdout {
            let closed = timeout(ANSWER, stdout.read_to_end(&mut Vec::new())).await;
            closed.map_err(|_| LinkError::Stillborn)?.map_err(LinkError::Start)?;
        }
        let socket = folder.join(format!("{pid}.sock"));
        if socket.exists() { Ok(socket) } else { Err(LinkError::Stillborn) }
    }

    /// Connects to the minder at `socket`. What it says goes to `heard` under its `number`, and `waits` tells while
    /// somebody waits for it to take what it is told.
    ///
    /// # Errors
    /// When there is none or it does not answer as one.
    pub async fn connect(
        socket: &Path,
        number: u64,
        heard: mpsc::Sender<(u64, Heard)>,
        waits: watch::Sender<bool>,
    ) -> Result<(Self, Welcome), LinkError> {
        let io = |error| LinkError::Io { path: socket.to_owned(), error };
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
            {
                return Err(LinkError::Gone(socket.to_owned()));
            }
            Err(error) => return Err(io(error)),
        };
        let (reader, mut writer) = stream.into_split();
        let decode = |error| LinkError::Decode { path: socket.to_owned(), error };
        let hello = encode(&Request::Hello { protocol: PROTOCOL }, &[]).map_err(decode)?;
        match writer.write_all(&hello).await {
            Ok(()) => {}
            // It was about to end, as below.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(LinkError::Gone(socket.to_owned()));
            }
            Err(error) => return Err(io(error)),
        }
        let mut reader = Reader { stream: reader, decoder: Decoder::default(), buffer: vec![0; 64 << 10] };
        let (mut executable, mut runs, mut more) = (None, Vec::new(), true);
        while more {
            let said =
                timeout(ANSWER, reader.next()).await.map_err(|_| LinkError::Silent(socket.to_owned()))?;
            match said.map_err(|why| io(io::Error::other(why)))? {
                Some((Report::Welcome { executable: of, runs: first, more: is_more, .. }, _)) => {
                    (executable, runs, more) = (Some(of), first, is_more);
                }
                Some((Report::Listed { runs: next, more: is_more }, _)) => {
                    runs.extend(next);
                    more = is_more;
                }
                // It was about to end.
                Some(_) | None => return Err(LinkError::Gone(socket.to_owned())),
            }
        }
        let executable = executable.ok_or_else(|| LinkError::Gone(socket.to_owned()))?;
        let welcome = Welcome { executable, runs };
        tokio::spawn(async move {
            loop {
                let said = match reader.next().await {
                    Ok(Some((report, payload))) => Heard::Report(report, payload),
                    Ok(None) => Heard::Gone(None),
                    Err(why) => Heard::Gone(Some(why)),
                };
                let over = matches!(said, Heard::Gone(_));
                if heard.send((number, said)).await.is_err() || over {
                    return;
                }
            }
        });
        let (requests, mut frames) = mpsc::channel::<Vec<u8>>(REQUESTS_AHEAD);
        let writer = tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                // The reader notices the end of the connection.
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        Ok((Self { requests, waits, writer, socket: socket.to_owned() }, welcome))
    }

    /// Where the minder listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends the connection once all that was said is written, unless that takes too long.
    pub async fn close(self) {
        drop(self.requests);
        let _ = timeout(FAREWELL, self.writer).await;
    }

    /// Says something to the minder. `false`: the minder is gone, which is heard of elsewhere, and will not be told.
    ///
    /// # Errors
    /// When it is too long to be said.
    pub async fn say(&self, request: &Request, payload: &[u8]) -> Result<bool, DecodeError> {
        let frame = encode(request, payload)?;
        let Err(unsaid) = self.requests.try_send(frame) else { return Ok(true) };
        let TrySendError::Full(frame) = unsaid else { return Ok(false) };
        self.waits.send_replace(true);
        let said = self.requests.send(frame).await;
        self.waits.send_replace(false);
        Ok(said.is_ok())
    }
}

struct Reader {
    stream: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next message; `None` when the minder has closed the connection.
    async fn next(&mut self) -> Result<Option<(Report, Bytes)>, String> {
        loop {
            if let Some(message) = self.decoder.next_message().map_err(|error| error.to_string())? {
                return Ok(Some(message));
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(length) => self.decoder.push(&self.buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::run::protocol::About;
    use crate::schedule::order::RunId;
    use crate::watch::update::{Event, Version};

    fn minded(run: u64) -> Vec<Minded> {
        let (event, version) = (Event::Loaded, Version::default());
        let about = About { watch: "a".into(), znode: "/a".into(), event, version, attempt: 1 };
        vec![Minded { run: RunId::from_u64(run), about, pid: None }]
    }

    #[tokio::test]
    async fn a_list_that_is_too_long_for_one_message_is_heard_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("1.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let minder = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let executable = Executable { release: "9".into(), device: 1, inode: 2, written_ns: 3 };
            for report in [
                Report::Welcome { protocol: PROTOCOL, executable, runs: minded(1), more: true },
                Report::Listed { runs: minded(2), more: true },
                Report::Listed { runs: minded(3), more: false },
                Report::Trouble { message: "something else".into() },
            ] {
                stream.write_all(&encode(&report, &[]).unwrap()).await.unwrap();
            }
            stream
        });
        let (heard_in, mut heard) = mpsc::channel(8);
        let (_link, welcome) = Link::connect(&socket, 1, heard_in, watch::Sender::new(false)).await.unwrap();
        assert_eq!(welcome.runs, [1, 2, 3].map(minded).concat());
        let next = heard.recv().await.unwrap();
        assert!(matches!(next, (1, Heard::Report(Report::Trouble { .. }, _))), "{next:?}");
        drop(minder.await);
    }
}
