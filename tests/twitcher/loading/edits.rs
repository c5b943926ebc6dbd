//! Watch files that come, change, break and go.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use super::{Loaded, watch};
use crate::harness::{Gate, Journal, WatchFile};

#[test]
fn a_file_that_is_dropped_in_edited_and_taken_away_is_followed() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    test.daemon.write_watch("more.toml", watch(&more, "dropped-in"));
    more.expect(&["dropped-in 0"]);
    test.client.set("/value", "1");
    more.expect(&["dropped-in 0", "dropped-in 1"]);
    test.daemon.write_watch("more.toml", watch(&more, "edited"));
    more.expect(&["dropped-in 0", "dropped-in 1", "edited 1"]);
    test.client.set("/value", "2");
    more.expect(&["dropped-in 0", "dropped-in 1", "edited 1", "edited 2"]);
    test.daemon.remove_watch("more.toml");
    test.fence();
    test.client.set("/value", "3");
    test.runs.expect(&["value 0", "value 1", "value 2", "value 3"]);
    test.daemon.write_watch("more.toml", watch(&more, "back"));
    more.expect(&["dropped-in 0", "dropped-in 1", "edited 1", "edited 2", "back 3"]);
}

#[test]
fn a_file_that_is_moved_out_of_the_folder_is_no_longer_watched_and_watched_when_it_is_back() {
    let test = Loaded::new();
    let (inside, outside) = (test.daemon.watches().join("value.toml"), test.folder.join("value.toml"));
    fs::rename(&inside, &outside).expect("a file to move");
    test.fence();
    test.client.set("/value", "1");
    fs::rename(&outside, &inside).expect("a file to move");
    test.runs.expect(&["value 0", "value 1"]);
    test.client.set("/value", "2");
    test.runs.expect(&["value 0", "value 1", "value 2"]);
}

#[test]
fn p4_a_file_that_breaks_keeps_its_last_good_watches_until_it_is_repaired() {
    let test = Loaded::new();
    test.daemon.write_watch("value.toml", "[[watch]]\nznode = \n");
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.daemon.write_watch("value.toml", watch(&test.runs, "value").key("no_such_key", 1));
    test.fence();
    test.client.set("/value", "2");
    test.runs.expect(&["value 0", "value 1", "value 2"]);
    test.daemon.write_watch("value.toml", watch(&test.runs, "repaired"));
    test.runs.expect(&["value 0", "value 1", "value 2", "repaired 2"]);
    test.client.set("/value", "3");
    test.runs.expect(&["value 0", "value 1", "value 2", "repaired 2", "repaired 3"]);
}

#[test]
fn p4_a_file_that_is_broken_from_the_start_keeps_nothing_else_from_being_watched() {
    let test = Loaded::new();
    test.daemon.write_watch("aa-broken.toml", "this is not a watch");
    test.daemon.write_watch("aa-binary.toml", "\0\u{1}\u{2}");
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
}

#[test]
fn p3_a_file_that_is_written_again_as_it_was_runs_nothing() {
    let test = Loaded::new();
    test.daemon.write_watch("value.toml", watch(&test.runs, "value"));
    test.fence();
    // Nor one with other words and the same meaning.
    let watch = watch(&test.runs, "value").key("timeout", "\"60s\"").key("pipe_stdin", true);
    test.daemon.write_watch("value.toml", watch.as_ref());
    test.runs.expect(&["value 0", "value 0"]);
    test.daemon.write_watch("value.toml", format!("# a comment\n{}", watch.as_ref()).replace("60s", "1m"));
    test.fence();
    test.daemon.signal(Signal::SIGHUP);
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 0", "value 1"]);
    test.fence();
    test.client.set("/value", "2");
    test.runs.expect(&["value 0", "value 0", "value 1", "value 2"]);
}

