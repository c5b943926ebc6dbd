//! The daemon, its minder or both are killed, stopped or replaced in the middle of a run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::daemon::Builder;
use crate::harness::process::Process;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Gate, Journal, Site, WatchFile, eventually, install, shared_chroot,
    twitcher,
};
use crate::minder::leave_long_ends;

/// A watch named `slow`, whose runs wait at a gate and then print their value and exit with 7, and one
/// named `seen` that shows that an update has come.
struct Rig {
    client: Client,
    runs: Journal,
    seen: Journal,
    gate: Gate,
    daemon: Daemon,
    _folder: Folder,
}

impl Rig {
    fn new(mode: &str) -> Self {
        Self::with(mode, "", |watch| watch)
    }

    fn with(mode: &str, settings: &str, adjust: impl FnOnce(WatchFile) -> WatchFile) -> Self {
        Self::started(mode, adjust, |_, builder| builder.settings(settings).start())
    }

    fn started(
        mode: &str,
        adjust: impl FnOnce(WatchFile) -> WatchFile,
        start: impl FnOnce(&Path, Builder) -> Daemon,
    ) -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("takeover");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, seen) = (Journal::new(&folder, "runs"), Journal::new(&folder, "seen"));
        let gate = Gate::new(&folder, "gate");
        let command = [
            "value=$(cat)".to_owned(),
            runs.append("start $value"),
            gate.pass(),
            "echo said by $value".to_owned(),
            runs.append("end $value"),
            "exit 7".to_owned(),
        ];
        let watch = WatchFile::watch("/value", &command.join("\n"))
            .key("name", "\"slow\"")
            .key("run_mode", format!("{mode:?}"));
        let watches = adjust(watch)
            .and("/value", &seen.append("$(cat)"))
            .key("name", "\"seen\"")
            .key("run_mode", "\"PARALLEL\"");
        let daemon = start(&folder, Daemon::builder(&folder, &zookeeper).watch("value.toml", watches));
        let rig = Self { client, runs, seen, gate, daemon, _folder: folder };
        rig.wait_until_seen("0");
        rig.runs.wait_for(1);
        rig
    }

    #[track_caller]
    fn wait_until_seen(&self, value: &str) {
        eventually(DEADLINE, format!("{value} to be seen"), || {
            let seen = self.seen.lines();
            if seen.iter().any(|line| line == value) { Ok(()) } else { Err(seen) }
        });
    }

    /// The main process of the one run that waits at the gate.
    #[track_caller]
    fn child(&self) -> Process {
        let minder = self.daemon.minder();
        // That of `seen` may not have ended yet.
        eventually(DEADLINE, "one child", || match minder.children()[..] {
            [child] => Ok(child),
            ref others => Err(others.to_vec()),
        })
    }

    /// What the minder runs now, or nothing where the time of it is over already.
    fn children(&self) -> Vec<Process> {
        self.daemon.minder().children()
    }

    /// How often each of `slow`'s runs that ended did so with `outcome`.
    fn endings(&self, outcome: &str) -> usize {
        let log = self.daemon.log();
        log.lines()
            .filter(|line| {
                (line.contains("run ended") || line.contains("run failed"))
                    && line.contains("slow")
                    && line.contains(&format!("outcome={outcome}"))
            })
            .count()
    }

    #[track_caller]
    fn wait_for_endings(&self, outcome: &str, count: usize) {
        eventually(DEADLINE, format!("{count} runs of slow that ended with {outcome}"), || {
            let found = self.endings(outcome);
            if found == count { Ok(()) } else { Err((found, self.daemon.log())) }
        });
    }

    fn kill_minder(&self) {
        let minder = self.daemon.minder();
        minder.signal(Signal::SIGKILL);
        eventually(DEADLINE, "the minder to die", || !minder.is_alive());
    }
}

fn a_killed_daemon_leaves_a_run(mode: &str) -> Rig {
    let mut rig = Rig::new(mode);
    rig.daemon.kill();
    rig.client.set("/value", "1");
    rig.daemon.start_again();
    rig.wait_until_seen("1");
    rig
}

/// The first run's exit status and what it printed are in the second daemon's log, once.
fn the_first_run_is_accounted_for(rig: &Rig, runs: usize) {
    rig.wait_for_endings("exited(7)", runs);
    let log = rig.daemon.log();
    let from = log.rfind("started release=").expect("the second daemon's start");
    assert!(log[from..].contains("said by 0"), "{log}");
    assert_eq!(log.matches("said by 0").count(), 1, "{log}");
}

