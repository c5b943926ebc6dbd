//! The minder alone: the test takes the daemon's place and speaks its protocol.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use bytes::Bytes;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use twitcher::minder::output::KEPT;
use twitcher::run::protocol::{
    About, Decoder, Dropped, End, Ending, Minded, OutputTo, PROTOCOL, Report, Request, Start, encode,
};
use twitcher::schedule::order::RunId;
use twitcher::watch::update::{Event, Version};

use crate::harness::minders::{end_minders, minders};
use crate::harness::process::Process;
use crate::harness::{DEADLINE, Folder, Gate, Journal, eventually, files, root_can};

const PROGRAM: &str = env!("CARGO_BIN_EXE_twitcher");

/// A run folder, whose minders end with it.
struct Place {
    run_dir: PathBuf,
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        let run_dir = folder.join("run");
        fs::create_dir_all(run_dir.join("minder")).expect("a folder for minders");
        Self { run_dir, folder }
    }

    fn minders(&self) -> PathBuf {
        self.run_dir.join("minder")
    }

    /// Starts a minder and waits until it listens.
    fn minder(&self) -> Minder {
        let mut command = Command::new(PROGRAM);
        command.env_clear().arg("minder").arg(self.minders());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a minder");
        let mut said = String::new();
        child.stdout.take().expect("its stdout").read_to_string(&mut said).expect("the end of its stdout");
        assert_eq!(said, "");
        let process = Process::find(i32::try_from(child.id()).expect("a pid")).expect("a living minder");
        Minder { socket: self.minders().join(format!("{}.sock", child.id())), child, process }
    }

    /// A program that is being written as long as its writer is there, so that its exec is tried again and again.
    fn busy(&self) -> (String, File) {
        let path = self.folder.join("busy");
        files::executable(&path, "#!/bin/sh\n");
        let writer = File::options().append(true).open(&path).expect("a writer");
        (path.to_str().expect("text").to_owned(), writer)
    }

    /// What is on disk of runs, by the ends of the files' names.
    fn records(&self, extension: &str) -> usize {
        let entries = fs::read_dir(self.minders().join("runs")).expect("the folder of records");
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| is(&entry.path(), extension))).count()
    }
}

fn is(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|of| of == extension)
}

impl Drop for Place {
    fn drop(&mut self) {
        end_minders(&self.run_dir, Path::new(PROGRAM));
    }
}

/// A minder that this process has started.
struct Minder {
    child: Child,
    process: Process,
    socket: PathBuf,
}

impl Minder {
    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        eventually(DEADLINE, "the minder to end", || self.child.try_wait().expect("a child"))
    }

    fn kill(&mut self) {
        self.child.kill().expect("a living minder");
        self.wait();
    }

    /// `VmRSS` or another field of its status, in KiB.
    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }
}

impl Drop for Minder {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let children = self.process.children();
            let _ = self.child.kill();
            let _ = self.child.wait();
            children.into_iter().for_each(Process::end_group);
        }
    }
}

/// The daemon's end of a connection.
struct Line {
    stream: UnixStream,
    decoder: Decoder,
}

