//! What of a watch is legal and odd, whatever the host. Pure.

use super::Remark;
use crate::config::spec::{Command, RunMode, WatchSpec};

/// What there is to say of a watch to a daemon whose effective user id is `euid`.
pub(super) fn remarks(spec: &WatchSpec, euid: u32) -> Vec<Remark> {
    [starts_with_sudo(spec), needs_root(spec, euid), never_ends(spec)].into_iter().flatten().collect()
}

fn starts_with_sudo(spec: &WatchSpec) -> Option<Remark> {
    let program = match &spec.command {
        Command::Shell(line) => line.split_whitespace().next()?,
        Command::Argv(argv) => argv.first()?,
        Command::Script(_) => return None,
    };
    (program.rsplit('/').next() == Some("sudo")).then(|| {
        let message = "the command starts with sudo, which may ask for a password, and nobody answers";
        let help =
            "leave sudo out: uid says as whom the command runs, and without it it is the daemon's user";
        Remark::new("command", message, help)
    })
}

fn needs_root(spec: &WatchSpec, euid: u32) -> Option<Remark> {
    let key = match (&spec.uid, &spec.gid) {
        _ if euid == 0 => return None,
        (Some(_), _) => "uid",
        (None, Some(_)) => "gid",
        (None, None) => return None,
    };
    let message =
        format!("{key} has its effect only if the daemon is root; this check is run by user {euid}");
    Some(Remark::new(key, message, "run the daemon and the check as root, or leave uid and gid out"))
}

fn never_ends(spec: &WatchSpec) -> Option<Remark> {
    let waits = matches!(spec.run_mode, RunMode::Queue { .. }) && spec.timeout.is_none();
    waits.then(|| {
        let message = "this watch has no timeout: behind a run that hangs, every later update waits for ever";
        let help = "add one, such as timeout = \"5m\", here or in [defaults] of the daemon's settings";
        Remark::new("timeout", message, help)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Defaults;
    use crate::config::parse::parse;

    fn keys(keys: &str, euid: u32) -> Vec<&'static str> {
        let text = format!("[[watch]]\nznode = '/a'\n{keys}\n");
        let watches = parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a").unwrap();
        remarks(&watches[0].spec, euid).into_iter().map(|remark| remark.key).collect()
    }

    #[test]
    fn a_command_that_starts_with_sudo_is_odd() {
        for line in ["'sudo make'", "' /usr/bin/sudo -u x make'", "['sudo', 'make']"] {
            assert_eq!(keys(&format!("command = {line}\ntimeout = 1"), 0), ["command"], "{line}");
        }
        for line in ["'sudoku'", "'make sudo'", "['make', 'sudo']"] {
            assert!(keys(&format!("command = {line}\ntimeout = 1"), 0).is_empty(), "{line}");
        }
        assert!(keys("script = \"#!/bin/sh\\nsudo make\"\ntimeout = 1", 0).is_empty());
    }

    #[test]
    fn another_user_is_odd_for_a_daemon_that_is_not_root() {
        assert_eq!(keys("command = 'x'\ntimeout = 1\nuid = 'git'\ngid = 'git'", 1000), ["uid"]);
        assert_eq!(keys("command = 'x'\ntimeout = 1\ngid = 7", 1000), ["gid"]);
        assert!(keys("command = 'x'\ntimeout = 1\nuid = 'git'\ngid = 'git'", 0).is_empty());
    }

    #[test]
    fn a_queue_that_may_wait_for_ever_is_odd_and_other_modes_are_not() {
        assert_eq!(keys("command = 'x'", 0), ["timeout"]);
        assert!(keys("command = 'x'\nrun_mode = 'DISCARD'", 0).is_empty());
        assert!(keys("command = 'x'\nrun_mode = 'PARALLEL'", 0).is_empty());
    }
}
