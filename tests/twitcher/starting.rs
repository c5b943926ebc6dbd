//! What a daemon can be told when it is started.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::process::Process;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Follower, Journal, WatchFile, eventually, root_can, shared_chroot,
    twitcher,
};

/// A place with a znode that says which it is.
fn place(name: &str) -> String {
    let zookeeper = shared_chroot(name);
    Client::connect(&zookeeper).create("/whose", name);
    zookeeper
}

#[test]
fn a_flag_beats_the_variable_and_the_variable_beats_the_settings_file() {
    let (flag, variable, file) = (place("flag"), place("variable"), place("file"));
    for (name, by_flag, by_variable) in
        [("flag", true, true), ("variable", false, true), ("file", false, false)]
    {
        let folder = Folder::new();
        let runs = Journal::new(&folder, "runs");
        let mut builder = Daemon::builder(&folder, &flag)
            .settings(&format!("[zookeeper]\nservers = {file:?}\n"))
            .watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)")));
        if !by_flag {
            builder = builder.without_servers();
        }
        if by_variable {
            builder = builder.environment("TWITCHER_ZKSERVERS", &variable);
        }
        let _daemon = builder.start();
        runs.expect(&[name]);
    }
}

#[test]
fn the_options_are_taken_under_their_old_names_too() {
    let folder = Folder::new();
    let zookeeper = place("old");
    let runs = Journal::new(&folder, "runs");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .in_old_words()
        .watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)")))
        .start();
    runs.expect(&["old"]);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_log_file_is_written_to_its_end() {
    let folder = Folder::new();
    let zookeeper = place("log-file");
    let log = folder.join("log-file");
    fs::write(&log, "what was there\n").expect("a log file");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .logging(&["--logfile", &log.to_string_lossy()])
        .watch("whose.toml", WatchFile::watch("/whose", "echo it was $(cat)"))
        .start();
    eventually(DEADLINE, "a child's line", || {
        let text = fs::read_to_string(&log).expect("the log file");
        if text.starts_with("what was there\n") && text.contains("it was log-file") {
            Ok(())
        } else {
            Err(text)
        }
    });
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(daemon.log(), "");
}

#[test]
fn p8_a_daemon_whose_log_cannot_be_written_goes_on() {
    let to_a_full_disk = ["sh", "-c", "exec 2>/dev/full; exec \"$@\"", "sh"];
    for (logging, wrapper) in
        [(&["--logfile", "/dev/full"][..], &["env"][..]), (&["--log-to-stderr"], &to_a_full_disk)]
    {
        let folder = Folder::new();
        let zookeeper = place("full");
        let runs = Journal::new(&folder, "runs");
        let watch = WatchFile::watch("/whose", &format!("echo something; {}", runs.append("$(cat)")));
        let mut daemon = Daemon::builder(&folder, &zookeeper)
            .logging(logging)
            .wrapped_in(wrapper)
            .watch("whose.toml", watch)
            .start();
        runs.expect(&["full"]);
        Client::connect(&zookeeper).set("/whose", "still");
        runs.expect(&["full", "still"]);
        assert_eq!(daemon.stop().code(), Some(0));
    }
}

#[test]
fn a_pid_file_names_the_daemon_is_locked_while_it_runs_and_goes_with_it() {
    let (folder, other) = (Folder::new(), Folder::new());
    let zookeeper = place("pid");
    let file = folder.join("pid");
    // A stale one is in nobody's way.
    fs::write(&file, "1\n").expect("a pid file");
    let start =
        |folder: &Folder| Daemon::builder(folder, &zookeeper).argument("--pidfile").argument(&file).start();
    let mut daemon = start(&folder);
    let pid = format!("{}\n", daemon.pid());
    eventually(DEADLINE, "its pid", || fs::read_to_string(&file).is_ok_and(|text| text == pid));
    let mut second = start(&other);
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.log().contains(&*file.to_string_lossy()), "{}", second.log());
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), pid);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!file.exists());
}

#[test]
fn a_run_folder_that_others_can_write_to_is_not_used_and_the_daemon_ends_with_1() {
    let folder = Folder::new();
    let builder = Daemon::builder(&folder, &place("open-run"));
    let run_dir = folder.join("run");
    fs::set_permissions(&run_dir, Permissions::from_mode(0o777)).expect("a folder for everybody");
    let mut daemon = builder.start();
    assert_eq!(daemon.wait().code(), Some(1));
    let why = format!("cannot use the folder {}: its group or others can write to it", run_dir.display());
    assert!(daemon.log().contains(&why), "{}", daemon.log());
}

