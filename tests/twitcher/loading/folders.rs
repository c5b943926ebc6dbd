//! Folders of watch files, and the config folder itself, that come and go.

use std::fs;

use nix::sys::signal::Signal;

use super::{Loaded, watch};
use crate::harness::{Journal, Site, files};

#[test]
fn files_are_found_in_folders_that_come_later_and_hidden_ones_are_passed_over() {
    let test = Loaded::new();
    let (deep, hidden) = (Journal::new(&test.folder, "deep"), Journal::new(&test.folder, "hidden"));
    test.daemon.write_watch(".hidden.toml", watch(&hidden, "hidden"));
    test.daemon.write_watch(".hidden/value.toml", watch(&hidden, "hidden"));
    test.daemon.write_watch("value.toml.bak", watch(&hidden, "hidden"));
    for folder in ["web", "web/front"] {
        let folder = test.daemon.watches().join(folder);
        files::folder(&folder);
    }
    test.daemon.write_watch("web/front/value.toml", watch(&deep, "$TWITCHER_WATCH"));
    deep.expect(&["web.front.value 0"]);
    test.client.set("/value", "1");
    deep.expect(&["web.front.value 0", "web.front.value 1"]);
    assert!(hidden.lines().is_empty(), "{:?}", hidden.lines());
}

#[test]
fn p8_a_config_folder_that_is_moved_away_and_back_is_followed() {
    let mut test = Loaded::new();
    let (here, away) = (test.daemon.watches(), test.folder.join("away"));
    fs::rename(&here, &away).expect("a folder to move");
    test.daemon.signal(Signal::SIGHUP);
    test.daemon.wait_for_log("the config folder does not exist");
    test.daemon.wait_for_log("value: removed");
    fs::rename(&away, &here).expect("a folder to move");
    test.daemon.signal(Signal::SIGHUP);
    test.runs.expect(&["value 0", "value 0"]);
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 0", "value 1"]);
    assert!(test.daemon.is_running());
}

#[test]
fn p8_a_config_folder_that_comes_after_the_daemon_is_read() {
    let site = Site::new("late-folder");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let builder = site.builder();
    let watches = site.folder.join("watches");
    fs::remove_dir(&watches).expect("an empty folder to go");
    let mut daemon = builder.start();
    daemon.minder();
    files::folder(&watches);
    daemon.write_watch("value.toml", watch(&runs, "value"));
    runs.expect(&["value 0"]);
    assert!(daemon.is_running());
}

#[test]
fn a_folder_that_is_moved_in_and_out_comes_and_goes_with_all_that_is_in_it() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let (outside, inside) = (test.folder.join("web"), test.daemon.watches().join("web"));
    files::folder(&outside);
    files::folder(&outside.join("front"));
    for name in ["a.toml", "front/b.toml"] {
        files::write(&outside.join(name), watch(&more, "$TWITCHER_WATCH").as_ref());
    }
    fs::rename(&outside, &inside).expect("a folder to move");
    let mut lines = more.wait_for(2);
    lines.sort();
    assert_eq!(lines, ["web.a 0", "web.front.b 0"]);
    fs::rename(&inside, &outside).expect("a folder to move");
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.fence();
    assert_eq!(more.lines().len(), 2, "{:?}", more.lines());
}

#[test]
fn p8_a_config_folder_that_is_removed_and_made_again_is_read() {
    let mut test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    for number in 1..=3 {
        fs::remove_dir_all(test.daemon.watches()).expect("a folder to go");
        files::folder(&test.daemon.watches());
        test.daemon.write_watch("more.toml", watch(&more, &number.to_string()));
        more.wait_for(number);
    }
    test.fence();
    test.client.set("/value", "1");
    more.expect(&["1 0", "2 0", "3 0", "3 1"]);
    test.runs.expect(&["value 0"]);
    assert!(test.daemon.is_running());
}
