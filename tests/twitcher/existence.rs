//! A znode that comes and goes.

use crate::harness::{Site, WatchFile, shared};

#[test]
fn p1_a_znode_is_waited_for_and_run_when_it_is_created_and_created_again() {
    let site = Site::new("comes");
    let runs = site.journal("runs");
    // With parents that are not there either.
    let watch = WatchFile::watch("/some/where/value", &runs.append("$TWITCHER_EVENT $(cat)"));
    let _daemon = site.builder().watch("value.toml", watch).start();
    shared().wait_until_watched(&site.path_from_the_root("/some/where/value"));
    site.client.create_all("/some/where/value", "first");
    runs.expect(&["created first"]);
    site.client.set("/some/where/value", "second");
    runs.expect(&["created first", "changed second"]);
    site.client.delete("/some/where/value");
    shared().wait_until_watched(&site.path_from_the_root("/some/where/value"));
    site.client.create("/some/where/value", "third");
    runs.expect(&["created first", "changed second", "created third"]);
}

#[test]
fn p1_a_znode_that_is_deleted_and_created_at_once_is_run_with_what_it_holds_then() {
    let site = Site::new("replaced");
    site.client.create("/value", "same");
    let runs = site.journal("runs");
    let watch = WatchFile::watch("/value", &runs.append("$(cat)"));
    let _daemon = site.builder().watch("value.toml", watch).start();
    runs.expect(&["same"]);
    site.client.delete("/value");
    site.client.create("/value", "same");
    runs.expect(&["same", "same"]);
    // Once.
    site.client.set("/value", "another");
    runs.expect(&["same", "same", "another"]);
}

#[test]
fn p3_a_deletion_runs_nothing_unless_it_is_asked_for() {
    let site = Site::new("goes");
    site.client.create("/value", "first");
    let (asked, unasked) = (site.journal("asked"), site.journal("unasked"));
    let watches = WatchFile::watch("/value", &asked.append("$TWITCHER_EVENT <$(cat)>"))
        .key("on_delete", "\"run\"")
        .and("/value", &unasked.append("$TWITCHER_EVENT <$(cat)>"))
        .key("run_mode", "\"PARALLEL\"");
    let _daemon = site.builder().watch("value.toml", watches).start();
    asked.expect(&["loaded <first>"]);
    unasked.expect(&["loaded <first>"]);
    site.client.delete("/value");
    asked.expect(&["loaded <first>", "deleted <>"]);
    site.client.create("/value", "second");
    asked.expect(&["loaded <first>", "deleted <>", "created <second>"]);
    unasked.expect(&["loaded <first>", "created <second>"]);
}

#[test]
fn an_update_that_writes_the_same_bytes_is_an_update() {
    let site = Site::new("same");
    site.client.create("/value", "same");
    let runs = site.journal("runs");
    let watch = WatchFile::watch("/value", &runs.append("$TWITCHER_VERSION $(cat)"));
    let _daemon = site.builder().watch("value.toml", watch).start();
    runs.expect(&["0 same"]);
    site.client.set("/value", "same");
    runs.expect(&["0 same", "1 same"]);
}

#[test]
fn p3_a_watch_that_is_not_to_run_when_it_is_loaded_runs_at_the_next_update() {
    let site = Site::new("not-on-load");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let watch = WatchFile::watch("/value", &runs.append("$TWITCHER_EVENT $(cat)")).key("run_on_load", false);
    let _daemon = site.builder().watch("value.toml", watch).start();
    shared().wait_until_watched(&site.path_from_the_root("/value"));
    site.client.set("/value", "1");
    runs.expect(&["changed 1"]);
}
