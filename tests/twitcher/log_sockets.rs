//! The log by way of a socket that somebody else reads, be that syslog or the systemd journal: what is told, and that
//! neither its absence nor its silence keeps the daemon from anything. The socket is the test's, in a mount namespace
//! of the daemon's own, which takes root: without, there is nothing to be shown here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::harness::daemon::Builder;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, root_can, shared_chroot,
};
use crate::syslog::WITH_THIS_DEV;

/// Makes `$1` the daemon's `/run`.
const WITH_THIS_RUN: &str = r#"
set -e
run=$1
shift
mount --make-rprivate /
mount --bind "$run" /run
exec "$@"
"#;

/// Says of stderr what systemd says of one that leads to the journal: its device and inode.
const WITH_A_STREAM: &str = r#"
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
export JOURNAL_STREAM
"#;

/// Says that of a file which is not stderr's.
const WITH_ANOTHER_STREAM: &str = r#"
JOURNAL_STREAM=$(stat -L -c %d:%i /dev/null)
export JOURNAL_STREAM
"#;

/// Where the log goes.
#[derive(Clone, Copy)]
enum To {
    Syslog,
    Journald,
}

const BOTH: [To; 2] = [To::Syslog, To::Journald];

/// A folder in the place of the machine's, with the socket in it.
struct Place {
    to: To,
    root: PathBuf,
    socket: PathBuf,
}

impl Place {
    /// `None` where it cannot be made: only root can.
    fn new(folder: &Path, to: To) -> Option<Self> {
        if !root_can("put a socket where the log is sent to") {
            return None;
        }
        let root = folder.join("place");
        let socket = match to {
            To::Syslog => root.join("log"),
            To::Journald => root.join("systemd/journal/socket"),
        };
        fs::create_dir_all(socket.parent().expect("a folder")).expect("a folder");
        Some(Self { to, root, socket })
    }

    /// Has the daemon log there, once this piece of shell was executed.
    fn around(&self, builder: Builder, before: &str) -> Builder {
        let script = match self.to {
            To::Syslog => format!("{before}{WITH_THIS_DEV}"),
            To::Journald => format!("{before}{WITH_THIS_RUN}"),
        };
        let root = self.root.display().to_string();
        builder.logging(&[]).wrapped_in(&["unshare", "--mount", "/bin/sh", "-c", &script, "sh", &root])
    }

    fn word(&self) -> &'static str {
        match self.to {
            To::Syslog => "syslog",
            To::Journald => "journald",
        }
    }

    /// Somebody who listens, in place of one who did.
    fn listen(&self) -> UnixDatagram {
        let _ = fs::remove_file(&self.socket);
        UnixDatagram::bind(&self.socket).expect("a socket")
    }
}

/// What somebody has heard.
struct Heard {
    datagrams: Receiver<Vec<u8>>,
    /// Ends the reading.
    _socket: UnixDatagram,
}

impl Heard {
    /// All that comes to this socket, from now on.
    fn by(socket: UnixDatagram) -> Self {
        let (heard_in, datagrams) = channel();
        let reader = socket.try_clone().expect("another descriptor");
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length) = reader.recv(&mut buffer) {
                // Nothing is sent that is empty: it is the other descriptor's end.
                if length == 0 || heard_in.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { datagrams, _socket: socket }
    }

    fn next(&self) -> Vec<u8> {
        self.datagrams.recv_timeout(DEADLINE).expect("a line of the log")
    }

    /// Those up to one with this text.
    #[track_caller]
    fn until(&self, text: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let datagram = self.datagrams.recv_timeout(DEADLINE);
            let datagram = datagram.unwrap_or_else(|_| panic!("no {text:?} after {heard:#?}"));
            heard.push(String::from_utf8_lossy(&datagram).into_owned());
            if heard.last().is_some_and(|last| last.contains(text)) {
                return heard;
            }
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let _ = self._socket.shutdown(std::net::Shutdown::Both);
    }
}

/// How many lines a line says are missing.
fn missing(line: &str) -> usize {
    let said = line.split_once(" lines are missing").or(line.split_once(" line is missing"));
    said.map_or(0, |(before, _)| {
        let digits = before.len() - before.trim_end_matches(|digit: char| digit.is_ascii_digit()).len();
        before[before.len() - digits..].parse().expect("a number")
    })
}

