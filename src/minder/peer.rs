//! A connection from a daemon: messages in, and messages out as fast as they are taken.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::{Buf, Bytes, BytesMut};

use crate::run::protocol::{Decoder, Minded, Report, Request, encode, in_parts};

/// How much may wait to be taken before children's output is no longer added, in bytes. Everything else is
/// few and small, and always added.
const OUTPUT_AHEAD: usize = 1 << 20;

/// How much is read at once, so that one who sends without end does not keep the others waiting.
const READ_AT_ONCE: usize = 256 << 10;

/// What was read from a connection.
#[derive(Debug)]
pub struct Said {
    /// Messages with their payloads.
    pub messages: Vec<(Request, Bytes)>,
    /// The other side has closed: nothing more will come.
    pub is_all: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: BytesMut,
    /// Whether something was left when it was written last.
    had_outgoing: bool,
}

impl Peer {
    /// Takes a connection over.
    ///
    /// # Errors
    /// When it cannot be made not to block.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, decoder: Decoder::default(), outgoing: BytesMut::new(), had_outgoing: false })
    }

    /// Reads what is there, by way of `buffer`.
    ///
    /// # Errors
    /// When what the other side says is no message: the connection is over, and nothing of it is heeded.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Said> {
        let mut taken = 0;
        let mut said = Said { messages: Vec::new(), is_all: false };
        while taken < READ_AT_ONCE {
            match self.stream.read(buffer) {
                Ok(0) => {
                    said.is_all = true;
                    break;
                }
                Ok(length) => {
                    taken += length;
                    self.decoder.push(&buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // As of one that died with something unread. What it had said before that counts.
                Err(_) => {
                    said.is_all = true;
                    break;
                }
            }
        }
        while let Some(message) = self.decoder.next_message().map_err(io::Error::other)? {
            said.messages.push(message);
        }
        Ok(said)
    }

    /// Adds a message to what is to be written.
    pub fn send(&mut self, report: &Report, payload: &[u8]) {
        // Lists are told in parts, and no other report has more in it than a watch file and what a run has printed last.
        if let Ok(frame) = encode(report, payload) {
            self.outgoing.extend_from_slice(&frame);
        }
    }

    /// Adds a list of runs: in a message, and in as many more as it takes.
    pub fn send_list(&mut self, runs: Vec<Minded>, first: impl FnOnce(Vec<Minded>, bool) -> Report) {
        let mut parts = in_parts(runs).into_iter().peekable();
        let runs = parts.next().unwrap_or_default();
        self.send(&first(runs, parts.peek().is_some()), &[]);
        while let Some(runs) = parts.next() {
            self.send(&Report::Listed { runs, more: parts.peek().is_some() }, &[]);
        }
    }

    /// How many bytes of output may be added.
    #[must_use]
    pub fn room_for_output(&self) -> usize {
        OUTPUT_AHEAD.saturating_sub(self.outgoing.len())
    }

    /// Whether something is left to be written.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes as much as is taken now. Whether there is something left is different from before, and so what is to be
    /// waited for.
    pub fn flush(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(length) => self.outgoing.advance(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody takes it any more. What the other side has said before may still be there to be read, and
                // after it the end of the connection.
                Err(_) => self.outgoing.clear(),
            }
        }
        if self.outgoing.is_empty() {
            // Else the room of the largest burst would be held for good.
            self.outgoing = BytesMut::new();
        }
        let has_outgoing = self.has_outgoing();
        std::mem::replace(&mut self.had_outgoing, has_outgoing) != has_outgoing
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