#[test]
fn p1_p2_a_killed_daemon_leaves_a_queued_run_to_the_next_which_tells_its_end_and_runs_what_came_after_it() {
    let rig = a_killed_daemon_leaves_a_run("QUEUE");
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.gate.open();
    rig.runs.expect(&["start 0", "end 0", "start 1", "end 1"]);
    the_first_run_is_accounted_for(&rig, 2);
}

#[test]
fn p2_a_killed_daemon_leaves_a_run_to_the_next_which_discards_what_comes_during_it() {
    let rig = a_killed_daemon_leaves_a_run("DISCARD");
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.gate.open();
    the_first_run_is_accounted_for(&rig, 1);
    rig.client.set("/value", "2");
    rig.runs.expect(&["start 0", "end 0", "start 2", "end 2"]);
}

#[test]
fn p1_a_killed_daemon_leaves_a_parallel_run_to_the_next_which_starts_others_beside_it() {
    let rig = a_killed_daemon_leaves_a_run("PARALLEL");
    assert_eq!(rig.runs.wait_for(2), ["start 0", "start 1"]);
    rig.gate.open();
    assert_eq!(rig.runs.wait_for(4).len(), 4);
    the_first_run_is_accounted_for(&rig, 2);
}

#[test]
fn p2_a_run_that_ended_while_no_daemon_was_there_is_told_once_by_the_next() {
    let mut rig = Rig::new("QUEUE");
    let minder = rig.daemon.minder();
    rig.daemon.kill();
    rig.gate.let_through(1);
    rig.runs.expect(&["start 0", "end 0"]);
    eventually(DEADLINE, "the minder to end", || !minder.is_alive());
    rig.daemon.start_again();
    the_first_run_is_accounted_for(&rig, 1);
    rig.runs.expect(&["start 0", "end 0", "start 0"]);
    // And not again by the one after it.
    assert_eq!(rig.daemon.stop().code(), Some(0));
    rig.daemon.start_again();
    // Not the one that follows for what the third daemon finds.
    rig.gate.let_through(1);
    rig.wait_for_endings("exited(7)", 2);
}

#[test]
fn p1_p2_p6_a_run_whose_time_is_over_while_no_daemon_is_there_timed_out_in_the_log_of_the_next() {
    let mut rig = Rig::with("QUEUE", "", |watch| watch.key("timeout", "\"2s\"").key("kill_after", "\"1s\""));
    let (minder, children) = (rig.daemon.minder(), rig.children());
    rig.daemon.kill();
    eventually(DEADLINE, "the minder to end", || !minder.is_alive());
    assert!(!children.into_iter().any(Process::is_alive));
    rig.client.set("/value", "1");
    rig.daemon.start_again();
    rig.wait_for_endings("timed-out", 1);
    rig.gate.open();
    rig.runs.expect(&["start 0", "start 1", "end 1"]);
}

#[test]
fn p2_p6_a_run_that_is_taken_over_keeps_its_timeout() {
    let mut rig = Rig::with("QUEUE", "", |watch| watch.key("timeout", "\"8s\"").key("kill_after", "\"1s\""));
    let children = rig.children();
    assert!(!children.is_empty(), "the run was over before it was looked at");
    rig.daemon.kill();
    rig.client.set("/value", "1");
    rig.daemon.start_again();
    rig.wait_until_seen("1");
    // Nothing is started beside it. On a slow machine it may be over by now.
    let lines = rig.runs.lines();
    assert!(lines == ["start 0"] || !children.iter().any(|child| child.is_alive()), "{lines:?}");
    rig.wait_for_endings("timed-out", 1);
    assert!(!children.into_iter().any(Process::is_alive));
    rig.gate.open();
    rig.runs.expect(&["start 0", "start 1", "end 1"]);
}

fn p2_an_orphan_is_waited_for(mode: &str, end: impl FnOnce(&mut Rig)) -> Rig {
    let mut rig = Rig::with(mode, "", |watch| watch.key("output", "\"null\""));
    let child = rig.child();
    end(&mut rig);
    rig.client.set("/value", "1");
    rig.wait_until_seen("1");
    assert!(child.is_alive());
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.gate.let_through(1);
    rig.wait_for_endings("lost", 1);
    assert!(!child.is_alive());
    rig.gate.open();
    rig
}