impl Line {
    fn open(minder: &Minder) -> Self {
        let stream = UnixStream::connect(&minder.socket).expect("a minder that listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        Self { stream, decoder: Decoder::default() }
    }

    /// Connects and is welcomed, and told what is minded.
    fn greet(minder: &Minder) -> (Self, Vec<Minded>) {
        let mut line = Self::open(minder);
        line.say(&Request::Hello { protocol: PROTOCOL });
        match line.hear() {
            Some((Report::Welcome { protocol: PROTOCOL, runs, more, .. }, _)) => {
                let runs = line.hear_list(runs, more);
                (line, runs)
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// The rest of a list that is too long for one message.
    fn hear_list(&mut self, mut runs: Vec<Minded>, mut more: bool) -> Vec<Minded> {
        while more {
            match self.hear() {
                Some((Report::Listed { runs: next, more: is_more }, _)) => {
                    runs.extend(next);
                    more = is_more;
                }
                other => panic!("no list but {other:?}"),
            }
        }
        runs
    }

    fn say(&mut self, request: &Request) {
        self.say_with(request, b"");
    }

    fn say_with(&mut self, request: &Request, payload: &[u8]) {
        self.stream.write_all(&encode(request, payload).expect("a frame")).expect("a minder that reads");
    }

    fn order(&mut self, start: Start) {
        self.say(&Request::Start(Box::new(start)));
    }

    /// The next report; `None` when the minder has closed the connection.
    fn hear(&mut self) -> Option<(Report, Bytes)> {
        let mut buffer = [0; 64 << 10];
        loop {
            if let Some(message) = self.decoder.next_message().expect("a message") {
                return Some(message);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }

    /// What a run printed until it ended, how it did, and what is with its end.
    fn hear_end(&mut self, run: u64) -> (Heard, End, Bytes) {
        let mut heard = Heard::default();
        loop {
            match self.hear().expect("a connection") {
                (Report::Output { run: of, dropped, .. }, lines) if of.as_u64() == run => {
                    heard.take(&lines, dropped)
                }
                (Report::Ended(end), last) if end.run.as_u64() == run => return (heard, *end, last),
                _ => {}
            }
        }
    }

    fn hear_started(&mut self, run: u64) -> Process {
        loop {
            if let (Report::Started { run: of, pid }, _) = self.hear().expect("a connection")
                && of.as_u64() == run
            {
                return Process::find(pid).expect("its main process");
            }
        }
    }

    fn adopt(&mut self) -> Vec<Minded> {
        self.say(&Request::Adopt);
        loop {
            if let (Report::Adopted { runs, more }, _) = self.hear().expect("a connection") {
                return self.hear_list(runs, more);
            }
        }
    }

    fn note(&mut self, run: u64) {
        self.say(&Request::Noted { run: RunId::from_u64(run) });
    }
}

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<u8>,
    dropped: u64,
}

impl Heard {
    fn take(&mut self, lines: &[u8], dropped: Dropped) {
        self.lines.extend(lines);
        self.dropped += dropped.bytes;
    }
}

fn shell(run: u64, command: &str) -> Start {
    Start {
        run: RunId::from_u64(run),
        about: About {
            watch: "alone".into(),
            znode: "/alone".into(),
            event: Event::Changed,
            version: Version { czxid: 1, mzxid: 2, version: 3, sign: None },
            attempt: 4,
        },
        argv: ["/bin/sh", "-c", command].map(String::from).into(),
        script: None,
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        directory: "/".into(),
        umask: 0o022,
        identity: None,
        stdin: true,
        output: OutputTo::Report,
        timeout_ms: None,
        kill_after_ms: 1000,
    }
}

/// Leaves ends for a later minder, as one that exits does, that are too long to be listed in one message.
pub fn leave_long_ends(minders: &Path, runs: impl IntoIterator<Item = u64>) {
    let folder = minders.join("runs");
    fs::create_dir_all(&folder).expect("a folder for records");
    for run in runs {
        let about = About { znode: format!("/{}", "a".repeat(1 << 20)), ..shell(run, "").about };
        let (run, watch) = (RunId::from_u64(run), about.watch.clone());
        let ending = Ending::Exited(0);
        let end = End { run, about, pid: None, ending, usage: None, started_ms: 1, lasted_us: 2 };
        let ended = encode(&Report::Ended(Box::new(end)), b"").expect("a frame");
        let rest = Report::Output { run, watch, dropped: Dropped::default() };
        let frames = [ended, encode(&rest, b"").expect("a frame")].concat();
        fs::write(folder.join(format!("{run}.end")), frames).expect("an end");
    }
}

fn program(run: u64, path: &str) -> Start {
    Start { argv: vec![path.into()], stdin: false, ..shell(run, "") }
}

fn ids(runs: &[Minded]) -> Vec<u64> {
    runs.iter().map(|minded| minded.run.as_u64()).collect()
}

#[test]
fn a_run_is_started_and_its_output_and_its_end_are_told_with_what_it_used() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, runs) = Line::greet(&minder);
    assert!(runs.is_empty());
    let start = shell(7, "cat; echo to stderr >&2; exit 3");
    line.say_with(&Request::Start(Box::new(start.clone())), b"from stdin\n");
    let Some((Report::Started { run, pid }, _)) = line.hear() else { panic!("not started") };
    assert_eq!(run.as_u64(), 7);
    let (heard, end, last) = line.hear_end(7);
    assert_eq!(heard.lines, b"from stdin\nto stderr\n");
    assert_eq!(last, heard.lines);
    assert_eq!((end.about, end.pid, end.ending), (start.about, Some(pid), Ending::Exited(3)));
    let usage = end.usage.expect("what it used");
    assert!(usage.max_rss_kib > 0 && usage.user_us + usage.system_us > 0, "{usage:?}");
    assert!(end.lasted_us > 0 && end.started_ms > 0);
    // Should the minder die now, it is known that the run has executed something.
    assert_eq!((place.records("run"), place.records("new")), (1, 0));
    line.note(7);
    eventually(DEADLINE, "no record", || place.records("run") == 0);
}

#[test]
fn p2_a_second_connection_takes_the_place_of_the_first_and_orders_of_the_first_are_not_heeded() {
    let place = Place::new();
    let (minder, runs) = (place.minder(), Journal::new(&place.folder, "runs"));
    let (mut first, _) = Line::greet(&minder);
    let (mut second, _) = Line::greet(&minder);
    // Written to a socket whose other end may be closed already.
    let late = Request::Start(Box::new(shell(1, &runs.append("first"))));
    let _ = first.stream.write_all(&encode(&late, b"").expect("a frame"));
    assert!(first.hear().is_none());
    second.order(shell(2, &runs.append("second")));
    second.hear_end(2);
    let (_third, minded) = Line::greet(&minder);
    assert_eq!(ids(&minded), [2]);
    assert_eq!(runs.lines(), ["second"]);
}

#[test]
fn p2_an_order_that_comes_at_the_same_time_as_another_daemon_is_heeded_and_told_or_neither() {
    let place = Place::new();
    let (minder, runs) = (place.minder(), Journal::new(&place.folder, "runs"));
    let gate = Gate::new(&place.folder, "gate");
    let (mut line, _) = Line::greet(&minder);
    // Keeps the minder when its daemon goes.
    line.order(shell(100, &gate.pass()));
    line.hear_started(100);
    for run in 1..=20 {
        let (mut first, _) = Line::greet(&minder);
        minder.process.signal(Signal::SIGSTOP);
        first.order(shell(run, &runs.append(&run.to_string())));
        drop(first);
        let mut second = Line::open(&minder);
        second.say(&Request::Hello { protocol: PROTOCOL });
        minder.process.signal(Signal::SIGCONT);
        let Some((Report::Welcome { runs: minded, .. }, _)) = second.hear() else { panic!("no welcome") };
        if !ids(&minded).contains(&run) {
            second.order(shell(run, &runs.append(&run.to_string())));
        }
        second.hear_end(run);
        second.note(run);
    }
    gate.open();
    let expected: Vec<String> = (1..=20).map(|run| run.to_string()).collect();
    assert_eq!(runs.lines(), expected);
}

#[test]
fn p1_what_a_daemon_ordered_before_it_died_with_something_unread_is_started() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, "exec sleep 600"));
    line.hear_started(1);
    // Printed, and told to one who does not read it any more: the connection is reset instead of closed.
    line.order(shell(2, "echo line; exec sleep 600"));
    assert_eq!(recv(line.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK), Ok(1));
    minder.process.signal(Signal::SIGSTOP);
    line.order(shell(3, "exec sleep 600"));
    drop(line);
    minder.process.signal(Signal::SIGCONT);
    let (_line, runs) = eventually(DEADLINE, "the run", || {
        let (line, runs) = Line::greet(&minder);
        if runs.len() == 3 { Ok((line, runs)) } else { Err(ids(&runs)) }
    });
    assert_eq!(ids(&runs), [1, 2, 3]);
}

