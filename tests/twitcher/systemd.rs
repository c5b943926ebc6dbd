//! What systemd is told: a socket in its place, which is the test's.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::daemon::Builder;
use crate::harness::zookeeper::port::Port;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, Server, WatchFile, eventually, shared_chroot,
};

/// How often the daemon has to say that it lives, where a test wants to hear it.
const WATCHDOG: Duration = Duration::from_secs(2);

/// What the daemon tells.
struct Systemd {
    path: String,
    told: Receiver<Vec<String>>,
}

impl Systemd {
    fn listen(folder: &Folder) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self::at(socket, &path)
    }

    /// Reads from a socket that is there.
    fn at(socket: UnixDatagram, path: &Path) -> Self {
        let (told_in, told) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if told_in.send(text.lines().map(String::from).collect()).is_err() {
                    return;
                }
            }
        });
        Self { path: path.display().to_string(), told }
    }

    fn over(&self, builder: Builder) -> Builder {
        builder.environment("NOTIFY_SOCKET", &self.path)
    }

    fn guarding(&self, builder: Builder) -> Builder {
        self.over(builder).environment("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
    }

    fn next(&self) -> Vec<String> {
        self.told.recv_timeout(DEADLINE).expect("a message")
    }

    /// The next message with this line in it, the watchdog's food apart; and all that came before it.
    #[track_caller]
    fn until(&self, line: &str) -> (Vec<Vec<String>>, Vec<String>) {
        let mut before = Vec::new();
        loop {
            let told = self.told.recv_timeout(DEADLINE);
            let told = told.unwrap_or_else(|_| panic!("no {line:?} after {before:?}"));
            if told.iter().any(|told| told == line) {
                return (before, told);
            }
            before.push(told);
        }
    }

    /// Takes all that was sent before now and was not looked at.
    #[track_caller]
    fn drain(&self) -> Vec<Vec<String>> {
        let mark = "a mark of the test's own";
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.send_to(mark.as_bytes(), &self.path).expect("a message");
        self.until(mark).0
    }

    /// Waits until the watchdog was fed so often.
    fn fed(&self, times: usize) {
        for _ in 0..times {
            self.until("WATCHDOG=1");
        }
    }
}

/// A place with a znode, and a watch of it.
fn watching(folder: &Folder, zookeeper: &str) -> Builder {
    Client::connect(zookeeper).create("/value", "0");
    Daemon::builder(folder, zookeeper).watch("value.toml", WatchFile::watch("/value", "true"))
}

#[test]
fn systemd_is_told_of_the_start_of_a_reload_and_of_the_stop_in_this_order() {
    let folder = Folder::new();
    let systemd = Systemd::listen(&folder);
    let mut daemon = systemd.over(watching(&folder, &shared_chroot("notify"))).start();
    let (before, ready) = systemd.until("READY=1");
    assert_eq!(ready, ["READY=1", "STATUS=watching 1 znode"]);
    assert!(before.iter().flatten().all(|line| line.starts_with("STATUS=")), "{before:?}");
    for _ in 0..2 {
        daemon.signal(Signal::SIGHUP);
        let reloading = systemd.next();
        let [first, second] = &reloading[..] else { panic!("{reloading:?}") };
        assert_eq!(first, "RELOADING=1");
        let since = second.strip_prefix("MONOTONIC_USEC=").expect("a time");
        assert!(since.parse::<u64>().expect("microseconds") > 0);
        assert_eq!(systemd.next(), ["READY=1"]);
    }
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(systemd.next(), ["STOPPING=1"]);
    assert_eq!(systemd.drain(), Vec::<Vec<String>>::new());
}

#[test]
fn p8_without_an_ensemble_it_is_ready_after_a_while_says_what_it_waits_for_and_feeds_the_watchdog() {
    let folder = Folder::new();
    let systemd = Systemd::listen(&folder);
    let nobody = Port::reserve();
    let at = nobody.address().to_string();
    let builder = Daemon::builder(&folder, &at).watch("value.toml", WatchFile::watch("/value", "true"));
    let mut daemon = systemd.guarding(builder).start();
    let status = format!("STATUS=waiting for ZooKeeper at {at}: no server answers");
    let (before, ready) = systemd.until("READY=1");
    assert_eq!(ready, ["READY=1", &status]);
    assert!(before.iter().any(|told| *told == ["WATCHDOG=1"]), "{before:?}");
    systemd.fed(3);
    assert_eq!(daemon.stop().code(), Some(0));
    systemd.until("STOPPING=1");
}

