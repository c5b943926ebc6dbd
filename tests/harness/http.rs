//! HTTP as those have it who bring no library: a request, and what comes back until the connection is closed.

use std::io::{self, Read, Write};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

/// An answer: its status, its head in small letters, and what follows that.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn content_type(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        line.unwrap_or_default().split(';').next().unwrap_or_default()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks, as in `GET /livez`: the answer, or why there is none.
pub fn ask(mut stream: impl Read + Write, request: &str) -> io::Result<Answer> {
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())?;
    answer(stream)
}

/// The answer to what was asked already.
pub fn answer(mut stream: impl Read) -> io::Result<Answer> {
    let mut read = Vec::new();
    let end = stream.read_to_end(&mut read);
    let text = String::from_utf8_lossy(&read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        end?;
        return Err(io::Error::other(format!("no head: {text:?}")));
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// Clients that say nothing, or half of a request, or begin with a body that is far too long; and stay. That may be more
/// than a process may usually have open.
pub fn crowd<S: Write>(count: usize, connect: impl Fn() -> S) -> Vec<S> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // Beside what the other tests have.
    let wanted = (4 * count as u64).min(hard);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("a higher limit");
    }
    let client = |number: usize| {
        let mut stream = connect();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metr",
            _ => b"GET /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\nx",
        };
        // It may have been let go already.
        let _ = stream.write_all(said);
        stream
    };
    (0..count).map(client).collect()
}