#[test]
fn p1_what_a_daemon_ordered_and_noted_before_it_died_is_heeded() {
    let place = Place::new();
    let mut minder = place.minder();
    let (runs, gate) = (Journal::new(&place.folder, "runs"), Gate::new(&place.folder, "gate"));
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, "exit 1"));
    line.hear_end(1);
    minder.process.signal(Signal::SIGSTOP);
    line.note(1);
    line.order(shell(2, &format!("{}; {}", runs.append("second"), gate.pass())));
    drop(line);
    minder.process.signal(Signal::SIGCONT);
    runs.expect(&["second"]);
    let (line, minded) = Line::greet(&minder);
    assert_eq!(ids(&minded), [2]);
    drop(line);
    gate.open();
    assert!(minder.wait().success());
}

#[test]
fn an_end_that_was_not_noted_is_told_to_each_connection_until_it_is() {
    let place = Place::new();
    let minder = place.minder();
    let gate = Gate::new(&place.folder, "gate");
    // Keeps the minder when its daemon goes.
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, &gate.pass()));
    line.order(shell(2, "echo printed; exit 2"));
    line.hear_end(2);
    for _ in 0..3 {
        let (mut again, minded) = Line::greet(&minder);
        assert_eq!(ids(&minded), [1, 2]);
        let (heard, end, last) = again.hear_end(2);
        assert_eq!((end.ending, &last[..]), (Ending::Exited(2), &b"printed\n"[..]));
        assert!(heard.lines.is_empty(), "what was passed on is not passed on again");
        line = again;
    }
    line.note(2);
    line.order(shell(3, "exit 3"));
    line.hear_end(3);
    line.note(3);
    eventually(DEADLINE, "the noted ends to be forgotten", || {
        let minded = ids(&Line::greet(&minder).1);
        if minded == [1] { Ok(()) } else { Err(minded) }
    });
    gate.open();
}

