//! What an operator sees and does through the control socket: each command against a daemon in each state.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Output;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Follower, Gate, Journal, Proxy, WatchFile, eventually, shared_chroot,
    twitcher,
};

pub fn ask(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = twitcher();
    command.args(arguments).arg("--run-dir").arg(daemon.run_dir());
    command.output().expect("twitcher")
}

/// What it prints; that it ends well is part of it.
#[track_caller]
pub fn told(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = ask(daemon, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The exit status and what it complains of.
fn refused(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let output = ask(daemon, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub fn status_of(daemon: &Daemon, watch: &str) -> Value {
    let output = ask(daemon, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let watches = status["watches"].as_array().cloned().unwrap_or_default();
    watches.into_iter().find(|one| one["name"] == watch).unwrap_or_default()
}

#[track_caller]
pub fn wait_for_state(daemon: &Daemon, watch: &str, state: &str) -> Value {
    eventually(DEADLINE, format!("{watch} to be {state}"), || match status_of(daemon, watch) {
        found if found["state"] == state => Ok(found),
        other => Err(other),
    })
}

#[test]
fn status_says_of_each_watch_that_does_nothing_why_not() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-status");
    let client = Client::connect(&zookeeper);
    for znode in ["/idle", "/running", "/paused", "/failing", "/settling", "/waiting"] {
        client.create(znode, "1");
    }
    let gate = Gate::new(&folder, "gate");
    let watches = WatchFile::watch("/idle", "true").key("name", "\"idle\"");
    let watches = watches.and("/missing", "true").key("name", "\"missing\"");
    let watches = watches.and("/idle", "true").key("name", "\"off\"").key("enabled", false);
    let watches = watches.and("/running", &gate.pass()).key("name", "\"running\"");
    let watches = watches.and("/paused", "true").key("name", "\"paused\"");
    let watches = watches.and("/failing", "exit 3").key("name", "\"failing\"").key("on_failure", "\"stop\"");
    let watches = watches.and("/settling", "true").key("name", "\"settling\"").key("settle", "\"1h\"");
    let watches = watches.and("/waiting", "exit 1").key("name", "\"waiting\"");
    let watches = watches.key("retries", 3).key("retry_delay", "\"1h\"").key("retry_max_delay", "\"1h\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("all.toml", watches).start();
    daemon.wait_for_log("ready: ");
    told(&daemon, &["pause", "paused"]);

    let expected = [
        ("idle", "watching", None),
        ("missing", "missing", Some("no such znode yet")),
        ("off", "disabled", Some("enabled is false")),
        ("running", "running", None),
        ("paused", "paused", Some("paused by hand; 'twitcher resume' goes on")),
        ("failing", "stopped", Some("failed once, and on_failure is stop; 'twitcher resume' goes on")),
        ("settling", "waiting", Some("more updates may come (settle)")),
        ("waiting", "waiting", Some("tried again as attempt 2 (retries)")),
    ];
    for (name, state, reason) in expected {
        let found =
            eventually(DEADLINE, format!("{name} to be {state}"), || match status_of(&daemon, name) {
                found if found["state"] == state && found["reason"].as_str() == reason => Ok(found),
                other => Err(other),
            });
        assert_eq!(found["until"].is_string(), ["settling", "waiting"].contains(&name), "{found}");
    }

    daemon.write_watch("broken.toml", "[[watch]]\nznode = 5\n");
    daemon.wait_for_log("broken.toml");
    let text = told(&daemon, &["status"]);
    for said in [": connected ", "8 watches, 1 running", "broken.toml:2:9: ", "exited(3)", "paused by hand"] {
        assert!(text.contains(said), "no {said:?} in\n{text}");
    }
    // Each of a file that broke says so, unless it says something that is more urgent.
    daemon.write_watch("all.toml", "[[watch]]\nznode = 5\ncommand = \"true\"\n");
    let broken = "file broken: all.toml:2:9: ";
    for (name, before) in
        [("idle", ""), ("running", ""), ("missing", "no such znode yet; "), ("off", "enabled is false; ")]
    {
        eventually(DEADLINE, format!("{name} to name its broken file"), || {
            let reason = status_of(&daemon, name)["reason"].as_str().unwrap_or_default().to_owned();
            if reason.starts_with(&format!("{before}{broken}")) { Ok(()) } else { Err(reason) }
        });
    }
    assert_eq!(status_of(&daemon, "paused")["reason"], "paused by hand; 'twitcher resume' goes on");

    // Named, it is the exit status that tells.
    assert_eq!(ask(&daemon, &["status", "idle"]).status.code(), Some(0));
    assert_eq!(ask(&daemon, &["status", "idle", "failing"]).status.code(), Some(1));
    let none = refused(&daemon, &["status", "no-such"]);
    assert_eq!(none, (Some(1), "twitcher: there is no watch named 'no-such'\n".into()));
    gate.open();
}

#[test]
fn status_says_that_there_is_no_connection_and_since_when() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-away");
    let (address, chroot) = zookeeper.split_once('/').expect("a chroot");
    Client::connect(&zookeeper).create("/a", "1");
    let proxy = Proxy::to(address);
    let servers = format!("{}/{chroot}", proxy.address());
    let watch = WatchFile::watch("/a", "true").key("name", "\"a\"");
    let daemon = Daemon::builder(&folder, &servers).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "watching");
    proxy.cut();
    let away = wait_for_state(&daemon, "a", "disconnected");
    assert!(
        away["reason"].as_str().is_some_and(|why| why.starts_with("no connection with ZooKeeper since "))
    );
    assert!(told(&daemon, &["status"]).contains("NOT CONNECTED since "));
    let (code, why) = refused(&daemon, &["fire", "a"]);
    assert!(code == Some(1) && why.contains("no connection with ZooKeeper since"), "{why}");
    proxy.heal();
    wait_for_state(&daemon, "a", "watching");
}

#[test]
fn fire_runs_a_watch_as_an_update_would_and_waits_for_its_end_if_it_is_asked_to() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-fire");
    Client::connect(&zookeeper).create("/a", "the contents");
    let journal = Journal::new(&folder, "journal");
    let command =
        format!("{}; exit $(cat {}/status)", journal.append("$TWITCHER_EVENT $(cat)"), folder.display());
    fs::write(folder.join("status"), "0").expect("a file");
    let watch = WatchFile::watch("/a", &command).key("name", "\"a\"").key("run_on_load", false);
    let watch = watch.key("splay", "\"1h\"").and("/none", "true").key("name", "\"none\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "watching");

    let said = told(&daemon, &["fire", "a"]);
    assert!(said.starts_with("a: run "), "{said}");
    journal.expect(&["fired the contents"]);
    let said = told(&daemon, &["fire", "--wait", "a"]);
    assert!(said.starts_with("a: run ") && said.ends_with(" exited(0)\n"), "{said}");
    fs::write(folder.join("status"), "7").expect("a file");
    assert_eq!(ask(&daemon, &["fire", "--wait", "a"]).status.code(), Some(7));
    journal.expect(&["fired the contents"; 3]);

    let missing = refused(&daemon, &["fire", "none"]);
    let why = "twitcher: the znode of 'none' does not exist: there is nothing to run it with\n";
    assert_eq!(missing, (Some(1), why.into()));
    let (code, why) = refused(&daemon, &["fire", "no-such"]);
    assert_eq!((code, &*why), (Some(1), "twitcher: there is no watch named 'no-such' that is enabled\n"));
}

#[test]
fn a_paused_watch_is_fired_when_it_is_resumed_and_nobody_waits_for_that() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-pause");
    let client = Client::connect(&zookeeper);
    client.create("/a", "1");
    let journal = Journal::new(&folder, "journal");
    let watch =
        WatchFile::watch("/a", &journal.append("$(cat)")).key("name", "\"a\"").key("run_on_load", false);
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "watching");
    assert_eq!(told(&daemon, &["pause", "a"]), "a: paused\n");
    client.set("/a", "2");
    client.set("/a", "3");
    let waiting = ask(&daemon, &["fire", "--wait", "a"]);
    assert_eq!(waiting.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&waiting.stdout).contains("it is run when it is resumed"));
    assert!(journal.lines().is_empty());
    let waits = "paused by hand; 'twitcher resume' goes on; 1 update waits";
    assert_eq!(status_of(&daemon, "a")["reason"], waits);
    assert_eq!(told(&daemon, &["pause", "a"]), "a: was paused already; 1 update waits\n");
    assert_eq!(told(&daemon, &["resume", "a"]), "a: resumed; 1 update waits\n");
    journal.expect(&["3"]);
    wait_for_state(&daemon, "a", "watching");
    assert_eq!(told(&daemon, &["resume", "a"]), "a: was not paused\n");
    let (code, why) = refused(&daemon, &["pause", "no-such"]);
    assert_eq!((code, &*why), (Some(1), "twitcher: there is no watch named 'no-such'\n"));
}

