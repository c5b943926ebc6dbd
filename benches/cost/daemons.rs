//! Daemons as they are on a host: the run folder in memory, as `/run` is, and the log not beside the config folder,
//! where each line would be a change to look at.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::Daemon;
use crate::harness::daemon::Builder;

/// How many tables are in one watch file.
const A_FILE: usize = 500;

/// A watch file that was just written may not be whole: the daemon waits until it is older than that, at its start.
const OLD_ENOUGH: Duration = Duration::from_secs(1);

/// A daemon, and what tells when it is ready.
pub struct Host {
    pub daemon: Daemon,
    told: UnixDatagram,
    _run_dir: TempDir,
}

/// One that is about to start.
pub struct Prepared {
    builder: Builder,
    told: UnixDatagram,
    run_dir: TempDir,
    /// When its watch files were.
    written: Instant,
}

/// Prepares a daemon with these `[[watch]]` tables, in a folder of its own.
pub fn prepare(folder: &Path, zookeeper: &str, settings: &str, tables: &[String]) -> Prepared {
    let mut builder = Daemon::builder(folder, zookeeper).settings(settings);
    for (number, tables) in tables.chunks(A_FILE).enumerate() {
        builder = builder.watch(&format!("{number:05}.toml"), tables.concat());
    }
    let memory = Path::new("/dev/shm");
    let run_dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    let run_dir = run_dir.expect("a run folder");
    let link = folder.join("run");
    fs::remove_dir(&link).expect("no run folder on the disk");
    symlink(run_dir.path(), &link).expect("a link to the run folder");
    let log = folder.join("state/daemon.log");
    let socket = run_dir.path().join("notify");
    let told = UnixDatagram::bind(&socket).expect("a socket");
    told.set_read_timeout(Some(Duration::from_secs(60))).expect("a deadline");
    let builder = builder
        .logging(&["--logfile", log.to_str().expect("a path of text")])
        .environment("NOTIFY_SOCKET", socket.to_str().expect("a path of text"));
    Prepared { builder, told, run_dir, written: Instant::now() }
}

impl Prepared {
    /// Starts it once its watch files are old enough. It is not ready yet; `began` is when it was started.
    pub fn start(self) -> (Host, Instant) {
        thread::sleep(OLD_ENOUGH.saturating_sub(self.written.elapsed()));
        let began = Instant::now();
        let host = Host { daemon: self.builder.start(), told: self.told, _run_dir: self.run_dir };
        (host, began)
    }
}

impl Host {
    /// Starts a daemon with these tables, and returns when it has looked at all that it watches.
    pub fn start(folder: &Path, zookeeper: &str, tables: &[String]) -> Self {
        let (host, _) = prepare(folder, zookeeper, "", tables).start();
        host.wait_until_ready();
        host
    }

    /// Starts it anew, and tells when.
    pub fn restart(&mut self) -> Instant {
        self.daemon.stop();
        let began = Instant::now();
        self.daemon.start_again();
        began
    }

    /// Waits until systemd would be told that the daemon has started.
    pub fn wait_until_ready(&self) {
        let mut message = [0; 4096];
        loop {
            let length = self.told.recv(&mut message).expect("a daemon that becomes ready");
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                return;
            }
        }
    }
}