#[test]
fn p8_a_state_folder_that_others_can_write_to_is_not_used_and_the_daemon_goes_on_without() {
    let folder = Folder::new();
    let runs = Journal::new(&folder, "runs");
    let builder = Daemon::builder(&folder, &place("open-state"));
    let state_dir = folder.join("state");
    fs::set_permissions(&state_dir, Permissions::from_mode(0o777)).expect("a folder for everybody");
    let mut daemon = builder.watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)"))).start();
    runs.expect(&["open-state"]);
    daemon.wait_for_log(&format!(
        "cannot use the state folder {}: its group or others can write to it (mode 0777); what is applied is not kept",
        state_dir.display()
    ));
    daemon.wait_for_log("run ended");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!state_dir.join("ledger.json").exists());
}

#[test]
fn p7_a_settings_file_that_others_can_write_is_refused() {
    let folder = Folder::new();
    let builder = Daemon::builder(&folder, &place("open-settings"));
    let settings = folder.join("twitcher.toml");
    fs::write(&settings, "").expect("a settings file");
    fs::set_permissions(&settings, Permissions::from_mode(0o666)).expect("a file for everybody");
    let mut daemon = builder.start();
    assert_eq!(daemon.wait().code(), Some(3));
    let log = daemon.log();
    assert!(log.contains("is not safe: its group or others can write it (mode 0666)"), "{log}");
    assert!(log.contains(&format!("help: chmod go-w {}", settings.display())), "{log}");
}

/// A user that nobody on this machine is.
const STRANGER: u32 = 3_999_013;

#[test]
fn p8_another_user_who_locks_what_he_can_read_keeps_no_daemon_from_starting() {
    if !root_can("act as another user") {
        return;
    }
    let folder = Folder::new();
    let zookeeper = place("locked");
    let (runs, pid_file) = (Journal::new(&folder, "runs"), folder.join("twitcher.pid"));
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .argument("--pidfile")
        .argument(&pid_file)
        .watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)")))
        .start();
    runs.expect(&["locked"]);
    // So that all that it leaves behind is there.
    daemon.kill();
    let files = [
        daemon.run_dir().join("daemon.lock"),
        daemon.state_dir().join("daemon.lock"),
        folder.join("twitcher.pid.lock"),
        pid_file.clone(),
    ];
    let lock = |file: &PathBuf| {
        assert!(file.exists(), "{}", file.display());
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={STRANGER}"), format!("--regid={STRANGER}"), "--clear-groups".into()]);
        command.args(["flock", "--exclusive"]).arg(file);
        // It ends with what follows it.
        command.args(["sh", "-c", "echo held; exec cat"]).stdin(Stdio::piped()).stderr(Stdio::null());
        Follower::start(&mut command)
    };
    let mut strangers = files.each_ref().map(lock);
    // The pid is for everybody to read.
    let held = strangers.each_mut().map(Follower::line);
    assert_eq!(held, [None, None, None, Some("held".into())]);
    daemon.start_again();
    runs.expect(&["locked", "locked"]);
    let pid = format!("{}\n", daemon.pid());
    assert_eq!(fs::read_to_string(&pid_file).expect("the pid file"), pid);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// A daemon that is no child of this process.
struct Detached(Process);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGKILL);
    }
}

#[test]
fn a_daemon_that_has_nowhere_to_log_to_says_so_before_it_detaches() {
    let folder = Folder::new();
    let daemon = |log: &str| {
        let mut command = twitcher();
        command.args(["run", "--daemonize", "--zkservers", "127.0.0.1:1", "--logfile", log]);
        for (flag, name) in [("--run-dir", "run"), ("--state-dir", "state"), ("--config-path", "watches")] {
            command.arg(flag).arg(folder.join(name));
        }
        let output = command.output().expect("a daemon");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = daemon(&folder.join("none/log").to_string_lossy());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("twitcher: cannot open the log file "), "{said}");
    let (code, said) = daemon(&folder.to_string_lossy());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Is a directory"), "{said}");
}