#[test]
fn a_discard_watch_that_runs_is_not_fired_and_a_kill_ends_its_run() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-kill");
    Client::connect(&zookeeper).create("/a", "1");
    let journal = Journal::new(&folder, "journal");
    let set = [format!("trap '{}' USR1", journal.append("told")), journal.append("set")].join("; ");
    let command = format!("{set}; while :; do sleep 0.05; done");
    let watch = WatchFile::watch("/a", &command).key("name", "\"a\"").key("run_mode", "\"DISCARD\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "running");
    let (code, why) = refused(&daemon, &["fire", "a"]);
    assert!(code == Some(1) && why.contains("its run_mode is DISCARD"), "{why}");
    journal.expect(&["set"]);
    told(&daemon, &["kill", "-s", "usr1", "a"]);
    journal.expect(&["set", "told"]);
    assert!(told(&daemon, &["kill", "a"]).starts_with("a: "));
    wait_for_state(&daemon, "a", "watching");
    daemon.wait_for_log("outcome=signaled(SIGTERM)");
    let (code, why) = refused(&daemon, &["kill", "a"]);
    assert_eq!((code, &*why), (Some(1), "twitcher: no run of 'a' goes on\n"));
}

#[test]
fn history_and_log_show_the_last_runs_and_what_they_printed() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-history");
    let client = Client::connect(&zookeeper);
    client.create("/a", "one");
    // The last one ends well, so that the next daemon has no reason to run it again.
    let watch = WatchFile::watch("/a", "cat; echo; test $TWITCHER_VERSION = 1").key("name", "\"a\"");
    let watch = watch.key("run_on_load", "\"if-changed\"");
    let mut daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    daemon.wait_for_log("outcome=exited(1)");
    client.set("/a", "two");
    daemon.wait_for_log("outcome=exited(0)");
    let look = |daemon: &Daemon| {
        let history = told(daemon, &["history", "a"]);
        let outcomes: Vec<&str> =
            history.lines().skip(1).filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(outcomes, ["exited(0)", "exited(1)"], "{history}");
        assert_eq!(told(daemon, &["log", "a"]), "two\n");
        // As the socket has them, a line each.
        let lines = told(daemon, &["history", "a", "--json"]);
        let runs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(Value::from(runs.clone()), daemon.ask("GET /v1/watches/a/runs").json()["runs"]);
        assert_eq!(told(daemon, &["history", "a", "--json", "-n", "1"]).lines().next(), lines.lines().next());
        let first = runs[1]["run"].as_str().expect("an id").to_owned();
        assert_eq!(told(daemon, &["log", "a", "--run", &first]), "one\n");
    };
    look(&daemon);
    assert_eq!(daemon.stop().code(), Some(0));
    daemon.start_again();
    eventually(DEADLINE, "the history to be read", || ask(&daemon, &["history", "a"]).status.success());
    look(&daemon);
}

