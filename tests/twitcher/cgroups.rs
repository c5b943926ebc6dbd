//! Runs in cgroups: one that no signal ends, and ones that nothing leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::process::Process;
use crate::harness::zookeeper::eventually::within;
use crate::harness::{DEADLINE, Site, WatchFile, eventually, is_shown};

/// A cgroup of this test's own, removed at its end.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Why there is none, where none can be made below `mount`.
    fn below(mount: Option<PathBuf>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mount = mount.ok_or("none is mounted")?;
        let path = mount.join(format!("twitcher-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).expect("a setting of a cgroup");
    }

    fn processes(&self) -> Vec<Process> {
        let list = fs::read_to_string(self.path.join("cgroup.procs")).expect("the processes of a cgroup");
        list.lines().filter_map(|pid| Process::find(pid.parse().ok()?)).collect()
    }

    /// The cgroups in it.
    fn folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).expect("a cgroup").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("freezer.state"), "THAWED");
        let removed = within(DEADLINE, || {
            self.folders().iter().for_each(|folder| drop(fs::remove_dir(folder)));
            fs::remove_dir(&self.path).is_ok()
        });
        if !removed {
            eprintln!("{} is still there", self.path.display());
        }
    }
}

/// Where a file system of this type is mounted with this option, by `/proc/self/mountinfo`.
fn mount_of(kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    mounts.lines().find_map(|mount| {
        let (place, kinds) = mount.split_once(" - ")?;
        let mut kinds = kinds.split(' ');
        let is_it = kinds.next() == Some(kind) && kinds.nth(1)?.split(',').any(|each| each == option);
        is_it.then(|| PathBuf::from(place.split(' ').nth(4).expect("a mount point")))
    })
}

#[test]
fn p2_a_run_that_does_not_end_by_sigkill_is_told_of_and_no_other_one_starts_beside_it() {
    // Of version 1, since what a freezer of version 2 holds ends by SIGKILL.
    let freezer = match Cgroup::below(mount_of("cgroup", "freezer")) {
        Ok(freezer) => freezer,
        // The one thing that is not asked for under CI: of the machines of today few have it.
        Err(why) => return eprintln!("not shown: there is no cgroup freezer of version 1 here: {why}"),
    };
    let site = Site::new("stuck");
    site.client.create("/stuck", "0");
    site.client.create("/other", "0");
    let (stuck, other) = (site.journal("stuck"), site.journal("other"));
    freezer.write("freezer.state", "FROZEN");
    // It stays where it is from the moment at which it joins.
    let commands = [
        stuck.append("$(cat)"),
        format!("[ $TWITCHER_EVENT = changed ] || echo $$ > {}/cgroup.procs", freezer.path.display()),
        "exit 3".to_owned(),
    ];
    let watches = WatchFile::watch("/stuck", &commands.join("\n"))
        .key("name", "\"stuck\"")
        .key("timeout", "\"3s\"")
        .key("kill_after", "\"500ms\"")
        .and("/other", &other.append("$(cat)"));
    let mut daemon = site.builder().watch("both.toml", watches).start();
    stuck.expect(&["0"]);
    eventually(DEADLINE, "a frozen run", || freezer.processes().len() == 1);
    let frozen = freezer.processes().remove(0);
    site.client.set("/stuck", "1");
    daemon.wait_for_log("]: the run does not end by SIGKILL");
    let line = |log: &str, text: &str| log.lines().find(|line| line.contains(text)).map(str::to_owned);
    let told = line(&daemon.log(), "does not end by SIGKILL").expect("the line");
    assert!(told.contains(" ERROR stuck["), "{told}");
    // Others go on beside it, and nothing starts in its place.
    site.client.set("/other", "1");
    other.expect(&["0", "1"]);
    assert!(frozen.is_alive());
    stuck.expect(&["0"]);
    assert!(!daemon.log().contains("outcome=timed-out"), "{}", daemon.log());

    // What has outlived the daemon is as much in the way.
    daemon.kill();
    daemon.start_again();
    daemon.wait_for_log("run goes on since before the daemon started");
    site.client.set("/stuck", "2");
    other.expect(&["0", "1", "1"]);
    site.client.set("/other", "2");
    other.expect(&["0", "1", "1", "2"]);
    assert!(frozen.is_alive());
    stuck.expect(&["0"]);

    freezer.write("freezer.state", "THAWED");
    eventually(DEADLINE, "the frozen process to be gone", || !frozen.is_alive());
    daemon.wait_for_log("outcome=timed-out");
    assert_eq!(stuck.wait_for(2)[1], "2");
    let log = daemon.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text:?} in {log}"));
    assert!(at("outcome=timed-out") < log.rfind("stuck[").expect("a run"), "{log}");
}