#[test]
fn p2_an_edit_during_a_run_lets_it_end_and_goes_on_with_the_new_definition() {
    let test = Loaded::new();
    let (runs, gate) = (Journal::new(&test.folder, "gated"), Gate::new(&test.folder, "gate"));
    let command = |word: &str| {
        let commands =
            [runs.append(&format!("{word} start")), gate.pass(), runs.append(&format!("{word} end"))];
        WatchFile::watch("/value", &commands.join("\n"))
    };
    test.daemon.write_watch("gated.toml", command("old"));
    runs.expect(&["old start"]);
    test.daemon.write_watch("gated.toml", command("new"));
    test.fence();
    gate.open();
    runs.expect(&["old start", "old end", "new start", "new end"]);
}

#[test]
fn a_removed_watch_lets_its_run_end() {
    let test = Loaded::new();
    let (runs, gate) = (Journal::new(&test.folder, "gated"), Gate::new(&test.folder, "gate"));
    let commands = [runs.append("start"), gate.pass(), runs.append("end")];
    test.daemon.write_watch("gated.toml", WatchFile::watch("/value", &commands.join("\n")));
    runs.expect(&["start"]);
    test.daemon.remove_watch("gated.toml");
    test.fence();
    gate.open();
    runs.expect(&["start", "end"]);
}

#[test]
fn p4_of_two_watches_with_one_name_the_first_in_path_order_is_kept() {
    let test = Loaded::new();
    let (first, second) = (Journal::new(&test.folder, "first"), Journal::new(&test.folder, "second"));
    test.daemon.write_watch("named-a.toml", watch(&first, "first").key("name", "\"twin\""));
    first.expect(&["first 0"]);
    test.daemon.write_watch("named-b.toml", watch(&second, "second").key("name", "\"twin\""));
    test.fence();
    test.client.set("/value", "1");
    first.expect(&["first 0", "first 1"]);
    test.runs.expect(&["value 0", "value 1"]);
    assert!(second.lines().is_empty(), "{:?}", second.lines());
    test.daemon.remove_watch("named-a.toml");
    second.expect(&["second 1"]);
}

#[test]
fn p4_a_file_that_others_can_write_to_is_refused_and_its_last_good_watches_stay() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let path = test.daemon.watches().join("value.toml");
    fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("a file for the group");
    test.daemon.scribble_watch("value.toml", watch(&test.runs, "unsafe"));
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.daemon.write_watch("more.toml", watch(&more, "more"));
    more.expect(&["more 1"]);
    // Safe again, it is taken as it is by now.
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a file for its owner");
    test.runs.expect(&["value 0", "value 1", "unsafe 1"]);
}

#[test]
fn a_watch_that_is_not_enabled_runs_nothing_until_it_is() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    test.daemon.write_watch("more.toml", watch(&more, "more").key("enabled", false));
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.daemon.write_watch("more.toml", watch(&more, "more").key("enabled", true));
    more.expect(&["more 1"]);
}

#[test]
fn p3_a_watch_with_a_name_of_its_own_that_is_moved_and_reordered_runs_nothing() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let file = |names: [&str; 2]| {
        let one = |name: &str| format!("{}\n", watch(&more, name).key("name", format!("{name:?}")).as_ref());
        names.map(one).concat()
    };
    test.daemon.write_watch("more.toml", file(["one", "two"]));
    more.wait_for(2);
    test.daemon.write_watch("more.toml", file(["two", "one"]));
    test.fence();
    let watches = test.daemon.watches();
    fs::rename(watches.join("more.toml"), watches.join("elsewhere.toml")).expect("a file to move");
    test.fence();
    assert_eq!(more.lines().len(), 2, "{:?}", more.lines());
    test.client.set("/value", "1");
    more.wait_for(4);
}

#[test]
fn what_changed_is_logged_by_key() {
    let test = Loaded::new();
    test.daemon
        .write_watch("value.toml", watch(&test.runs, "value").key("timeout", 30).key("umask", "\"077\""));
    test.daemon.wait_for_log("value: timeout none → 30s, umask 022 → 077");
}