fn kill_both(rig: &mut Rig) {
    let minder = rig.daemon.minder();
    rig.daemon.kill();
    minder.signal(Signal::SIGKILL);
    eventually(DEADLINE, "the minder to die", || !minder.is_alive());
    rig.daemon.start_again();
}

#[test]
fn p1_p2_p8_a_queued_run_whose_minder_was_killed_is_waited_for_and_lost() {
    let rig = p2_an_orphan_is_waited_for("QUEUE", |rig| rig.kill_minder());
    rig.runs.expect(&["start 0", "end 0", "start 1", "end 1"]);
}

#[test]
fn p2_p8_a_run_whose_minder_was_killed_is_waited_for_and_lost_and_updates_meanwhile_are_discarded() {
    let rig = p2_an_orphan_is_waited_for("DISCARD", |rig| rig.kill_minder());
    rig.client.set("/value", "2");
    rig.runs.expect(&["start 0", "end 0", "start 2", "end 2"]);
}

#[test]
fn p1_p2_a_queued_run_whose_minder_and_daemon_were_killed_is_waited_for_and_lost() {
    let rig = p2_an_orphan_is_waited_for("QUEUE", kill_both);
    rig.runs.expect(&["start 0", "end 0", "start 1", "end 1"]);
}

#[test]
fn p2_a_run_whose_minder_and_daemon_were_killed_is_waited_for_and_lost_and_updates_are_discarded() {
    let rig = p2_an_orphan_is_waited_for("DISCARD", kill_both);
    rig.client.set("/value", "2");
    rig.runs.expect(&["start 0", "end 0", "start 2", "end 2"]);
}

#[test]
fn p2_p6_a_run_that_outlives_both_keeps_its_timeout() {
    let adjust = |watch: WatchFile| watch.key("timeout", "\"4s\"").key("output", "\"null\"");
    let mut rig = Rig::with("QUEUE", "", adjust);
    let children = rig.children();
    kill_both(&mut rig);
    rig.wait_for_endings("timed-out", 1);
    assert!(!children.into_iter().any(Process::is_alive));
    rig.gate.open();
    rig.runs.expect(&["start 0", "start 0", "end 0"]);
}

/// A daemon that runs a copy of the program, which can be replaced.
fn installed() -> (PathBuf, Rig) {
    let mut program = PathBuf::new();
    let rig = Rig::started(
        "QUEUE",
        |watch| watch,
        |folder, builder| {
            program = folder.join("installed");
            install(&program);
            builder.program(&program).start()
        },
    );
    (program, rig)
}

/// The minders, the one that runs what is installed now and those that run what was.
fn new_and_old(rig: &Rig, program: &Path) -> (Vec<Process>, Vec<Process>) {
    let installed = fs::metadata(program).expect("the program").ino();
    rig.daemon.minders().into_iter().partition(|minder| {
        let executed = fs::metadata(format!("/proc/{}/exe", minder.pid()));
        executed.expect("a living minder").ino() == installed
    })
}

#[test]
fn p1_p2_the_minder_of_a_replaced_program_keeps_its_run_and_another_takes_new_orders() {
    let (program, mut rig) = installed();
    let (new, old) = new_and_old(&rig, &program);
    let ([first], []) = (&new[..], &old[..]) else { panic!("{new:?} and {old:?}") };
    assert_eq!(rig.daemon.stop().code(), Some(0));
    install(&program);
    rig.client.set("/value", "1");
    rig.daemon.start_again();
    // Run by the new minder, beside the first one's.
    rig.wait_until_seen("1");
    assert_eq!(rig.runs.lines(), ["start 0"]);
    let (new, old) = new_and_old(&rig, &program);
    let ([second], [left]) = (&new[..], &old[..]) else { panic!("{new:?} and {old:?}") };
    assert_eq!(left, first);
    rig.gate.let_through(1);
    rig.wait_for_endings("exited(7)", 1);
    eventually(DEADLINE, "the first minder to end", || !first.is_alive());
    assert_eq!(rig.runs.wait_for(3), ["start 0", "end 0", "start 1"]);

    // The second one's run is taken over by a third, while it is left by a second daemon that is killed.
    rig.daemon.kill();
    install(&program);
    rig.daemon.start_again();
    rig.daemon.wait_for_log("an earlier minder keeps its runs to their end");
    rig.gate.open();
    eventually(DEADLINE, "the second minder to end", || !second.is_alive());
    rig.client.set("/value", "2");
    eventually(DEADLINE, "the last update to be run", || {
        let lines = rig.runs.lines();
        if lines.last().is_some_and(|line| line == "end 2") { Ok(()) } else { Err(lines) }
    });
    let lines = rig.runs.lines();
    assert!(
        lines.chunks(2).all(|run| run[0].strip_prefix("start") == run[1].strip_prefix("end")),
        "{lines:#?}"
    );
    assert_eq!(rig.daemon.log().matches("said by 0").count(), 1);
}