#[test]
fn the_status_says_that_the_connection_is_lost_and_when_it_is_back() {
    let folder = Folder::new();
    let systemd = Systemd::listen(&folder);
    let server = Server::start();
    let zookeeper = server.chroot("status");
    let mut daemon = systemd.over(watching(&folder, &zookeeper)).start();
    systemd.until("READY=1");
    server.stop();
    systemd.until(&format!("STATUS=waiting for ZooKeeper at {zookeeper}, since the connection was lost"));
    server.start_again();
    systemd.until("STATUS=watching 1 znode");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_by_a_daemon_that_works_and_not_by_one_that_stands_still() {
    let folder = Folder::new();
    let systemd = Systemd::listen(&folder);
    let mut daemon = systemd.guarding(watching(&folder, &shared_chroot("watchdog"))).start();
    systemd.fed(5);
    daemon.signal(Signal::SIGSTOP);
    let process = daemon.process();
    eventually(DEADLINE, "it to stand still", || process.is_stopped());
    systemd.drain();
    let more = systemd.told.recv_timeout(2 * WATCHDOG);
    assert!(more.is_err(), "{more:?}");
    daemon.signal(Signal::SIGCONT);
    systemd.fed(2);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// More runs than may wait for a minder between the scheduler and its socket.
const WATCHES: usize = 300;

#[test]
fn p8_the_watchdog_is_fed_while_a_minder_takes_nothing_and_what_waits_is_run_when_it_does() {
    let folder = Folder::new();
    let systemd = Systemd::listen(&folder);
    let zookeeper = shared_chroot("held-up");
    let client = Client::connect(&zookeeper);
    // Much of it, so that the minder's socket holds few.
    client.create("/value", vec![b' '; 100 << 10]);
    let runs = Journal::new(&folder, "runs");
    let command = runs.append("ran");
    let watches =
        (1..WATCHES).fold(WatchFile::watch("/value", &command), |file, _| file.and("/value", &command));
    let builder = Daemon::builder(&folder, &zookeeper)
        .settings(&format!("[daemon]\nmax_running = {WATCHES}\n"))
        .watch("value.toml", watches);
    let mut daemon = systemd.guarding(builder).start();
    runs.wait_for(WATCHES);
    let minder = daemon.minder();
    minder.signal(Signal::SIGSTOP);
    eventually(DEADLINE, "it to stand still", || minder.is_stopped());
    client.set("/value", vec![b'.'; 100 << 10]);
    // The scheduler is told no more, and neither is a heartbeat.
    systemd.drain();
    systemd.fed(8);
    minder.signal(Signal::SIGCONT);
    runs.wait_for(2 * WATCHES);
    systemd.fed(2);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn p8_a_manager_that_reads_nothing_holds_nothing_up_and_learns_all_the_same_that_the_daemon_is_ready() {
    let folder = Folder::new();
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("a socket that waits for nobody");
    let full = loop {
        if let Err(error) = filler.send_to(b"FILLER=1", &path) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let zookeeper = shared_chroot("full-socket");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .watch("value.toml", WatchFile::watch("/value", &runs.append("$(cat)")))
        .environment("NOTIFY_SOCKET", &path.to_string_lossy())
        .environment("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())
        .start();
    runs.expect(&["0"]);
    daemon.wait_until_ready();
    // Its end is told to nobody either.
    assert_eq!(daemon.stop().code(), Some(0));
    daemon.start_again();
    runs.expect(&["0", "0"]);
    daemon.wait_until_ready();
    for reload in 1..4 {
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for_log_times("reloaded", reload);
    }
    client.set("/value", "1");
    runs.expect(&["0", "0", "1"]);
    assert_eq!(daemon.log().matches("reloaded").count(), 3, "{}", daemon.log());
    let systemd = Systemd::at(socket, &path);
    let (before, ready) = systemd.until("READY=1");
    assert!(before.iter().all(|told| *told == ["FILLER=1"]), "{before:?}");
    assert_eq!(ready, ["READY=1", "STATUS=watching 1 znode"]);
    assert_eq!(systemd.next()[0], "RELOADING=1");
    assert_eq!(systemd.next(), ["READY=1"]);
    systemd.fed(2);
    assert_eq!(daemon.stop().code(), Some(0));
    systemd.until("STOPPING=1");
}
