//! The log in the systemd journal, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): a datagram
//! an event, which has the line as people read it and each field of it apart.

use std::fmt::Debug;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::record::line::line_of;
use crate::record::stream::missing;
use crate::record::writer::{Queue, Target};

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Facility daemon, which the journal's own readers, and a syslog that it forwards to, go by: `syslog(3)`.
const FACILITY: &str = "3";

/// Whether `stream`, which is `JOURNAL_STREAM`'s value, is about the file of this device and inode: systemd sets it to
/// those of stdout or stderr, and it is inherited by processes whose stderr is something else. `systemd.exec(5)`.
#[must_use]
pub fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let numbers = stream.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    numbers == Some((Ok(device), Ok(inode)))
}

/// Makes an entry of each event and puts it into the queue.
#[derive(Debug)]
pub struct Entries(pub Queue);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        let entry = entry(*metadata.level(), metadata.target(), &line_of(event), &fields.0);
        self.0.put(*metadata.level(), &entry);
    }
}

/// The fields of an event but for its message.
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != "message" {
            self.0.push((field.name(), format!("{value:?}")));
        }
    }
}

/// What the journal is sent of an event: `name=value` a line, or with the length where a value has several.
fn entry(level: Level, target: &str, message: &str, fields: &[(&str, String)]) -> Vec<u8> {
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    let mut entry = Vec::with_capacity(256);
    add(&mut entry, "MESSAGE", message);
    add(&mut entry, "PRIORITY", priority);
    add(&mut entry, "SYSLOG_FACILITY", FACILITY);
    add(&mut entry, "SYSLOG_IDENTIFIER", "twitcher");
    add(&mut entry, "TWITCHER_TARGET", target);
    for (name, value) in fields {
        let name = match *name {
            // As a command has it in its environment.
            "run" => "TWITCHER_RUN_ID".to_owned(),
            name => format!("TWITCHER_{}", name.to_ascii_uppercase().replace('.', "_")),
        };
        add(&mut entry, &name, value);
    }
    entry
}

fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&u64::try_from(value.len()).unwrap_or_default().to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// Sends entries to the journal.
#[derive(Debug)]
pub struct Journald {
    /// Connected to nothing, so that it does not matter whether it is the same journal that listens there.
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journald {
    /// To what listens at this path, now or later.
    ///
    /// # Errors
    /// When there can be no socket.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.into() })
    }

    fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.path) {
            // More than a datagram can have.
            Err(error) if is(&error, Errno::EMSGSIZE) || is(&error, Errno::ENOBUFS) => {
                send_file(&self.socket, &self.path, entry)
            }
            sent => sent.map(drop),
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Sends an entry in a file that nobody can change any more, which is how the journal takes a large one.
fn send_file(socket: &UnixDatagram, path: &Path, entry: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create("log-entry", flags)?);
    file.write_all(entry)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, all)?;
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg_addr(socket, &SocketAddrUnix::new(path)?, &[], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Target for Journald {
    fn write(&mut self, _: Level, entry: &[u8]) -> io::Result<()> {
        match self.send(entry) {
            // It was waiting for one that ended, and there may be the next.
            Err(error) if is(&error, Errno::ECONNREFUSED) => self.send(entry),
            sent => sent,
        }
    }

    fn missing(&self, lines: u64) -> Vec<u8> {
        entry(Level::WARN, module_path!(), &missing(lines), &[("lines", lines.to_string())])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_line_and_its_fields() {
        let fields = [("watch", "web".to_owned()), ("run", "1f".to_owned()), ("a.b", "c=d".to_owned())];
        let entry = entry(Level::WARN, "output", "web[1f]| hello", &fields);
        let expected = "MESSAGE=web[1f]| hello\nPRIORITY=4\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=twitcher\n\
                        TWITCHER_TARGET=output\nTWITCHER_WATCH=web\nTWITCHER_RUN_ID=1f\nTWITCHER_A_B=c=d\n";
        assert_eq!(String::from_utf8(entry).unwrap(), expected);
    }

    #[test]
    fn a_value_of_several_lines_comes_with_its_length() {
        let mut whole = Vec::new();
        add(&mut whole, "MESSAGE", "one\ntwo=2\n");
        assert_eq!(whole, b"MESSAGE\n\x0a\0\0\0\0\0\0\0one\ntwo=2\n\n");
    }

    #[test]
    fn each_level_has_its_priority() {
        let priorities = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(|level| {
            let text = String::from_utf8(entry(level, "", "", &[])).unwrap();
            text.lines().find_map(|line| line.strip_prefix("PRIORITY=")).unwrap().to_owned()
        });
        assert_eq!(priorities, ["3", "4", "6", "7", "7"]);
    }

    #[test]
    fn a_stream_is_known_by_device_and_inode_and_not_by_its_being_named() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", "8:", ":", "8:1234:1", "a:b"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_and_somebody_who_comes_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journald = Journald::new(&path).unwrap();
        assert!(journald.write(Level::INFO, b"MESSAGE=1\n").is_err());
        for round in 0..2 {
            let listener = UnixDatagram::bind(&path).unwrap();
            journald.write(Level::INFO, b"MESSAGE=2\n").unwrap();
            let mut buffer = [0; 64];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"MESSAGE=2\n", "{round}");
            drop(listener);
            assert!(journald.write(Level::INFO, b"MESSAGE=3\n").is_err());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_too_large_for_a_datagram_comes_in_a_sealed_file() {
        use std::io::Read;
        use std::os::unix::fs::FileExt;

        use rustix::fs::fcntl_get_seals;
        use rustix::io::IoSliceMut;
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let message = "x".repeat(4 << 20);
        let sent = entry(Level::INFO, "", &message, &[]);
        Journald::new(&path).unwrap().write(Level::INFO, &sent).unwrap();
        let mut payload = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&listener, &mut [IoSliceMut::new(&mut payload)], &mut control, RecvFlags::empty());
        assert_eq!(got.unwrap().bytes, 0);
        let files = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files.collect::<Vec<_>>()),
            _ => None,
        });
        let mut files = files.unwrap();
        let file = std::fs::File::from(files.remove(0));
        assert!(files.is_empty());
        // All of them: the journal refuses what could change while it reads.
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        assert!(fcntl_get_seals(&file).unwrap().contains(seals));
        let mut text = vec![0; sent.len()];
        file.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(text, sent);
        assert_eq!((&file).read(&mut [0]).unwrap(), 0, "it is at its end, and has no more");
    }
}
