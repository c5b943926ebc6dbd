//! The log by way of syslog: a daemon in a mount namespace of its own, in which `/dev/log` is the test's.

use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::thread;

use crate::harness::{Client, DEADLINE, Daemon, Folder, WatchFile, root_can, shared_chroot};

/// Makes `$1` the daemon's `/dev`, with what a program needs of one.
pub const WITH_THIS_DEV: &str = r#"
set -e
dev=$1
shift
mknod -m 666 "$dev/null" c 1 3
mknod -m 666 "$dev/zero" c 1 5
mknod -m 666 "$dev/urandom" c 1 9
ln -s /proc/self/fd "$dev/fd"
mount --make-rprivate /
mount --bind "$dev" /dev
exec "$@"
"#;

#[test]
fn where_nothing_else_is_said_and_there_is_no_terminal_the_log_goes_to_syslog_as_a_daemons() {
    if !root_can("put a socket where syslog is looked for") {
        return;
    }
    let folder = Folder::new();
    let dev = folder.join("dev");
    std::fs::create_dir(&dev).expect("a folder");
    let syslog = UnixDatagram::bind(dev.join("log")).expect("a socket");
    let (heard_in, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(length) = syslog.recv(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if heard_in.send(line).is_err() {
                return;
            }
        }
    });
    let zookeeper = shared_chroot("syslog");
    Client::connect(&zookeeper).create("/value", "contents");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .wrapped_in(&["unshare", "--mount", "/bin/sh", "-c", WITH_THIS_DEV, "sh", &dev.display().to_string()])
        .logging(&[])
        .watch("value.toml", WatchFile::watch("/value", "echo printed; exit 3"))
        .start();
    // Facility daemon is 3; a notice is 5, and a warning is 4: syslog(3).
    for (priority, text) in
        [("<29>", "started"), ("<29>", "value["), ("<29>", "| printed"), ("<28>", "run failed")]
    {
        let line = loop {
            let line = heard.recv_timeout(DEADLINE).expect("a line of the log");
            if line.contains(text) {
                break line;
            }
        };
        assert!(line.starts_with(priority) && line.contains("twitcher["), "{line}");
    }
    daemon.stop();
}