#[test]
fn a_minder_without_a_daemon_stays_for_its_child_then_leaves_its_end_which_a_later_one_tells() {
    let place = Place::new();
    let mut minder = place.minder();
    let gate = Gate::new(&place.folder, "gate");
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, &format!("echo early; {}; echo late; exit 5", gate.pass())));
    let Some((Report::Started { pid, .. }, _)) = line.hear() else { panic!("not started") };
    let Some((Report::Output { .. }, lines)) = line.hear() else { panic!("no output") };
    assert_eq!(&lines[..], b"early\n");
    drop(line);
    assert_eq!(ids(&Line::greet(&minder).1), [1], "the minder has gone");
    assert!(minder.child.try_wait().expect("a child").is_none());
    gate.open();
    assert!(minder.wait().success());
    assert!(!minder.socket.exists());
    assert_eq!((place.records("run"), place.records("end")), (0, 1));

    // The first of the later ones is killed before a daemon has noted it; nothing is lost by that.
    let mut later = place.minder();
    let (mut line, minded) = Line::greet(&later);
    assert!(minded.is_empty());
    assert_eq!(ids(&line.adopt()), [1]);
    later.kill();
    let mut last = place.minder();
    let (mut line, _) = Line::greet(&last);
    let adopted = line.adopt();
    assert_eq!((ids(&adopted), adopted[0].pid), (vec![1], Some(pid)));
    let (mut heard, end, kept) = line.hear_end(1);
    assert_eq!((end.ending, &kept[..]), (Ending::Exited(5), &b"early\nlate\n"[..]));
    assert!(end.usage.is_some());
    while heard.lines.is_empty() {
        let Some((Report::Output { dropped, .. }, lines)) = line.hear() else { panic!("no output") };
        heard.take(&lines, dropped);
    }
    assert_eq!(heard.lines, b"late\n", "what was passed on is not passed on again");
    line.note(1);
    eventually(DEADLINE, "the end to be forgotten", || place.records("end") == 0);
    drop(line);
    assert!(last.wait().success());
}