/// The fields of an entry of the journal, as <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/> has them.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n').expect("the end of a line");
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        let (name, value, rest) = match line.iter().position(|&byte| byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let (length, rest) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
                let (value, rest) = rest.split_at(usize::try_from(length).expect("a length"));
                assert_eq!(rest[0], b'\n');
                (line, value, &rest[1..])
            }
        };
        assert_eq!(fields.insert(text(name), text(value)), None);
        entry = rest;
    }
    fields
}

#[test]
fn the_journal_is_told_each_line_and_its_fields_apart_where_stderr_is_the_journals() {
    let folder = Folder::new();
    let Some(place) = Place::new(&folder, To::Journald) else { return };
    let heard = Heard::by(place.listen());
    let zookeeper = shared_chroot("journald");
    let client = Client::connect(&zookeeper);
    let zxid = client.create("/value", "contents").mzxid;
    let builder = Daemon::builder(&folder, &zookeeper)
        .settings("[log]\nformat = \"json\"\n")
        .watch("value.toml", WatchFile::watch("/value", "echo printed; exit 3"));
    let mut daemon = place.around(builder, WITH_A_STREAM).start();
    let told = |text: &str| loop {
        let entry = fields(&heard.next());
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "twitcher", "{entry:?}");
        if entry["MESSAGE"].contains(text) {
            return entry;
        }
    };
    let ready = told("ready: ");
    assert_eq!(ready["PRIORITY"], "6");
    // What is known of the run is known of each of its lines.
    let started = told("run started");
    let run = started["TWITCHER_RUN_ID"].clone();
    assert_eq!(
        started["MESSAGE"],
        format!(
            "value[{run}]: run started pid={} event=loaded zxid={zxid:#x} attempt=1",
            started["TWITCHER_PID"]
        )
    );
    let printed = told("printed");
    assert_eq!(printed["MESSAGE"], format!("value[{run}]| printed"));
    assert_eq!(printed["TWITCHER_TARGET"], "output");
    let failed = told("run failed");
    for (name, value) in [
        ("PRIORITY", "4"),
        ("TWITCHER_OUTCOME", "exited(3)"),
        ("TWITCHER_ATTEMPT", "1"),
        ("TWITCHER_ZXID", &format!("{zxid:#x}")),
    ] {
        assert_eq!(failed[name], value);
    }
    let lasted: f64 = failed["TWITCHER_LASTED_SECONDS"].parse().expect("a number");
    assert!(lasted > 0.0 && failed["MESSAGE"].contains(" lasted="), "{failed:?}");
    for entry in [&started, &printed, &failed] {
        assert_eq!((&entry["TWITCHER_WATCH"][..], &entry["TWITCHER_RUN_ID"]), ("value", &run));
    }
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(daemon.log(), "", "nothing goes to stderr");
}