#[test]
fn events_are_told_as_they_happen_and_again_to_those_who_come_late() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-events");
    let client = Client::connect(&zookeeper);
    client.create("/a", "1");
    let watch = WatchFile::watch("/a", "echo said").key("name", "\"a\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    daemon.wait_for_log("outcome=exited(0)");
    let past = eventually(DEADLINE, "the end of the run among the events", || {
        let past = told(&daemon, &["events", "--json"]);
        if past.contains("\"run-ended\"") { Ok(past) } else { Err(past) }
    });
    let events: Vec<Value> = past.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert!(kinds.contains(&"run-started") && kinds.contains(&"run-ended"), "{kinds:?}");

    let last = events.last().expect("an event")["id"].to_string();
    let mut command = twitcher();
    command.args(["events", "-f", "--json", "--after", &last, "--run-dir"]).arg(daemon.run_dir());
    let mut follower = Follower::start(&mut command);
    // What it is told first may be anything that the daemon does by itself; a run's events come in their order.
    client.set("/a", "2");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "run-ended") {
        let line = follower.line().expect("more events");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let kind = event["event"].as_str().unwrap_or_default().to_owned();
        if kind.starts_with("run-") || kind == "output" {
            seen.push(kind);
        }
    }
    assert_eq!(seen.first().map(String::as_str), Some("run-started"), "{seen:?}");
}