#[test]
fn what_is_minded_is_told_also_where_it_is_too_long_for_one_message() {
    let place = Place::new();
    let runs: Vec<u64> = (1..=10).collect();
    leave_long_ends(&place.minders(), runs.iter().copied());
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    assert_eq!(ids(&line.adopt()), runs);
    for &run in &runs {
        line.hear_end(run);
    }
    let (_line, minded) = Line::greet(&minder);
    assert_eq!(ids(&minded), runs);
}

#[test]
fn what_a_run_leaves_behind_is_listened_to_also_without_a_daemon() {
    let place = Place::new();
    let mut minder = place.minder();
    let gate = Gate::new(&place.folder, "gate");
    let (mut line, _) = Line::greet(&minder);
    // What it leaves behind holds its stdout, and prints only once the run has ended.
    let left = "while kill -0 $$ 2>/dev/null; do :; done; echo from behind";
    line.order(shell(1, &format!("({left}) & {}", gate.pass())));
    line.hear_started(1);
    drop(line);
    gate.open();
    assert!(minder.wait().success());
    let last = place.minder();
    let (mut line, _) = Line::greet(&last);
    assert_eq!(ids(&line.adopt()), [1]);
    assert_eq!(&line.hear_end(1).2[..], b"from behind\n");
}

#[test]
fn a_minder_that_retires_goes_when_its_last_run_is_noted_and_not_before() {
    let place = Place::new();
    let mut minder = place.minder();
    let gate = Gate::new(&place.folder, "gate");
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, &format!("{}; exit 1", gate.pass())));
    line.hear_started(1);
    line.say(&Request::Retire);
    gate.open();
    assert_eq!(line.hear_end(1).1.ending, Ending::Exited(1));
    assert!(minder.child.try_wait().expect("a child").is_none());
    line.note(1);
    assert!(line.hear().is_none());
    assert!(minder.wait().success());
    assert_eq!(place.records("end"), 0);
}

#[test]
fn p2_a_run_whose_minder_was_killed_is_minded_by_the_next_until_it_ends_and_is_lost() {
    let place = Place::new();
    let mut minder = place.minder();
    let gate = Gate::new(&place.folder, "gate");
    let (mut line, _) = Line::greet(&minder);
    line.order(shell(1, &gate.pass()));
    let main = line.hear_started(1);
    // Its record is written by then, or it waits for nothing yet.
    eventually(DEADLINE, "its record", || place.records("run") == 1);
    minder.kill();
    assert!(main.is_alive());
    let next = place.minder();
    let (mut line, minded) = Line::greet(&next);
    assert!(minded.is_empty());
    let adopted = line.adopt();
    assert_eq!((ids(&adopted), adopted[0].pid), (vec![1], Some(main.pid())));
    assert!(line.adopt().is_empty(), "what is minded is adopted once");
    gate.open();
    assert_eq!(line.hear_end(1).1.ending, Ending::Lost);
    assert!(!main.is_alive());
    line.note(1);
    eventually(DEADLINE, "no record", || place.records("run") == 0);
}

#[test]
fn p6_a_run_whose_minder_was_killed_keeps_the_time_that_it_has_left() {
    let place = Place::new();
    let mut minder = place.minder();
    let (runs, gate) = (Journal::new(&place.folder, "runs"), Gate::new(&place.folder, "gate"));
    let (mut line, _) = Line::greet(&minder);
    let timed = |run, ms, command: &str| Start { timeout_ms: Some(ms), ..shell(run, command) };
    line.order(timed(1, 5000, &format!("sleep 6; {}; {}", runs.append("overdue"), gate.pass())));
    let main = line.hear_started(1);
    eventually(DEADLINE, "its record", || place.records("run") == 1);
    minder.kill();
    runs.expect(&["overdue"]);
    let next = place.minder();
    let (mut line, _) = Line::greet(&next);
    assert_eq!(ids(&line.adopt()), [1]);
    // Had it all of its time from now on, this one would be ended first.
    line.order(timed(2, 3000, &gate.pass()));
    let first = loop {
        if let (Report::Ended(end), _) = line.hear().expect("a connection") {
            break end;
        }
    };
    assert_eq!((first.run.as_u64(), first.ending), (1, Ending::TimedOut));
    assert!(!main.is_alive());
    gate.open();
    line.hear_end(2);
}

