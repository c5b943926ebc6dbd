//! What comes with the source for others to take: systemd's unit, and how the log file is rotated. Looked at by the
//! programs that read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{Client, DEADLINE, Daemon, Folder, WatchFile, eventually, root_can, shared_chroot};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).expect(name)
}

/// A file of this name in the folder, which only its owner can write to.
fn write(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect(name);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect(name);
    path
}

/// What a program said, which has to have ended well.
#[track_caller]
fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = Folder::new();
    // It looks whether the program is there, and on this machine it need not be installed.
    let (installed, here) = ("\nExecStart=twitcher run\n", env!("CARGO_BIN_EXE_twitcher"));
    let unit = read("twitcher.service");
    assert!(unit.contains(installed));
    let unit =
        write(&folder, "twitcher.service", &unit.replace(installed, &format!("\nExecStart={here} run\n")));
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(unit)
        .output()
        .expect("systemd-analyze");
    assert_eq!(said(&verify), "");
}

#[test]
fn logrotate_takes_what_comes_for_it() {
    let folder = Folder::new();
    let rules = write(&folder, "rules", &read("twitcher.logrotate"));
    let state = folder.join("state");
    let debug = Command::new("logrotate").arg("--debug").arg("--state").arg(state).arg(rules).output();
    let said = said(&debug.expect("logrotate"));
    // It warns of its own that nothing is done.
    let of_rules = |line: &&str| !line.contains("logrotate in debug mode does nothing");
    let wrong: Vec<&str> = said
        .lines()
        .filter(of_rules)
        .filter(|line| line.contains("error") || line.contains("warning"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(said.contains("rotating pattern: /var/log/twitcher.log "), "{said}");
}

/// A daemon that logs to a file, and what rotates it.
struct Rotated {
    client: Client,
    daemon: Daemon,
    log: PathBuf,
    pid_file: PathBuf,
    folder: Folder,
}

impl Rotated {
    fn new(name: &str) -> Self {
        let folder = Folder::new();
        let logs = folder.join("logs");
        fs::create_dir(&logs).expect("a folder for logs");
        fs::set_permissions(&logs, Permissions::from_mode(0o755)).expect("a folder for logs");
        let (log, pid_file) = (logs.join("twitcher.log"), folder.join("twitcher.pid"));
        let zookeeper = shared_chroot(name);
        let client = Client::connect(&zookeeper);
        client.create("/value", "before");
        let daemon = Daemon::builder(&folder, &zookeeper)
            .logging(&["--logfile", &log.to_string_lossy()])
            .argument("--pidfile")
            .argument(&pid_file)
            .watch("value.toml", WatchFile::watch("/value", "cat"))
            .start();
        let rotated = Self { client, daemon, log, pid_file, folder };
        rotated.wait_for(&rotated.log, "| before\n");
        rotated
    }

    fn wait_for(&self, path: &Path, text: &str) {
        eventually(DEADLINE, format!("{text:?} in {}", path.display()), || {
            let log = fs::read_to_string(path).unwrap_or_default();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    /// Rotates as logrotate does by the rules, but for where the files are, on a machine with this systemctl.
    fn rotate(&self, systemctl: &str) {
        let mut rules = read("twitcher.logrotate");
        for (there, here) in [("/var/log/twitcher.log", &self.log), ("/run/twitcher.pid", &self.pid_file)] {
            assert!(rules.contains(there));
            rules = rules.replace(there, &here.to_string_lossy());
        }
        let rules = write(&self.folder, "rules", &rules);
        let bin = self.folder.join("bin");
        fs::create_dir_all(&bin).expect("a folder for programs");
        let program = bin.join("systemctl");
        fs::write(&program, format!("#!/bin/sh\n{systemctl}\n")).expect("a systemctl");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("a systemctl");
        let others = std::env::var("PATH").expect("a PATH");
        let rotate = Command::new("logrotate")
            .env("PATH", format!("{}:{others}", bin.display()))
            .args(["--force", "--state"])
            .arg(self.folder.join("rotated"))
            .arg(rules)
            .output();
        assert_eq!(said(&rotate.expect("logrotate")), "");
    }

    /// Waits until the log has been moved away and the daemon goes on in another; and stops it.
    fn goes_on(mut self) {
        self.wait_for(&self.log, "was opened again");
        self.client.set("/value", "after");
        self.wait_for(&self.log, "| after\n");
        self.wait_for(&self.log.with_extension("log.1"), "| before\n");
        let mode = fs::metadata(&self.log).expect("a log file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(self.daemon.stop().code(), Some(0));
    }
}

/// What the rules ask systemctl for.
const HANG_UP: &str = "kill --kill-who=main --signal=HUP twitcher.service";

#[test]
fn systemctl_knows_what_logrotate_asks_it_for() {
    assert!(read("twitcher.logrotate").contains(&format!(" systemctl {HANG_UP} ")));
    let help = Command::new("systemctl").args(HANG_UP.split(' ')).arg("--help").output();
    said(&help.expect("systemctl"));
}

#[test]
fn logrotate_moves_a_log_file_away_and_the_daemon_goes_on_in_another() {
    if !root_can("have logrotate take rules as they stand") {
        return;
    }
    let rotated = Rotated::new("logrotate");
    let pid = rotated.daemon.pid();
    // Nobody else is asked.
    fs::remove_file(&rotated.pid_file).expect("the pid file");
    rotated.rotate(&format!("[ \"$*\" = '{HANG_UP}' ] && exec kill -HUP {pid}"));
    rotated.goes_on();
}

#[test]
fn without_systemd_logrotate_asks_the_daemon_of_the_pid_file() {
    if !root_can("have logrotate take rules as they stand") {
        return;
    }
    let rotated = Rotated::new("logrotate-pid");
    rotated.rotate("echo 'System has not been booted with systemd' >&2; exit 1");
    rotated.goes_on();
}

#[test]
fn a_log_file_is_rotated_also_where_no_daemon_runs_and_whoever_has_its_number_is_left_alone() {
    if !root_can("have logrotate take rules as they stand") {
        return;
    }
    let mut rotated = Rotated::new("logrotate-alone");
    let pid_file = rotated.pid_file.clone();
    assert_eq!(rotated.daemon.stop().code(), Some(0));
    let nobody = "echo 'No main process to kill' >&2; exit 1";
    rotated.rotate(nobody);
    rotated.wait_for(&rotated.log.with_extension("log.1"), "| before\n");
    fs::write(&rotated.log, "more\n").expect("a log file");
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
    fs::write(pid_file, format!("{}\n", other.id())).expect("a stale pid file");
    rotated.rotate(nobody);
    rotated.wait_for(&rotated.log.with_extension("log.1"), "more\n");
    drop(other.stdin.take());
    assert_eq!(other.wait().expect("its end").code(), Some(0));
}