#[test]
fn events_of_some_watches_are_told_without_those_of_others() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-some-events");
    let client = Client::connect(&zookeeper);
    let file = ["a", "b", "c"].into_iter().fold(WatchFile::from(String::new()), |file, name| {
        client.create(&format!("/{name}"), "1");
        file.and(&format!("/{name}"), &format!("echo {name}")).key("name", format!("{name:?}"))
    });
    let daemon = Daemon::builder(&folder, &zookeeper).watch("all.toml", file).start();
    for name in ["a", "b", "c"] {
        eventually(DEADLINE, format!("the end of the run of {name}"), || {
            !status_of(&daemon, name)["last"]["end"].is_null()
        });
    }
    let watches_of = |text: &str| -> Vec<String> {
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let watch =
            |event: Value| event["watch"].as_str().or(event["run"]["watch"].as_str()).map(str::to_owned);
        events.map(|event| watch(event.clone()).unwrap_or_else(|| panic!("{event}"))).collect()
    };
    let of_two = watches_of(&told(&daemon, &["events", "a", "c", "--json"]));
    assert!(of_two.contains(&"a".into()) && of_two.contains(&"c".into()), "{of_two:?}");
    assert!(!of_two.contains(&"b".into()), "{of_two:?}");
    let all = told(&daemon, &["events", "a"]);
    let last = told(&daemon, &["events", "a", "-n", "1"]);
    assert_eq!(Some(last.trim_end()), all.lines().next_back());
    assert_eq!(told(&daemon, &["events", "-n", "0"]), "");
    for names in [&["a", "no-such"][..], &["no-such", "no-such"], &["no-such", "unheard-of", "a"]] {
        let (code, why) = refused(&daemon, &[&["events", "-f"], names].concat());
        assert!(code == Some(1) && why.starts_with("twitcher: there is no watch named '"), "{why}");
    }
    daemon
        .write_watch("off.toml", WatchFile::watch("/a", "true").key("name", "\"off\"").key("enabled", false));
    eventually(DEADLINE, "another watch among the events", || {
        let output = ask(&daemon, &["events", "off"]);
        String::from_utf8_lossy(&output.stdout).ends_with(" off: added, and not enabled\n")
    });
    // Of two of which nothing has happened since, it is known that they are there.
    let last: Value =
        serde_json::from_str(told(&daemon, &["events", "-n", "1", "--json"]).trim()).expect("an event");
    assert_eq!(told(&daemon, &["events", "a", "off", "--after", &last["id"].to_string()]), "");

    let mut command = twitcher();
    command.args(["events", "-f", "-n", "1", "--json", "b", "--run-dir"]).arg(daemon.run_dir());
    let mut follower = Follower::start(&mut command);
    let mut next = || -> Value { serde_json::from_str(&follower.line().expect("an event")).expect("JSON") };
    // The last that there was shows that it follows.
    assert_eq!(next()["event"], "run-ended");
    assert!(told(&daemon, &["fire", "--wait", "a"]).ends_with(" exited(0)\n"));
    assert!(told(&daemon, &["fire", "--wait", "b"]).ends_with(" exited(0)\n"));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "run-ended") {
        let event = next();
        let watch = event["watch"].as_str().or(event["run"]["watch"].as_str());
        assert_eq!(watch, Some("b"), "{event}");
        seen.push(event["event"].as_str().unwrap_or_default().to_owned());
    }
    assert!(seen.contains(&"output".into()), "{seen:?}");

    // One that is gone is known as long as something is that happened to it.
    daemon.write_watch("all.toml", WatchFile::watch("/a", "true").key("name", "\"a\""));
    eventually(DEADLINE, "the removal among the events", || {
        let text = told(&daemon, &["events", "b"]);
        if text.ends_with(" b: removed\n") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn reload_says_what_changed() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-reload");
    let watch = WatchFile::watch("/a", "true").key("name", "\"a\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("a.toml", watch).start();
    wait_for_state(&daemon, "a", "missing");
    assert_eq!(told(&daemon, &["reload"]), "1 watch in 1 file\n");
    daemon.write_watch("b.toml", "[[watch]]\n");
    let (code, _) = refused(&daemon, &["reload"]);
    assert_eq!(code, Some(3));
}

#[test]
fn the_socket_is_the_daemons_own_and_a_stale_one_is_replaced() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-socket");
    let mut daemon = Daemon::builder(&folder, &zookeeper).start();
    let socket = daemon.run_dir().join("control.sock");
    let live = |daemon: &Daemon| {
        eventually(DEADLINE, "the socket", || http_is_there(daemon));
        assert_eq!(daemon.ask("GET /livez").status, 200, "{}", daemon.log());
    };
    live(&daemon);
    let metadata = fs::metadata(&socket).expect("the socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    daemon.kill();
    assert!(socket.exists(), "a daemon that was killed leaves its socket");
    let (code, why) = refused(&daemon, &["status"]);
    assert!(code == Some(6) && why.contains("help: is 'twitcher run' up"), "{why}");
    daemon.start_again();
    live(&daemon);
    assert_eq!(daemon.stop().code(), Some(0));
    eventually(DEADLINE, "the socket to go", || !socket.exists());
}

#[test]
fn a_daemon_is_found_by_the_run_folder_in_its_settings() {
    let folder = Folder::new();
    let daemon = Daemon::builder(&folder, &shared_chroot("control-settings")).start();
    daemon.wait_for_log("ready: ");
    let settings = folder.join("others.toml");
    fs::write(&settings, format!("[daemon]\nrun_dir = {:?}\n", daemon.run_dir())).expect("settings");
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o644)).expect("settings");
    let by_flag = twitcher().args(["status", "--config"]).arg(&settings).output().expect("twitcher");
    let by_variable = twitcher().arg("status").env("TWITCHER_CONFIG", &settings).output().expect("twitcher");
    for output in [by_flag, by_variable] {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // One that is named is asked, whatever the settings are.
    let output =
        twitcher().args(["status", "--config", "/no/such/file", "--run-dir"]).arg(daemon.run_dir()).output();
    assert_eq!(output.expect("twitcher").status.code(), Some(0));
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("control-silent");
    let daemon = Daemon::builder(&folder, &zookeeper).start();
    eventually(DEADLINE, "the socket", || http_is_there(&daemon));
    daemon.signal(Signal::SIGSTOP);
    let (code, why) = refused(&daemon, &["status"]);
    daemon.signal(Signal::SIGCONT);
    assert!(code == Some(5) && why.contains("does not answer within 10 s"), "{why}");
}

fn http_is_there(daemon: &Daemon) -> bool {
    daemon.connect().is_ok()
}

#[test]
fn what_is_no_request_or_is_about_nothing_is_answered_by_a_problem() {
    let folder = Folder::new();
    let daemon = Daemon::builder(&folder, &shared_chroot("control-problems")).start();
    daemon.wait_for_log("ready: ");
    for (request, status) in [
        ("GET /", 404),
        ("GET /v1/watches/x", 404),
        ("POST /v1/status", 405),
        ("GET /v1/events?after=x", 400),
        ("GET /v1/runs/zz/output", 404),
    ] {
        let answer = daemon.ask(request);
        assert_eq!((answer.status, answer.content_type()), (status, "application/problem+json"), "{request}");
    }
    assert_eq!(daemon.ask("NONSENSE").status, 400);
}
