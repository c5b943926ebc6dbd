//! What children print.

use std::fs;

use serde_json::Value;

use super::control::told;
use crate::harness::{Client, Daemon, Folder, Journal, WatchFile, shared_chroot};

fn started(watch: WatchFile) -> (Client, Daemon, Folder) {
    let folder = Folder::new();
    let zookeeper = shared_chroot("output");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    (client, daemon, folder)
}

#[test]
fn what_a_child_prints_is_in_the_log_line_by_line_with_its_watch() {
    let command = "echo to stdout\necho to stderr >&2\nprintf 'without an end'";
    let (_client, daemon, _folder) = started(WatchFile::watch("/value", command).key("name", "\"talker\""));
    for text in ["to stdout", "to stderr", "without an end"] {
        daemon.wait_for_log(text);
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains(text)).expect("the line");
        assert!(line.contains("talker"), "{line}");
    }
}

#[test]
fn what_a_child_prints_cannot_forge_a_line_of_the_log() {
    // Escapes, and a line that is a copy of one of the daemon's own.
    let forged = "2020-01-01T00:00:00.000000Z  INFO value[1]: run ended outcome=exited(0) attempt=1";
    let command = format!(r"printf 'one\033[2Jtwo\rthree\000four\377five\n{forged}\nsix\n'");
    let (_client, daemon, folder) = started(WatchFile::watch("/value", &command));
    daemon.wait_for_log("six");
    let text = daemon.log();
    let copies: Vec<&str> = text.lines().filter(|line| line.contains(forged)).collect();
    let [copy] = copies[..] else { panic!("{text}") };
    assert!(copy.ends_with(&format!("]| {forged}")), "{copy}");
    let log = fs::read(folder.join("log")).expect("the log");
    assert!(!log.contains(&0x1b), "an escape");
    assert!(!log.contains(&b'\r'), "a carriage return");
    assert!(!log.contains(&0), "a null byte");
    assert!(String::from_utf8(log).is_ok(), "something else than text");
}

#[test]
fn what_a_child_prints_is_appended_to_a_file_when_it_asks_for_that() {
    let folder = Folder::new();
    let output = Journal::new(&folder, "output");
    fs::write(output.path(), "before\n").expect("a file");
    let watch = WatchFile::watch("/value", "echo out $(cat)\necho err >&2")
        .key("output", format!("{:?}", output.path()));
    let (client, daemon, _folder) = started(watch);
    output.expect(&["before", "out 0", "err"]);
    client.set("/value", "1");
    output.expect(&["before", "out 0", "err", "out 1", "err"]);
    assert!(!daemon.log().contains("out 0"), "{}", daemon.log());
}

#[test]
fn what_a_child_prints_is_thrown_away_when_it_asks_for_that() {
    let folder = Folder::new();
    let runs = Journal::new(&folder, "runs");
    let command =
        format!("echo unheard\n{}", runs.append("$(readlink /proc/$$/fd/1) $(readlink /proc/$$/fd/2)"));
    let (_client, daemon, _folder) = started(WatchFile::watch("/value", &command).key("output", "\"null\""));
    runs.expect(&["/dev/null /dev/null"]);
    assert!(!daemon.log().contains("unheard"), "{}", daemon.log());
}

#[test]
fn the_log_as_json_has_times_as_numbers_of_seconds_as_the_control_socket_has_them() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("output-json");
    Client::connect(&zookeeper).create("/value", "0");
    let watch = WatchFile::watch("/value", "exit 3").key("name", "\"value\"").key("retries", 1);
    let watch = watch.key("retry_delay", "\"1ms\"").key("on_failure", "\"stop\"");
    let builder = Daemon::builder(&folder, &zookeeper).settings("[log]\nformat = \"json\"\n");
    let daemon = builder.watch("value.toml", watch).start();
    daemon.wait_for_log("stopped: ");
    let log = daemon.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let said = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let again = said("the same update will be tried again");
    assert!(again[0]["after_seconds"].as_f64().is_some_and(|after| after < 1.0), "{again:?}");
    let told = told(&daemon, &["history", "value", "--json"]);
    let runs: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let failed = said("run failed");
    assert_eq!((failed.len(), runs.len()), (2, 2), "{log}");
    for (line, run) in failed.iter().zip(runs.iter().rev()) {
        assert!(line["lasted_seconds"].as_f64().is_some_and(|lasted| lasted > 0.0), "{line}");
        assert_eq!((&line["run"], &line["lasted_seconds"]), (&run["run"], &run["end"]["lasted_seconds"]));
    }
}