#[test]
fn p2_however_early_a_minder_is_killed_no_run_comes_to_be_beside_itself() {
    let place = Place::new();
    let (runs, gate) = (Journal::new(&place.folder, "runs"), Gate::new(&place.folder, "gate"));
    let gate_and_go = gate.pass();
    for run in 1..=60 {
        let lock = place.folder.join(run.to_string());
        let command = format!(
            "mkdir {lock} || {}; {}; {gate_and_go}; rmdir {lock}",
            runs.append("overlap"),
            runs.append(&run.to_string()),
            lock = lock.display(),
        );
        let mut minder = place.minder();
        let (mut line, _) = Line::greet(&minder);
        let next = place.minder();
        let (mut next_line, _) = Line::greet(&next);
        line.order(shell(run, &command));
        // From before it has read the order to after the child has begun.
        (0..run * 20_000).for_each(|turn| _ = std::hint::black_box(turn));
        minder.child.kill().expect("a living minder");
        // All that a daemon hears of its end: the process may be there for a moment more.
        while line.hear().is_some() {}
        let mut line = std::mem::replace(&mut next_line, line);
        // The record of the one before may be there still, if its minder was killed before it was noted.
        if !ids(&line.adopt()).contains(&run) {
            // As the daemon does with what it has heard nothing of.
            line.order(shell(run, &command));
        }
        gate.let_through(1);
        let ending = line.hear_end(run).1.ending;
        assert!(matches!(ending, Ending::Exited(0) | Ending::Lost), "{ending:?}");
        line.note(run);
        minder.wait();
    }
    let lines = runs.lines();
    assert!(!lines.contains(&"overlap".into()), "{lines:?}");
    assert!(lines.len() > 50, "{lines:?}");
}

#[test]
fn p7_a_peer_of_another_user_is_refused() {
    if !root_can("become another user") {
        return;
    }
    let place = Place::new();
    let minder = place.minder();
    // As if the folder, which is closed to others, did not keep them away.
    for (path, mode) in [(&place.run_dir, 0o755), (&place.minders(), 0o755), (&minder.socket, 0o777)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("an open folder");
    }
    let (mut line, _) = Line::greet(&minder);
    let socket = minder.socket.clone();
    let heard = thread::spawn(move || {
        // Of this thread alone.
        let nobody = rustix::thread::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("another user");
        let mut stream = UnixStream::connect(socket).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let hello = encode(&Request::Hello { protocol: PROTOCOL }, b"").expect("a frame");
        let _ = stream.write_all(&hello);
        stream.read(&mut [0; 64]).map_err(|error| error.kind())
    });
    let heard = heard.join().expect("no panic");
    assert!(matches!(heard, Ok(0) | Err(ErrorKind::ConnectionReset)), "{heard:?}");
    line.order(shell(1, "exit 0"));
    assert_eq!(line.hear_end(1).1.ending, Ending::Exited(0));
}

