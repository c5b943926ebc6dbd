//! A machine of its own, booted by `systemd-nspawn`: its own processes, files and systemd, and this one's network.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::process::Process;
use crate::harness::zookeeper::eventually::within;

/// A machine boots and stops in seconds where nothing else is at work.
const BOOT: Duration = Duration::from_secs(120);

/// What changes by itself below these, and is nobody's business.
const RESTLESS: [&str; 7] = [
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/log",
    "/var/cache",
    "/var/lib/systemd/timers",
    "/var/lib/systemd/coredump",
    "/tmp",
];

pub struct Machine {
    folder: TempDir,
    nspawn: Child,
    init: Process,
}

impl Machine {
    /// Boots a copy of `root`, and waits until all has started.
    pub fn boot(root: &Path) -> Self {
        // Beside the root, so that it need not go to another file system.
        let folder = tempfile::tempdir_in(root.parent().expect("a folder of the root")).expect("a folder");
        let copy = folder.path().join("root");
        let copied = Command::new("cp").args(["--archive", "--reflink=auto"]).args([root, &copy]).status();
        assert!(copied.expect("cp").success(), "the root was not copied");
        let console = File::create(folder.path().join("console")).expect("a file for the console");
        let mut nspawn = Command::new("systemd-nspawn")
            .args([
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
                "--console=pipe",
            ])
            .arg(format!("--machine=twitcher-boot-{}", std::process::id()))
            .arg(format!("--directory={}", copy.display()))
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a descriptor"))
            .stderr(console)
            .spawn()
            .expect("systemd-nspawn, which 'make test-boot' installs");
        let process = Process::find(i32::try_from(nspawn.id()).expect("a pid")).expect("a process");
        let init = eventually(BOOT, "the machine's first process", || {
            let ended = nspawn.try_wait().expect("a child");
            assert!(ended.is_none(), "systemd-nspawn ended: {}", said(folder.path()));
            process.children().into_iter().find(|child| {
                // Until then it is a copy of systemd-nspawn itself.
                child.program().is_some_and(|program| program.ends_with("systemd/systemd"))
            })
        });
        let machine = Self { folder, nspawn, init };
        eventually(BOOT, "a machine that has started", || {
            let state = machine.ask(&["systemctl", "is-system-running"]);
            if state == "running" { Ok(()) } else { Err((state, said(machine.folder.path()))) }
        });
        machine
    }

    /// Where a path of the machine is in this one. Not of what is in its memory only, such as `/run`.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root().join(inside.trim_start_matches('/'))
    }

    /// The same words with the machine's own paths.
    pub fn inside(&self, text: &str) -> String {
        text.replace(self.root().to_str().expect("a path in UTF-8"), "")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Runs something in the machine, whatever comes of it.
    pub fn run(&self, command: &[impl AsRef<OsStr>]) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.init.pid().to_string(), "--all", "--"])
            .args(command)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter")
    }

    /// What a command prints, without the last line's end.
    pub fn ask(&self, command: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(command).stdout).trim_end().to_owned()
    }

    /// Runs what has to end well, and returns what it prints.
    #[track_caller]
    pub fn order(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
        said.trim_end().to_owned()
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> String {
        self.ask(&["systemctl", "show", "--property", name, "--value", "twitcher"])
    }

    /// Its processes in whose command lines this is, with these.
    pub fn processes(&self, words: &str) -> Vec<(Process, String)> {
        let mut all = vec![self.init];
        let mut known = 0;
        while let Some(parent) = all.get(known) {
            all.extend(parent.children());
            known += 1;
        }
        let described = all.into_iter().map(|process| (process, process.command_line()));
        described.filter(|(_, line)| line.contains(words)).collect()
    }

    /// Every path that is on the machine's disk, but for what changes by itself.
    pub fn paths(&self) -> BTreeSet<String> {
        let found =
            Command::new("find").arg(self.root()).args(["-xdev", "-printf", "/%P\n"]).output().expect("find");
        let is_restless = |path: &str| RESTLESS.iter().any(|restless| Path::new(path).starts_with(restless));
        String::from_utf8_lossy(&found.stdout)
            .lines()
            .filter(|path| !is_restless(path))
            .map(String::from)
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let nspawn = Process::find(i32::try_from(self.nspawn.id()).expect("a pid"));
        let Some(nspawn) = nspawn else { return };
        // As a machine whose power button is pressed.
        nspawn.signal(Signal::SIGTERM);
        if !within(BOOT, || matches!(self.nspawn.try_wait(), Ok(Some(_)) | Err(_))) {
            nspawn.signal(Signal::SIGKILL);
            let _ = self.nspawn.wait();
        }
    }
}

/// The end of what the machine has written to its console.
fn said(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("console")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