#[test]
fn p6_what_leaves_everything_else_does_not_leave_the_cgroup_of_its_run() {
    let unified = Cgroup::below(mount_of("cgroup2", "rw"));
    let why = unified.as_ref().err().cloned().unwrap_or_default();
    if !is_shown(unified.is_ok(), &format!("there is no cgroup of version 2 here to be divided: {why}")) {
        return;
    }
    let service = unified.expect("a cgroup");
    // As systemd marks what it has delegated.
    let delegate =
        |name: &str| rustix::fs::setxattr(&service.path, name, b"1", rustix::fs::XattrFlags::empty()).is_ok();
    let is_delegated = delegate("trusted.delegate") || delegate("user.delegate");
    if !is_shown(is_delegated, "a cgroup cannot be marked as delegated here") {
        return;
    }
    let site = Site::new("delegated");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    // The one that escapes has neither parent, nor group, nor session, nor environment of the run's.
    let escape = format!("echo \\$\\$ >> {}; exec sleep 1000", runs.path().display());
    let commands = [
        runs.append("$(cat) $(sed -n s/0:://p /proc/self/cgroup)"),
        format!("env -i /usr/bin/setsid -f /bin/sh -c \"{escape}\""),
        format!("[ $TWITCHER_EVENT = loaded ] || {}", gate.pass()),
        "trap '' TERM\nwhile :; do sleep 1000; done".to_owned(),
    ];
    let watches = WatchFile::watch("/value", &commands.join("\n"))
        .key("name", "\"escapes\"")
        .key("timeout", "\"3s\"")
        .key("kill_after", "\"500ms\"");
    let into = ["/bin/sh", "-c", "echo $$ > $0/cgroup.procs; exec \"$@\"", path(&service.path)];
    let mut daemon = site.builder().wrapped_in(&into).watch("value.toml", watches).start();
    for value in ["0", "1"] {
        let count = if value == "0" { 2 } else { 4 };
        let lines = runs.wait_for(count)[count - 2..].to_vec();
        let cgroup = lines[0].strip_prefix(&format!("{value} ")).expect("the cgroup of the run");
        let name = Path::new(cgroup).file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("run-"), "{cgroup}");
        assert!(cgroup.contains(&*service.path.file_name().expect("a name").to_string_lossy()), "{cgroup}");
        if let Some(escaped) = Process::find(lines[1].parse().expect("a pid")) {
            eventually(DEADLINE, "the escaped process to be gone", || !escaped.is_alive());
        }
        eventually(DEADLINE, "the cgroup of the run to be gone", || !service.path.join(&name).exists());
        site.client.set("/value", "1");
    }
    daemon.wait_for_log_times("outcome=timed-out", 2);
    assert_eq!(service.folders(), Vec::<PathBuf>::new());
    // What the daemon and its minder are in is theirs alone.
    let own = [daemon.process(), daemon.minder()];
    assert!(service.processes().iter().all(|process| own.contains(process)), "{:?}", service.processes());
    assert_eq!(daemon.stop().code(), Some(0));
    eventually(DEADLINE, "nothing to be left in the cgroup", || service.processes().is_empty());
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