#[test]
fn p1_p2_p8_a_daemon_whose_program_was_replaced_has_another_minder_when_its_own_is_killed() {
    let (program, mut rig) = installed();
    install(&program);
    let (new, old) = new_and_old(&rig, &program);
    let ([], [minder]) = (&new[..], &old[..]) else { panic!("{new:?} and {old:?}") };
    minder.signal(Signal::SIGKILL);
    eventually(DEADLINE, "the minder to die", || !minder.is_alive());
    rig.client.set("/value", "1");
    rig.wait_until_seen("1");
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.gate.open();
    let lines = rig.runs.wait_for(3);
    assert!(lines.ends_with(&["start 1".into(), "end 1".into()]) || lines.ends_with(&["start 1".into()]));
    rig.wait_for_endings("exited(7)", 1);
    assert!(rig.daemon.is_running());
}

#[test]
fn p6_children_are_ended_as_by_their_timeout_when_a_daemon_stops_that_is_to_stop_them() {
    let mut rig = Rig::with("QUEUE", "[daemon]\nstop_children = true\n", |watch| watch);
    let (minder, child) = (rig.daemon.minder(), rig.child());
    assert_eq!(rig.daemon.stop().code(), Some(0));
    assert!(!child.is_alive());
    eventually(DEADLINE, "the minder to end", || !minder.is_alive());
    assert_eq!(rig.endings("signaled(SIGTERM)"), 1, "{}", rig.daemon.log());
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.daemon.start_again();
    rig.runs.wait_for(2);
    assert_eq!(rig.endings("signaled(SIGTERM)"), 1, "what was noted is told once");
    assert!(!rig.daemon.log().contains("run goes on since before"), "{}", rig.daemon.log());
}

#[test]
fn p6_p8_a_daemon_that_is_to_stop_its_children_also_stops_those_whose_minder_was_just_killed() {
    let adjust = |watch: WatchFile| watch.key("output", "\"null\"");
    let mut rig = Rig::with("QUEUE", "[daemon]\nstop_children = true\n", adjust);
    let child = rig.child();
    rig.daemon.minder().signal(Signal::SIGKILL);
    assert_eq!(rig.daemon.stop().code(), Some(0));
    assert!(!child.is_alive());
}

#[test]
fn p1_p2_a_stopped_daemon_leaves_its_run_to_the_next_which_runs_what_came_after_it() {
    let mut rig = Rig::new("QUEUE");
    let child = rig.child();
    assert_eq!(rig.daemon.stop().code(), Some(0));
    assert!(child.is_alive());
    rig.client.set("/value", "1");
    rig.daemon.start_again();
    rig.daemon.wait_for_log("run goes on since before the daemon started");
    rig.wait_until_seen("1");
    assert_eq!(rig.runs.lines(), ["start 0"]);
    rig.gate.open();
    rig.runs.expect(&["start 0", "end 0", "start 1", "end 1"]);
    the_first_run_is_accounted_for(&rig, 2);
}

#[test]
fn a_second_daemon_on_a_state_folder_ends_with_1_and_says_why_and_one_that_cannot_be_used_is_done_without() {
    let rig = Rig::new("QUEUE");
    let other = Folder::new();
    let mut second = twitcher();
    second.args(["run", "--log-to-stderr", "--zkservers", "127.0.0.1:1"]);
    second.arg("--run-dir").arg(other.join("run")).arg("--state-dir").arg(rig.daemon.state_dir());
    let output = second.arg("--config-path").arg(rig.daemon.watches()).output().expect("a second daemon");
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "twitcher: another daemon uses the state folder {}\n\
         help: stop it, or give this one a folder of its own with --state-dir\n",
        rig.daemon.state_dir().display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    // Nobody can use this one, and that is no reason not to start.
    let other = Folder::new();
    let third = Daemon::builder(&other, "127.0.0.1:1");
    fs::remove_dir(other.join("state")).expect("a folder to go");
    fs::write(other.join("state"), "in the way").expect("a file");
    let mut third = third.start();
    third.wait_for_log("what is applied is not kept");
    third.wait_for_log("started release=");
    assert!(third.is_running());
}