#[test]
fn p8_garbage_half_frames_and_silent_connections_harm_nothing() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    let frame = |header: &[u8], payload: usize| {
        let lengths = [header.len() as u32, payload as u32].map(u32::to_be_bytes).concat();
        [&lengths, header].concat()
    };
    let order = encode(&Request::Start(Box::new(shell(9, "exit 9"))), b"contents").expect("a frame");
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        frame(b"{", 0),
        frame(b"[]", 0),
        frame(br#"{"say":"hello"}"#, 0),
        frame(br#"{"say":"hello","protocol":-1}"#, 0),
        frame(br#"{"say":"start","run":1}"#, 0),
        frame(br#"{"say":"noted","run":"seven"}"#, 0),
        frame(&[b'['; 100_000], 0),
        frame(br#"{"say":"unheard-of"}"#, 60 << 20),
        order.clone(),
        order[..order.len() - 1].to_vec(),
        order[..9].to_vec(),
        order[..3].to_vec(),
    ];
    let mut silent = Vec::new();
    for bytes in &garbage {
        let mut stranger = Line::open(&minder);
        // The minder may close before all of it is written.
        let _ = stranger.stream.write_all(bytes);
        drop(stranger);
        let mut stays = Line::open(&minder);
        let _ = stays.stream.write_all(bytes);
        silent.push(stays);
    }
    // None of the strangers has taken the daemon's place.
    line.order(shell(1, "exit 1"));
    assert_eq!(line.hear_end(1).1.ending, Ending::Exited(1));
    let gate = Gate::new(&place.folder, "gate");
    line.order(shell(3, &gate.pass()));
    line.hear_started(3);
    // Half an order, and then garbage, from the daemon itself: the next one finds all as it was.
    line.stream.write_all(&order[..order.len() / 2]).expect("a minder that reads");
    line.stream.write_all(&vec![0xff; 1000]).expect("a minder that reads");
    drop(silent);
    let (mut line, minded) = Line::greet(&minder);
    assert_eq!(ids(&minded), [3, 1], "what goes on is told first");
    line.order(shell(2, "exit 2"));
    assert_eq!(line.hear_end(2).1.ending, Ending::Exited(2));
    gate.open();
    assert_eq!(line.hear_end(3).1.ending, Ending::Exited(0));
    assert!(minders(&place.run_dir, Path::new(PROGRAM)).len() == 1);
}

#[test]
fn p5_a_daemon_that_does_not_read_blocks_no_child_and_loses_only_output_which_is_counted() {
    // All of it is counted by a program that may not be optimised, on a machine that does other things too.
    const PRINTED: u64 = 1_000_000_000;
    let place = Place::new();
    let (minder, runs) = (place.minder(), Journal::new(&place.folder, "runs"));
    let (mut line, _) = Line::greet(&minder);
    let before = minder.memory("VmRSS");
    line.order(shell(
        1,
        &format!("yes something that is printed | head -c {PRINTED}; {}", runs.append("printed")),
    ));
    for run in 2..=20 {
        line.order(shell(run, &format!("yes {run} | head -c 200000; {}", runs.append("printed"))));
    }
    eventually(4 * DEADLINE, "twenty children that were not blocked", || runs.lines().len() == 20);
    let most = minder.memory("VmHWM");
    // The lines that wait for the daemon, the last of each run, and that again with each end.
    let bound = (1 << 10) + 20 * 3 * (KEPT as u64 >> 10) + (4 << 10);
    assert!(most < before + bound, "{before} KiB have grown to {most} KiB");

    let mut heard = Heard::default();
    let mut ended = Vec::new();
    // Output may come after its end.
    while ended.len() < 20 || heard.lines.len() as u64 + heard.dropped < PRINTED {
        match line.hear().expect("a connection") {
            (Report::Output { run, dropped, .. }, lines) if run.as_u64() == 1 => heard.take(&lines, dropped),
            (Report::Ended(end), _) => {
                assert_eq!(end.ending, Ending::Exited(0));
                line.note(end.run.as_u64());
                ended.push(end.run);
            }
            _ => {}
        }
    }
    assert!(heard.dropped > 0);
    assert!(heard.lines.split(|&byte| byte == b'\n').any(|line| line == b"something that is printed"));
    // What the allocator keeps of it is not more for each time.
    let once = minder.memory("VmRSS");
    for run in 21..=60 {
        line.order(shell(run, &format!("yes {run} | head -c 200000")));
        line.hear_end(run);
        line.note(run);
    }
    let again = minder.memory("VmRSS");
    assert!(again < once + (1 << 10), "{once} KiB have grown to {again} KiB");
}

#[test]
fn a_signal_that_comes_with_the_order_reaches_the_run() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    for run in 1..=300 {
        let start =
            encode(&Request::Start(Box::new(shell(run, "read -r _ < /dev/fd/2"))), b"").expect("a frame");
        let run_id = RunId::from_u64(run);
        let signal =
            encode(&Request::Signal { run: run_id, signal: Signal::SIGTERM as i32 }, b"").expect("a frame");
        // Both in what it reads at once. One that is lost would be missed for ever: it has a time limit of none.
        line.stream.write_all(&[start, signal].concat()).expect("a minder that reads");
        assert_eq!(line.hear_end(run).1.ending, Ending::Signaled(15), "{run}");
        line.note(run);
    }
}

#[test]
fn p5_a_signal_that_dumps_core_ends_a_child_on_its_way_to_its_program_and_nothing_else() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    let (busy, writer) = place.busy();
    for run in 1..=3 {
        line.order(program(run, &busy));
        let main = line.hear_started(run);
        main.signal(Signal::SIGQUIT);
        assert_eq!(line.hear_end(run).1.ending, Ending::Signaled(3));
        line.note(run);
    }
    drop(writer);
    assert!(minder.process.is_alive());
    assert_eq!(line.adopt(), []);
}

#[test]
fn a_burst_of_starts_leaves_a_handful_of_threads() {
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    let (busy, writer) = place.busy();
    let threads =
        || fs::read_dir(format!("/proc/{}/task", minder.process.pid())).expect("its threads").count();
    for run in 1..=50 {
        line.order(program(run, &busy));
        line.hear_started(run);
    }
    assert!(threads() >= 50, "each stands still until its child has become its program: {}", threads());
    drop(writer);
    let ends = (0..50).map(|_| {
        loop {
            if let Some((Report::Ended(end), _)) = line.hear() {
                break end.run.as_u64();
            }
        }
    });
    let mut ends: Vec<u64> = ends.collect();
    ends.sort_unstable();
    assert_eq!(ends, (1..=50).collect::<Vec<_>>());
    ends.into_iter().for_each(|run| line.note(run));
    eventually(DEADLINE, "the threads to end", || if threads() < 10 { Ok(()) } else { Err(threads()) });
}

#[test]
fn ten_thousand_runs_in_sequence_leave_nothing_in_the_minder() {
    // The standard ones, what it waits with, its children's ends, what was found in /proc, what wakes who stands by,
    // its socket, /dev/null and the daemon.
    const IDLE: usize = 10;
    let place = Place::new();
    let minder = place.minder();
    let (mut line, _) = Line::greet(&minder);
    let run_until = |line: &mut Line, from: u64, to: u64| {
        for run in from..to {
            let start =
                if run % 10 == 0 { shell(run, "echo line; exit 1") } else { program(run, "/bin/true") };
            line.order(start);
            let ending = line.hear_end(run).1.ending;
            assert!(matches!(ending, Ending::Exited(0 | 1)), "{ending:?}");
            line.note(run);
        }
    };
    // So that the allocator has seen all that it will, and each of the threads that take turns has been the one.
    run_until(&mut line, 1, 1000);
    for run in 20_001..20_004 {
        let (busy, writer) = place.busy();
        line.order(program(run, &busy));
        line.hear_started(run);
        drop(writer);
        line.hear_end(run);
        line.note(run);
        run_until(&mut line, 10 * run, 10 * run + 1);
    }
    let held = || {
        eventually(DEADLINE, "a rest", || {
            let (children, records) = (minder.process.children(), place.records("run"));
            let descriptors = minder.process.descriptors();
            let rest = children.is_empty() && records == 0 && descriptors.len() == IDLE;
            if rest { Ok(()) } else { Err((children, records, descriptors)) }
        });
        (minder.process.descriptors(), minder.memory("VmRSS"))
    };
    let (descriptors, resident) = held();
    run_until(&mut line, 1000, 10_001);
    let (descriptors_after, resident_after) = held();
    assert_eq!(descriptors_after, descriptors);
    // 16 bytes a run would show. What the allocator may take and give back by the page is below that.
    assert!(resident_after <= resident + 128, "{resident} KiB have grown to {resident_after} KiB");
    assert_eq!(fs::read_dir(place.minders().join("runs")).expect("the records").count(), 0);
    assert!(ids(&Line::greet(&minder).1).len() <= 1);
}
