//! Sessions at the terminal: what each command says to an operator, with a daemon in each of the states that one finds
//! it in at night. The snapshots in `session/` are what is said, with what differs each time in brackets;
//! `SNAPSHOTS=overwrite` writes them anew.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use snapbox::{Data, Redactions};

use super::control::{ask, status_of, told, wait_for_state};
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Follower, Gate, Journal, Proxy, WatchFile, eventually,
    interruptible_twitcher, shared_chroot, twitcher,
};

const HOST: &str = "[daemon]\nhostname = \"web-1\"\n";

/// What differs each time, and the form that it has all the same.
const FORMS: &[(&str, &str)] = &[
    ("[AGO]", r"(?<redacted>\d+[smhd]) ago"),
    ("[AHEAD]", r"\bin (?<redacted>\d+[smhd])\b"),
    ("[TIME]", r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
    ("[TOOK]", r"\b(\d+(\.\d+)?(ms|µs)|\d+\.\d+s|\d+m \d+s)\b"),
    ("[RUN]", r"\b[0-9a-f]{13}\b"),
    ("[PID]", r#"\bpid"?( |=|: ?)(?<redacted>\d+)"#),
    ("[UID]", r"\buid=(?<redacted>\d+)"),
    ("[ID]", r#""id":(?<redacted>\d+)"#),
    ("[SESSION]", r"\bsession (?<redacted>0x[0-9a-f]+)"),
    ("[ZXID]", r#"zxid(=|": ?)(?<redacted>(0x[0-9a-f]+|\d+))"#),
    ("[SECONDS]", r#"_seconds": ?(?<redacted>[\d.e-]+)"#),
    ("[BYTES]", r#"rss_bytes": ?(?<redacted>\d+)"#),
    ("[RELEASE]", r"\btwitcher (?<redacted>\d+\.\d+\.\d+),"),
    ("[SERVERS]", r"\b127\.0\.0\.1:\d+(/[a-z0-9-]+)?"),
];

/// What an operator types, and reads.
struct Session<'a> {
    daemon: &'a Daemon,
    text: String,
}

impl<'a> Session<'a> {
    fn with(daemon: &'a Daemon) -> Self {
        Self { daemon, text: String::new() }
    }

    fn types(&mut self, line: &str) -> &mut Self {
        let words: Vec<&str> = line.split(' ').collect();
        let output = ask(self.daemon, &words);
        self.reads(line, &output)
    }

    fn reads(&mut self, line: &str, output: &Output) -> &mut Self {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8(said).expect("text");
        write!(self.text, "$ twitcher {line}\n{said}").expect("text");
        match output.status.code() {
            Some(0) => {}
            code => writeln!(self.text, "[exit {}]", code.expect("an exit")).expect("text"),
        }
        self.text.push('\n');
        self
    }

    /// All of it is as the snapshot of this name has it. How wide the columns are depends on what is in them.
    #[track_caller]
    fn is(&self, name: &str) {
        let blanks = Regex::new("(?m)(\\S)   +").expect("a pattern");
        let text = blanks.replace_all(&self.text, "$1  ");
        let mut redactions = Redactions::new();
        redactions.insert("[DIR]", self.daemon.folder().to_owned()).expect("a placeholder");
        for (placeholder, form) in FORMS {
            redactions.insert(placeholder, Regex::new(form).expect("a pattern")).expect("a placeholder");
        }
        let path = format!("{}/tests/twitcher/session/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let assert = snapbox::Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV);
        assert.eq(redactions.redact(&text), Data::read_from(Path::new(&path), None).raw());
    }
}

/// A watch of each kind, one of which runs until the gate opens and has the host's only place.
fn busy(folder: &Folder, zookeeper: &str, gate: &Gate) -> Daemon {
    let client = Client::connect(zookeeper);
    let znodes =
        ["idle", "running", "settling", "splayed", "spaced", "crowded", "paused", "stopped", "unstartable"];
    for name in znodes {
        client.create(&format!("/{name}"), "1");
    }
    client.create_closed("/refused", "1");
    let named = |file: WatchFile, name: &str, command: &str| {
        file.and(&format!("/{name}"), command).key("name", format!("{name:?}"))
    };
    let file = named(WatchFile::from(String::new()), "idle", "echo well");
    let file = named(file, "running", &gate.pass()).key("run_on_load", false).key("timeout", "\"1h\"");
    let file = named(file, "settling", "true").key("settle", "\"1h\"");
    let file = named(file, "splayed", "true").key("splay", "\"1h\"");
    let file = named(file, "spaced", "true").key("min_interval", "\"1h\"");
    let file = named(file, "crowded", "true").key("run_on_load", false);
    let file = named(file, "paused", "true").key("run_on_load", false);
    let file = named(file, "stopped", "echo ill; exit 3").key("on_failure", "\"stop\"");
    let file = named(file, "refused", "true");
    let file = named(file, "missing", "true");
    let file = file.and_program("/unstartable", &["/no/such/program"]).key("name", "\"unstartable\"");
    let builder = Daemon::builder(folder, zookeeper).settings(HOST).settings("max_running = 1\n");
    let daemon = builder.watch("all.toml", file).start();
    for (name, state) in
        [("idle", "watching"), ("spaced", "watching"), ("stopped", "stopped"), ("unstartable", "watching")]
    {
        wait_for_state(&daemon, name, state);
        eventually(DEADLINE, format!("a run of {name}"), || {
            !status_of(&daemon, name)["last"]["end"].is_null()
        });
    }
    told(&daemon, &["pause", "paused"]);
    client.set("/spaced", "2");
    client.set("/paused", "2");
    client.set("/running", "2");
    wait_for_state(&daemon, "running", "running");
    client.set("/crowded", "2");
    for (name, state) in [
        ("settling", "waiting"),
        ("splayed", "waiting"),
        ("spaced", "waiting"),
        ("crowded", "waiting"),
        ("refused", "unreadable"),
        ("missing", "missing"),
    ] {
        wait_for_state(&daemon, name, state);
    }
    eventually(DEADLINE, "an update of the paused one", || status_of(&daemon, "paused")["waiting"] == 1);
    daemon.write_watch("broken.toml", "[[watch]]\nznode = 5\n");
    daemon.wait_for_log("broken.toml");
    daemon
}

#[test]
fn what_is_asked_of_a_daemon_whose_watches_are_in_every_state() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-asked"));
    let gate = Gate::new(&folder, "gate");
    let daemon = busy(&folder, &zookeeper, &gate);
    let mut session = Session::with(&daemon);
    session.types("status").types("status idle").types("status stopped idle").types("status no-such");
    for name in ["idle", "running", "stopped", "unstartable", "missing", "no-such"] {
        session.types(&format!("history {name}")).types(&format!("log {name}"));
    }
    session.types("history idle --json").types("log idle --run 660d5fe");
    session.is("asked");
    gate.open();
}

#[test]
fn what_is_wanted_of_a_daemon_whose_watches_are_in_every_state() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-wanted"));
    let gate = Gate::new(&folder, "gate");
    let daemon = busy(&folder, &zookeeper, &gate);
    let mut session = Session::with(&daemon);
    let names = [
        "idle",
        "running",
        "settling",
        "splayed",
        "spaced",
        "crowded",
        "paused",
        "stopped",
        "unstartable",
        "refused",
        "missing",
        "no-such",
    ];
    for name in names {
        session.types(&format!("fire {name}"));
    }
    session.types("fire --wait paused").types("fire --json paused").types("fire --json idle crowded");
    for name in names.into_iter().filter(|name| *name != "running") {
        session.types(&format!("kill {name}"));
    }
    for name in ["idle", "stopped", "paused", "missing", "no-such"] {
        session.types(&format!("resume {name}")).types(&format!("pause {name}"));
    }
    session.types("pause idle crowded --json").types("resume idle paused --json");
    session
        .types("kill -s CONT running")
        .types("kill running --json --signal CONT")
        .types("kill -s NONE running");
    session.types("pause running").types("kill running");
    session.types("reload").types("reload --json");
    daemon.remove_watch("broken.toml");
    session.types("reload");
    session.is("wanted");
}

#[test]
fn what_is_said_while_zookeeper_is_away() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-away"));
    let (address, chroot) = zookeeper.split_once('/').expect("a chroot");
    Client::connect(&zookeeper).create("/a", "1");
    let proxy = Proxy::to(address);
    let servers = format!("{}/{chroot}", proxy.address());
    let watch = WatchFile::watch("/a", "echo well").key("name", "\"a\"");
    let daemon = Daemon::builder(&folder, &servers).settings(HOST).watch("a.toml", watch).start();
    daemon.wait_for_log("outcome=exited(0)");
    wait_for_state(&daemon, "a", "watching");
    proxy.cut();
    wait_for_state(&daemon, "a", "disconnected");
    wait_for_trouble(&daemon);
    let mut session = Session::with(&daemon);
    for line in [
        "status",
        "status a",
        "history a",
        "log a",
        "fire a",
        "fire --wait a",
        "pause a",
        "status a",
        "resume a",
        "kill a",
        "reload",
    ] {
        session.types(line);
    }
    session.is("away");
}

/// Waits until it is known what keeps a session from being made.
fn wait_for_trouble(daemon: &Daemon) {
    eventually(DEADLINE, "what keeps a session from being made", || {
        let status = told(daemon, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        if status["zookeeper"]["trouble"].is_string() { Ok(()) } else { Err(status) }
    });
}

#[test]
fn what_is_said_while_zookeeper_refuses_the_credentials() {
    let folder = Folder::new();
    let credentials = folder.join("credentials");
    // A scheme that the server does not know.
    fs::write(&credentials, "unheard-of user:secret\n").expect("credentials");
    fs::set_permissions(&credentials, Permissions::from_mode(0o600)).expect("credentials");
    let settings = format!("{HOST}[zookeeper]\ncredentials_file = {credentials:?}\n");
    let watch = WatchFile::watch("/a", "true").key("name", "\"a\"");
    let builder = Daemon::builder(&folder, &shared_chroot("session-refused")).settings(&settings);
    let daemon = builder.watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "disconnected");
    wait_for_trouble(&daemon);
    Session::with(&daemon).types("status").types("status a").is("refused");
}

#[test]
fn what_is_said_where_there_is_no_daemon() {
    let folder = Folder::new();
    let mut daemon = Daemon::builder(&folder, &shared_chroot("session-none")).start();
    daemon.wait_for_log("ready: ");
    daemon.stop();
    let mut session = Session::with(&daemon);
    for line in COMMANDS {
        session.types(line);
    }
    FOLLOWING.iter().for_each(|line| {
        session.types(line);
    });
    session.is("none");
}

/// Each that asks the daemon, and waits for nothing else.
const COMMANDS: &[&str] =
    &["status", "history a", "log a", "events", "fire a", "pause a", "resume a", "kill a", "reload"];

/// Each that waits for something else.
const FOLLOWING: &[&str] = &["fire --wait a", "events -f", "log -f a"];

#[test]
fn what_is_said_when_the_daemon_does_not_answer() {
    let folder = Folder::new();
    let daemon = Daemon::builder(&folder, &shared_chroot("session-silent")).start();
    daemon.wait_for_log("ready: ");
    daemon.signal(Signal::SIGSTOP);
    // One that has answered that it has fired is waited for as long as it takes.
    eventually(DEADLINE, "it to stand still", || daemon.process().is_stopped());
    let mut session = Session::with(&daemon);
    // Each waits for a while, also those that wait for something else as long as it takes.
    let lines: Vec<&str> = COMMANDS.iter().chain(FOLLOWING).copied().collect();
    let outputs: Vec<Output> = thread::scope(|scope| {
        let ask = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            ask(&daemon, &words)
        };
        let asked: Vec<_> = lines.iter().map(|line| scope.spawn(move || ask(line))).collect();
        asked.into_iter().map(|one| one.join().expect("an output")).collect()
    });
    for (line, output) in lines.iter().zip(&outputs) {
        session.reads(line, output);
    }
    session.is("silent");
}

#[test]
fn events_are_lines_in_the_words_of_the_log() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-events"));
    let client = Client::connect(&zookeeper);
    client.create("/a", "1");
    client.create("/b", "1");
    let watch = WatchFile::watch("/a", "exit 3").key("name", "\"a\"").key("retries", 1);
    let watch = watch.key("retry_delay", "\"1ms\"").key("on_failure", "\"stop\"");
    let watch = watch.and_program("/b", &["/no/such/program"]).key("name", "\"b\"");
    // What is decided about an update is in the log from this level on.
    let builder = Daemon::builder(&folder, &zookeeper).settings("[log]\nlevel = \"debug\"\n");
    let daemon = builder.watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "stopped");
    told(&daemon, &["resume", "a"]);
    told(&daemon, &["pause", "a"]);
    daemon.write_watch("broken.toml", "[[watch]]\nznode = 5\n");
    daemon.wait_for_log("broken.toml");
    daemon.remove_watch("broken.toml");
    daemon.wait_for_log("nothing is wrong with it any more");
    let output = eventually(DEADLINE, "the last of the events", || {
        let output = ask(&daemon, &["events"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = ["stopped: the last", "spawn-failed", "any more"];
        if last.iter().all(|one| text.contains(one)) { Ok(output) } else { Err(text) }
    });
    // Which of two watches is first differs, and between what is seen and what is decided there is no order.
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let mut lines: Vec<&str> = text.lines().collect();
    let words = |line: &str| {
        let words = line.split_once(' ').expect("a time and more").1;
        Regex::new("[0-9a-f]{13}|(pid|lasted|after)=\\S+")
            .expect("a pattern")
            .replace_all(words, "")
            .into_owned()
    };
    lines.sort_by_key(|line| words(line));
    let sorted = Output { stdout: (lines.join("\n") + "\n").into_bytes(), ..output };
    Session::with(&daemon).reads("events", &sorted).is("events");
    for line in text.lines() {
        let words = line.split_once(' ').expect("a time and more").1;
        eventually(DEADLINE, format!("the log to say {words}"), || {
            let log = daemon.log();
            if log.lines().any(|line| line.ends_with(words)) { Ok(()) } else { Err(log) }
        });
    }

    let mut command = twitcher();
    command.args(["events", "--follow", "--after", "0", "--run-dir"]).arg(daemon.run_dir());
    let mut follower = Follower::start(&mut command);
    let first = follower.line().expect("a line");
    assert_eq!(first, "some events are missing here: they are no longer kept");
    assert!(follower.line().expect("a line").contains("Z "));
}

/// A deployment script, which takes the watches to be fired as its arguments.
fn script(folder: &Folder, daemon: &Daemon) -> Command {
    let script = folder.join("deploy.sh");
    let text = format!(
        "#!/bin/sh\nset -e\nexport TWITCHER_RUN_DIR='{}'\n'{}' fire --wait \"$@\"\necho deployed\n",
        daemon.run_dir().display(),
        env!("CARGO_BIN_EXE_twitcher")
    );
    fs::write(&script, text).expect("a script");
    fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("a script");
    let mut command = Command::new("/bin/sh");
    command.arg(script);
    command
}

#[test]
fn a_deployment_script_goes_by_how_the_run_ended() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-script"));
    let client = Client::connect(&zookeeper);
    let watch = |file: WatchFile, name: &str, command: &str| {
        client.create(&format!("/{name}"), "1");
        let file = file.and(&format!("/{name}"), command).key("name", format!("{name:?}"));
        file.key("run_on_load", false)
    };
    let file = watch(WatchFile::from(String::new()), "good", "true");
    let file = watch(file, "bad", "exit 7");
    let file = watch(file, "slow", "sleep 1000").key("timeout", "\"100ms\"");
    let file = watch(file, "killed", "kill -9 $$");
    let file = watch(file, "paused", "true");
    let daemon = Daemon::builder(&folder, &zookeeper).settings(HOST).watch("all.toml", file).start();
    wait_for_state(&daemon, "paused", "watching");
    daemon.wait_for_log("ready: ");
    told(&daemon, &["pause", "paused"]);
    let mut session = Session::with(&daemon);
    for arguments in ["good", "bad", "slow", "killed", "paused", "good bad killed good", "no-such good"] {
        let output = script(&folder, &daemon).args(arguments.split(' ')).output().expect("a shell");
        session.reads(&format!("fire --wait {arguments} && echo deployed"), &output);
    }
    session.is("script");
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_run() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-ctrl-c"));
    Client::connect(&zookeeper).create("/a", "1");
    let (gate, journal) = (Gate::new(&folder, "gate"), Journal::new(&folder, "journal"));
    let command = format!("{}; {}", gate.pass(), journal.append("to the end"));
    let watch = WatchFile::watch("/a", &command).key("name", "\"a\"").key("run_on_load", false);
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "watching");
    let mut client = interruptible_twitcher();
    client.args(["fire", "--wait", "a", "--run-dir"]).arg(daemon.run_dir());
    let mut client: Child = client.spawn().expect("twitcher");
    let run = wait_for_state(&daemon, "a", "running")["running"].clone();
    kill(Pid::from_raw(client.id().cast_signed()), Signal::SIGINT).expect("a client");
    let ended = client.wait().expect("a client");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(Signal::SIGINT as i32));
    assert_eq!(wait_for_state(&daemon, "a", "running")["running"], run);
    gate.open();
    journal.expect(&["to the end"]);
    daemon.wait_for_log("outcome=exited(0)");
}

#[test]
fn output_of_which_only_the_last_is_kept_is_said_to_be_so_and_not_among_it() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("session-truncated"));
    Client::connect(&zookeeper).create("/a", "1");
    let watch = WatchFile::watch("/a", "seq 100000").key("name", "\"a\"").key("output", "\"log\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    daemon.wait_for_log("outcome=exited(0)");
    let output = ask(&daemon, &["log", "a"]);
    let said = String::from_utf8(output.stderr).expect("text");
    let bytes = output.stdout.len();
    assert!(
        said.starts_with("twitcher: of what run ") && said.ends_with(&format!(": {bytes} bytes\n")),
        "{said}"
    );
    assert!(output.stdout.ends_with(b"\n100000\n") && bytes <= 64 << 10, "{bytes}");
}
