//! What comes with the source for others to take: systemd's unit, and how the log file is rotated. Looked at by the
//! programs that read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::Uid;

use crate::harness::{Client, DEADLINE, Daemon, Folder, WatchFile, eventually, shared_chroot};

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

#[test]
fn logrotate_moves_a_log_file_away_and_the_daemon_goes_on_in_another() {
    if !Uid::effective().is_root() {
        eprintln!("not shown: the rules are root's");
        return;
    }
    let folder = Folder::new();
    let logs = folder.join("logs");
    fs::create_dir(&logs).expect("a folder for logs");
    fs::set_permissions(&logs, Permissions::from_mode(0o755)).expect("a folder for logs");
    let log = logs.join("twitcher.log");
    let zookeeper = shared_chroot("logrotate");
    let client = Client::connect(&zookeeper);
    client.create("/value", "before");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .logging(&["--logfile", &log.to_string_lossy()])
        .watch("value.toml", WatchFile::watch("/value", "cat"))
        .start();
    let wait_for = |path: &Path, text: &str| {
        eventually(DEADLINE, format!("{text:?} in {}", path.display()), || {
            let log = fs::read_to_string(path).unwrap_or_default();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    };
    wait_for(&log, "| before\n");
    let (log_there, hup) =
        ("/var/log/twitcher.log", "systemctl kill --kill-whom=main --signal=HUP twitcher.service");
    let rules = read("twitcher.logrotate");
    assert!(rules.contains(log_there) && rules.contains(hup));
    let rules = rules.replace(log_there, &log.to_string_lossy());
    let rules = rules.replace(hup, &format!("kill -HUP {}", daemon.pid()));
    let rules = write(&folder, "rules", &rules);
    let state = folder.join("rotated");
    let rotate = Command::new("logrotate").arg("--force").arg("--state").arg(state).arg(rules).output();
    said(&rotate.expect("logrotate"));
    wait_for(&log, "was opened again");
    client.set("/value", "after");
    wait_for(&log, "| after\n");
    wait_for(&logs.join("twitcher.log.1"), "| before\n");
    assert_eq!(fs::metadata(&log).expect("a log file").permissions().mode() & 0o777, 0o640);
    assert_eq!(daemon.stop().code(), Some(0));
}