#[test]
fn p2_a_second_daemon_on_a_run_folder_ends_with_1_and_says_why_while_the_first_keeps_its_run() {
    let rig = Rig::new("QUEUE");
    let socket = rig.daemon.run_dir().join("control.sock");
    let before = fs::metadata(&socket).expect("the socket").ino();
    let other = Folder::new();
    let output = twitcher()
        .args(["run", "--log-to-stderr", "--zkservers", "127.0.0.1:1"])
        .args(["--run-dir".as_ref(), rig.daemon.run_dir().as_os_str()])
        .args(["--state-dir".as_ref(), other.as_os_str()])
        .args(["--config-path".as_ref(), rig.daemon.watches().as_os_str()])
        .output()
        .expect("a second daemon");
    assert_eq!(output.status.code(), Some(1));
    let run_dir = rig.daemon.run_dir();
    let expected = format!(
        "twitcher: another daemon uses the run folder {}\n\
         help: stop it, or give this one a folder of its own with --run-dir\n",
        run_dir.display()
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.ends_with(&expected), "{error}");
    assert_eq!(rig.daemon.minders().len(), 1);
    assert_eq!(fs::metadata(&socket).expect("the socket").ino(), before);
    assert_eq!(rig.daemon.ask("GET /livez").status, 200);
    rig.gate.let_through(1);
    rig.wait_for_endings("exited(7)", 1);
    rig.runs.expect(&["start 0", "end 0"]);
}

#[test]
fn p2_a_daemon_that_is_killed_again_and_again_has_no_two_runs_at_once_and_runs_the_last_update() {
    let site = Site::new("again");
    site.client.create("/value", "0");
    let (runs, lock) = (site.journal("runs"), site.folder.join("lock"));
    let watch = WatchFile::watch("/value", &runs.append_alone("$(cat)", &lock));
    let mut daemon = site.builder().watch("value.toml", watch).start();
    for value in 1..=15 {
        let before = runs.lines().len();
        site.client.set("/value", value.to_string());
        if value % 3 != 0 {
            runs.wait_for(before + 1);
        }
        daemon.kill();
        if value % 4 == 0 {
            daemon.minders().into_iter().for_each(|minder| minder.signal(Signal::SIGKILL));
        }
        daemon.start_again();
    }
    eventually(DEADLINE, "the last value", || {
        let lines = runs.lines();
        if lines.last().is_some_and(|line| line == "15") { Ok(()) } else { Err(lines) }
    });
    runs.expect_no_overlap();
}

#[test]
fn p1_p8_a_run_that_left_no_trace_never_executed_anything_and_is_started_again() {
    let rig = Rig::new("QUEUE");
    let (minder, child) = (rig.daemon.minder(), rig.child());
    // As a process is that was made and ended itself when it found its minder gone.
    minder.signal(Signal::SIGSTOP);
    child.end_group();
    for entry in fs::read_dir(rig.daemon.run_dir().join("minder/runs")).expect("the records") {
        fs::remove_file(entry.expect("a record").path()).expect("a record to go");
    }
    minder.signal(Signal::SIGKILL);
    rig.runs.expect(&["start 0", "start 0"]);
    rig.gate.open();
    rig.runs.expect(&["start 0", "start 0", "end 0"]);
}

#[test]
fn p8_a_daemon_starts_however_long_the_list_of_what_it_takes_over_is() {
    let folder = Folder::new();
    let builder = Daemon::builder(&folder, "127.0.0.1:1");
    let minders = folder.join("run/minder");
    leave_long_ends(&minders, 1..=10);
    fs::set_permissions(&minders, Permissions::from_mode(0o700)).expect("a folder for minders");
    let mut daemon = builder.start();
    eventually(DEADLINE, "what was left to be noted", || {
        let left = fs::read_dir(minders.join("runs")).expect("the records").count();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    assert_eq!(daemon.stop().code(), Some(0));
}
