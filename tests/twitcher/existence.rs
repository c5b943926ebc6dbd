//! A znode that comes and goes.

use crate::harness::{Client, Daemon, Folder, Journal, WatchFile, shared, shared_chroot};

fn path_from_the_root(zookeeper: &str, path: &str) -> String {
    format!("{}{path}", &zookeeper[zookeeper.find('/').expect("a chroot")..])
}

#[test]
fn p1_a_znode_is_waited_for_and_run_when_it_is_created_and_created_again() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("comes");
    let client = Client::connect(&zookeeper);
    let runs = Journal::new(&folder, "runs");
    // With parents that are not there either.
    let watch = WatchFile::watch("/some/where/value", &runs.append("$TWITCHER_EVENT $(cat)"));
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    shared().wait_until_watched(&path_from_the_root(&zookeeper, "/some/where/value"));
    client.create_all("/some/where/value", "first");
    runs.expect(&["created first"]);
    client.set("/some/where/value", "second");
    runs.expect(&["created first", "changed second"]);
    client.delete("/some/where/value");
    shared().wait_until_watched(&path_from_the_root(&zookeeper, "/some/where/value"));
    client.create("/some/where/value", "third");
    runs.expect(&["created first", "changed second", "created third"]);
}

#[test]
fn p1_a_znode_that_is_deleted_and_created_at_once_is_run_with_what_it_holds_then() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("replaced");
    let client = Client::connect(&zookeeper);
    client.create("/value", "same");
    let runs = Journal::new(&folder, "runs");
    let watch = WatchFile::watch("/value", &runs.append("$(cat)"));
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    runs.expect(&["same"]);
    client.delete("/value");
    client.create("/value", "same");
    runs.expect(&["same", "same"]);
    // Once.
    client.set("/value", "another");
    runs.expect(&["same", "same", "another"]);
}

#[test]
fn p3_a_deletion_runs_nothing_unless_it_is_asked_for() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("goes");
    let client = Client::connect(&zookeeper);
    client.create("/value", "first");
    let (asked, unasked) = (Journal::new(&folder, "asked"), Journal::new(&folder, "unasked"));
    let watches = WatchFile::watch("/value", &asked.append("$TWITCHER_EVENT <$(cat)>"))
        .key("on_delete", "\"run\"")
        .and("/value", &unasked.append("$TWITCHER_EVENT <$(cat)>"))
        .key("run_mode", "\"PARALLEL\"");
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watches).start();
    asked.expect(&["loaded <first>"]);
    unasked.expect(&["loaded <first>"]);
    client.delete("/value");
    asked.expect(&["loaded <first>", "deleted <>"]);
    client.create("/value", "second");
    asked.expect(&["loaded <first>", "deleted <>", "created <second>"]);
    unasked.expect(&["loaded <first>", "created <second>"]);
}

#[test]
fn an_update_that_writes_the_same_bytes_is_an_update() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("same");
    let client = Client::connect(&zookeeper);
    client.create("/value", "same");
    let runs = Journal::new(&folder, "runs");
    let watch = WatchFile::watch("/value", &runs.append("$TWITCHER_VERSION $(cat)"));
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    runs.expect(&["0 same"]);
    client.set("/value", "same");
    runs.expect(&["0 same", "1 same"]);
}

#[test]
fn p3_a_watch_that_is_not_to_run_when_it_is_loaded_runs_at_the_next_update() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("not-on-load");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let watch = WatchFile::watch("/value", &runs.append("$TWITCHER_EVENT $(cat)")).key("run_on_load", false);
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    shared().wait_until_watched(&path_from_the_root(&zookeeper, "/value"));
    client.set("/value", "1");
    runs.expect(&["changed 1"]);
}
