//! How a daemon ends, and what it leaves to the next.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use nix::sys::signal::Signal;

use crate::harness::process::Process;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, Server, Site, WatchFile, eventually, shared_chroot, twitcher,
};

fn running(zookeeper: &str, folder: &Folder) -> (Client, Journal, Daemon) {
    let client = Client::connect(zookeeper);
    client.create("/value", "0");
    let runs = Journal::new(folder, "runs");
    let watch = WatchFile::watch("/value", &runs.append("$(cat)"));
    let daemon = Daemon::builder(folder, zookeeper).watch("value.toml", watch).start();
    runs.expect(&["0"]);
    (client, runs, daemon)
}

#[test]
fn a_daemon_ends_well_when_it_is_asked_to_with_either_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = Folder::new();
        let (_client, _runs, mut daemon) = running(&shared_chroot("stopped"), &folder);
        let minder = daemon.minder();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0), "{signal}");
        // With nothing to mind it has no reason to stay.
        eventually(DEADLINE, "the minder to end", || !minder.is_alive());
        assert!(daemon.minders().is_empty());
    }
}

#[test]
fn a_daemon_ends_at_once_whatever_waits_for_its_time() {
    for (key, value, waits) in [
        ("retry_delay", "\"1h\"\nretry_max_delay = \"1h\"\nretries = 1", "waits for its retry"),
        ("settle", "\"1h\"", "settles"),
        ("splay", "\"1000h\"", "splay"),
        ("min_interval", "\"1h\"", "min_interval"),
    ] {
        let site = Site::new("waits");
        site.client.create("/value", "0");
        let watch = WatchFile::watch("/value", "false").key(key, value);
        let mut daemon = site.builder().watch("value.toml", watch).start();
        daemon.wait_until_ready();
        if key == "min_interval" {
            daemon.wait_for_log("run failed");
            site.client.set("/value", "1");
        }
        eventually(DEADLINE, format!("an update that waits: {waits}"), || {
            let status = twitcher().args(["status", "--json", "--run-dir"]).arg(daemon.run_dir()).output();
            let status = String::from_utf8(status.expect("a status").stdout).expect("text");
            if status.contains("\"state\": \"waiting\"") { Ok(()) } else { Err(status) }
        });
        // Far less than what it waits for.
        assert_eq!(daemon.stop().code(), Some(0), "{key}");
    }
}

#[test]
fn a_daemon_ends_well_while_its_ensemble_is_away() {
    let folder = Folder::new();
    let server = Server::start();
    let (_client, _runs, mut daemon) = running(&server.chroot("stopped"), &folder);
    server.stop();
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_daemon_that_never_reached_its_ensemble_ends_well() {
    let folder = Folder::new();
    let server = Server::start();
    let address = server.address();
    server.stop();
    let runs = Journal::new(&folder, "runs");
    let watch = WatchFile::watch("/value", &runs.append("$(cat)"));
    let mut daemon = Daemon::builder(&folder, &address).watch("value.toml", watch).start();
    daemon.wait_for_log("cannot reach ZooKeeper");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(runs.lines().is_empty());
}

#[test]
fn a_daemon_that_waits_for_a_minder_before_it_has_started_ends_well() {
    let folder = Folder::new();
    let builder = Daemon::builder(&folder, "127.0.0.1:1");
    let minders = folder.join("run/minder");
    fs::create_dir(&minders).expect("a folder for minders");
    fs::set_permissions(&minders, Permissions::from_mode(0o700)).expect("a folder for minders");
    // It is connected with, and says nothing.
    let minder = UnixListener::bind(minders.join("silent.sock")).expect("a socket");
    minder.set_nonblocking(true).expect("a socket");
    let mut daemon = builder.start();
    let _connection = eventually(DEADLINE, "the daemon to connect", || minder.accept());
    // Not before it has given up either: that would be a failure.
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_daemon_with_a_broken_settings_file_does_not_start() {
    let folder = Folder::new();
    let settings = folder.join("settings.toml");
    std::fs::write(&settings, "[zookeeper]\nserver = \"127.0.0.1:1\"\n").expect("a settings file");
    let output = twitcher()
        .args(["run", "--log-to-stderr", "--config"])
        .arg(&settings)
        .args(["--run-dir".as_ref(), folder.as_os_str()])
        .args(["--state-dir".as_ref(), folder.as_os_str()])
        .output()
        .expect("a daemon");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("settings.toml:2"), "{error}");
    assert!(error.contains("servers"), "{error}");
}

#[test]
fn p6_a_daemon_that_is_to_end_its_children_when_it_stops_does_and_asks_them_first() {
    let site = Site::new("stop-children");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let commands = [
        format!("trap '{}' TERM", runs.append("asked")),
        runs.append("$$"),
        format!("while :; do {}; done", gate.pass()),
    ];
    let watch = WatchFile::watch("/value", &commands.join("\n")).key("kill_after", "\"1s\"");
    let mut daemon =
        site.builder().settings("[daemon]\nstop_children = true\n").watch("value.toml", watch).start();
    let pid = runs.wait_for(1).remove(0).parse().expect("a pid");
    let child = Process::find(pid).expect("a child");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!child.is_alive());
    assert_eq!(runs.lines()[1..], ["asked"]);
}

#[test]
fn a_daemon_that_waits_for_its_children_when_it_stops_waits_no_longer_when_it_is_asked_again() {
    let site = Site::new("stop-twice");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let command = [
        format!("trap '{}' TERM", runs.append("asked")),
        runs.append("$$"),
        format!("until {}; do :; done", gate.pass()),
    ];
    let watch = WatchFile::watch("/value", &command.join("\n")).key("kill_after", "\"1h\"");
    let mut daemon =
        site.builder().settings("[daemon]\nstop_children = true\n").watch("value.toml", watch).start();
    let pid = runs.wait_for(1).remove(0).parse().expect("a pid");
    let child = Process::find(pid).expect("a child");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(runs.wait_for(2)[1], "asked");
    assert!(daemon.is_running());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(daemon.log().contains("stopping at once: SIGTERM again"), "{}", daemon.log());
    assert!(child.is_alive());
}