#[test]
fn a_detached_daemon_goes_on_by_itself_with_nothing_at_its_stdin_and_stdout() {
    let folder = Folder::new();
    let zookeeper = place("detached");
    let (runs, file) = (Journal::new(&folder, "runs"), folder.join("pid"));
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .logging(&["--logfile", &folder.join("log-file").to_string_lossy()])
        .argument("--daemonize")
        .argument("--pidfile")
        .argument(&file)
        .watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)")))
        .start();
    assert_eq!(daemon.wait().code(), Some(0));
    let detached = eventually(DEADLINE, "its pid", || {
        let text = fs::read_to_string(&file).ok()?;
        Process::find(text.strip_suffix('\n')?.parse().ok()?)
    });
    let detached = Detached(detached);
    runs.expect(&["detached"]);
    for number in [0, 1, 2] {
        let what = fs::read_link(format!("/proc/{}/fd/{number}", detached.0.pid()));
        assert_eq!(what.expect("a descriptor").to_string_lossy(), "/dev/null", "{number}");
    }
    // Neither the group nor the session of this process, so that its terminal does not end it.
    assert_ne!(detached.0.group(), Process::find(std::process::id().cast_signed()).and_then(Process::group));
    detached.0.signal(Signal::SIGTERM);
    eventually(DEADLINE, "its end", || !detached.0.is_alive());
    assert!(!file.exists());
}

/// What Debian's `start-stop-daemon` says of this program's daemon that has this pid file, as an init script asks it.
fn init(pid_file: &Path, words: &[&str]) -> Option<i32> {
    let mut command = Command::new("/sbin/start-stop-daemon");
    command.args(words).arg("--pidfile").arg(pid_file).args(["--exec", env!("CARGO_BIN_EXE_twitcher")]);
    command.stdin(Stdio::null()).output().expect("start-stop-daemon").status.code()
}

#[test]
fn an_init_script_has_a_daemon_that_is_up_when_it_has_started_and_gone_when_it_has_stopped() {
    let folder = Folder::new();
    let zookeeper = place("init");
    let (runs, file) = (Journal::new(&folder, "runs"), folder.join("pid"));
    let start = "exec /sbin/start-stop-daemon --start --pidfile";
    let start = format!("program=$1; shift; {start} {} --exec \"$program\" -- \"$@\"", file.display());
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .logging(&["--logfile", &folder.join("log-file").to_string_lossy()])
        .argument("--daemonize")
        .argument("--pidfile")
        .argument(&file)
        .wrapped_in(&["sh", "-c", &start, "sh"])
        .watch("whose.toml", WatchFile::watch("/whose", &runs.append("$(cat)")))
        .start();
    assert_eq!(daemon.wait().code(), Some(0));
    // All of it without waiting for anything.
    assert_eq!(init(&file, &["--status"]), Some(0));
    let pid = fs::read_to_string(&file).expect("the pid file").trim_end().parse().expect("a pid");
    let detached = Detached(Process::find(pid).expect("a daemon"));
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("its name");
    assert_eq!(name, "twitcher\n");
    assert_eq!(daemon.ask("GET /livez").status, 200);
    assert_eq!(init(&file, &["--stop", "--signal", "HUP"]), Some(0));
    // Nothing was to be done.
    assert_eq!(init(&file, &["--start", "--test"]), Some(1));
    runs.expect(&["init"]);
    assert_eq!(init(&file, &["--stop", "--retry", "TERM/120/KILL/10"]), Some(0));
    assert!(!detached.0.is_alive());
    let log = fs::read_to_string(folder.join("log-file")).expect("the log file");
    assert!(log.trim_end().ends_with(" stopped"), "{log}");
    assert!(!file.exists());
    // It does not run.
    assert_eq!(init(&file, &["--status"]), Some(3));
}

#[test]
fn a_daemon_that_does_not_get_up_says_so_to_who_had_it_detach_and_leaves_no_pid_file() {
    let folder = Folder::new();
    let zookeeper = place("not-up");
    let file = folder.join("pid");
    let daemon = |run_dir: &Path| {
        let mut command = twitcher();
        command.args(["run", "--daemonize", "--zkservers", &zookeeper, "--pidfile"]).arg(&file);
        command.arg("--logfile").arg(folder.join("log-file")).arg("--run-dir").arg(run_dir);
        for (flag, name) in [("--state-dir", "other-state"), ("--config-path", "watches")] {
            command.arg(flag).arg(folder.join(name));
        }
        let output = command.output().expect("a daemon");
        assert!(!file.exists());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let first = Daemon::builder(&folder, &zookeeper).start();
    first.wait_for_log("started");
    let (code, said) = daemon(&first.run_dir());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("twitcher: another daemon uses the run folder "), "{said}");
    // One that finds so out late: there is no place for its minder's socket.
    let other = folder.join("other-run");
    fs::create_dir(&other).expect("a run folder");
    fs::set_permissions(&other, Permissions::from_mode(0o755)).expect("a run folder");
    fs::write(other.join("minder"), "").expect("a file");
    let (code, said) = daemon(&other);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("twitcher: ") && said.contains("minder"), "{said}");
}