#[test]
fn a_stream_of_the_journal_that_is_not_stderr_leaves_the_log_to_syslog() {
    let folder = Folder::new();
    let Some(place) = Place::new(&folder, To::Syslog) else { return };
    let heard = Heard::by(place.listen());
    let zookeeper = shared_chroot("stream");
    let builder = Daemon::builder(&folder, &zookeeper);
    let mut daemon = place.around(builder, WITH_ANOTHER_STREAM).start();
    heard.until("twitcher[");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn p8_a_log_socket_that_goes_and_comes_back_loses_only_what_came_meanwhile_and_says_how_much() {
    for to in BOTH {
        let folder = Folder::new();
        let Some(place) = Place::new(&folder, to) else { return };
        let heard = Heard::by(place.listen());
        let zookeeper = shared_chroot("lost-socket");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let runs = Journal::new(&folder, "runs");
        let builder = Daemon::builder(&folder, &zookeeper)
            .settings(&format!("[log]\ntarget = {:?}\n", place.word()))
            .watch("value.toml", WatchFile::watch("/value", &runs.append("$(cat)")));
        let mut daemon = place.around(builder, "").start();
        // In either order, and after them nothing until the znode changes.
        let mut awaited = vec!["ready: ", "run ended"];
        while !awaited.is_empty() {
            let line = String::from_utf8_lossy(&heard.next()).into_owned();
            awaited.retain(|text| !line.contains(text));
        }
        drop(heard);
        fs::remove_file(&place.socket).expect("a socket to go");
        for (number, value) in ["1", "2", "3"].iter().enumerate() {
            client.set("/value", value);
            runs.wait_for(number + 2);
        }
        runs.expect(&["0", "1", "2", "3"]);
        let heard = Heard::by(place.listen());
        client.set("/value", "4");
        runs.expect(&["0", "1", "2", "3", "4"]);
        // A line for the start and one for the end of each of the four, written or missing.
        let mut lines = Vec::new();
        eventually(DEADLINE, "four runs, written or missing", || {
            while let Ok(datagram) = heard.datagrams.try_recv() {
                lines.push(String::from_utf8_lossy(&datagram).into_owned());
            }
            let missing: usize = lines.iter().map(|line| missing(line)).sum();
            let written = lines.iter().filter(|line| line.contains("value[")).count();
            if missing > 0 && written > 0 && missing + written == 8 { Ok(()) } else { Err(lines.clone()) }
        });
        assert_eq!(daemon.stop().code(), Some(0));
        assert_eq!(daemon.log(), "");
    }
}

/// So many lines of a run are logged at once; of three such runs more than the log lets wait.
const FLOOD: usize = 9_000;

#[test]
fn p5_p8_a_log_socket_that_nobody_reads_keeps_nothing_from_running_and_what_is_missing_is_counted() {
    for to in BOTH {
        let folder = Folder::new();
        let Some(place) = Place::new(&folder, to) else { return };
        let socket = place.listen();
        let zookeeper = shared_chroot("silent-socket");
        let client = Client::connect(&zookeeper);
        client.create("/value", FLOOD.to_string());
        let runs = Journal::new(&folder, "runs");
        let flood = format!("lines=$(cat); seq $lines; {}", runs.append("$lines"));
        let watches = WatchFile::watch("/value", &flood).and("/value", &flood).and("/value", &flood);
        let builder = Daemon::builder(&folder, &zookeeper)
            .settings(&format!("[log]\ntarget = {:?}\n", place.word()))
            .watch("flood.toml", watches);
        let mut daemon = place.around(builder, "").start();
        runs.wait_for(3);
        client.set("/value", "1");
        let lines = runs.wait_for(6);
        assert_eq!(lines.iter().filter(|line| *line == "1").count(), 3);
        // Nothing more is logged once the ends of the runs are in the history.
        for name in ["flood", "flood-2", "flood-3"] {
            let history = daemon.state_dir().join("history").join(name).join("runs.jsonl");
            eventually(DEADLINE, "two runs in the history", || {
                fs::read_to_string(&history).unwrap_or_default().matches("\"run\":").count() == 2
            });
        }
        let heard = Heard::by(socket);
        let (mut written, mut missed) = (0, 0);
        // Each line of the floods was written or is missing, and some are.
        while missed == 0 || written + missed < 3 * FLOOD {
            let line = String::from_utf8_lossy(&heard.next()).into_owned();
            missed += missing(&line);
            written += usize::from(line.contains("]| "));
        }
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn p8_a_log_that_nobody_takes_from_the_beginning_is_said_on_stderr_and_no_reason_not_to_start() {
    for to in BOTH {
        let folder = Folder::new();
        let Some(place) = Place::new(&folder, to) else { return };
        let zookeeper = shared_chroot("no-socket");
        Client::connect(&zookeeper).create("/value", "0");
        let runs = Journal::new(&folder, "runs");
        let builder = Daemon::builder(&folder, &zookeeper)
            .settings(&format!("[log]\ntarget = {:?}\n", place.word()))
            .watch("value.toml", WatchFile::watch("/value", &runs.append("$(cat)")));
        let mut daemon = place.around(builder, "").start();
        runs.expect(&["0"]);
        let said = daemon.log();
        assert!(said.starts_with("twitcher: nobody takes the log at /"), "{said}");
        assert!(said.contains("\nhelp: "), "{said}");
        let heard = Heard::by(place.listen());
        heard.until("missing here");
        assert_eq!(daemon.stop().code(), Some(0));
    }
}
