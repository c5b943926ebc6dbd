//! Links in the config folder, and what is no file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{Loaded, watch};
use crate::harness::{Journal, files};

#[test]
fn a_hangup_signal_takes_in_what_a_link_points_to() {
    let test = Loaded::new();
    let (linked, target) = (Journal::new(&test.folder, "linked"), test.folder.join("target.toml"));
    let write = |word: &str| {
        files::write(&target, watch(&linked, word).as_ref());
    };
    write("before");
    symlink(&target, test.daemon.watches().join("link.toml")).expect("a link");
    linked.expect(&["before 0"]);
    write("after");
    test.daemon.signal(Signal::SIGHUP);
    linked.expect(&["before 0", "after 0"]);
}

#[test]
fn what_is_in_a_folder_that_a_link_leads_to_is_followed() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let target = test.folder.join("target");
    files::folder(&target);
    files::write(&target.join("a.toml"), watch(&more, "$TWITCHER_WATCH").as_ref());
    symlink(&target, test.daemon.watches().join("linked")).expect("a link");
    more.expect(&["linked.a 0"]);
    let beside = test.folder.join("beside");
    files::write(&beside, watch(&more, "edited").as_ref());
    fs::rename(&beside, target.join("a.toml")).expect("a file to move");
    more.expect(&["linked.a 0", "edited 0"]);
    fs::remove_file(test.daemon.watches().join("linked")).expect("a link to go");
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.fence();
    assert_eq!(more.lines().len(), 2, "{:?}", more.lines());
}

#[test]
fn the_double_links_of_a_config_map_change_all_its_files_at_once() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let watches = test.daemon.watches();
    for version in ["..1", "..2"] {
        files::folder(&watches.join(version));
        for name in ["a.toml", "b.toml"] {
            files::write(
                &watches.join(version).join(name),
                watch(&more, &format!("$TWITCHER_WATCH{version}")).as_ref(),
            );
        }
    }
    symlink("..1", watches.join("..data")).expect("a link");
    for name in ["a.toml", "b.toml"] {
        symlink(Path::new("..data").join(name), watches.join(name)).expect("a link");
    }
    let sorted = |count| {
        let mut lines = more.wait_for(count);
        lines.sort();
        lines
    };
    assert_eq!(sorted(2), ["a..1 0", "b..1 0"]);
    symlink("..2", watches.join("..data_tmp")).expect("a link");
    fs::rename(watches.join("..data_tmp"), watches.join("..data")).expect("a link to move");
    assert_eq!(sorted(4), ["a..1 0", "a..2 0", "b..1 0", "b..2 0"]);
    fs::remove_dir_all(watches.join("..1")).expect("a folder to go");
    test.fence();
    assert_eq!(more.lines().len(), 4, "{:?}", more.lines());
    test.client.set("/value", "1");
    assert_eq!(sorted(6)[1], "a..2 0");
    test.runs.expect(&["value 0", "value 1"]);
}

#[test]
fn p4_links_that_go_round_in_circles_and_what_is_no_file_disturb_nothing() {
    let test = Loaded::new();
    let watches = test.daemon.watches();
    symlink(".", watches.join("self")).expect("a link");
    symlink("there", watches.join("here")).expect("a link");
    symlink("here", watches.join("there")).expect("a link");
    symlink("nowhere", watches.join("nowhere.toml")).expect("a link");
    // To open it waits for somebody who writes, if it is not said that nobody is to be waited for.
    mkfifo(&watches.join("pipe.toml"), Mode::from_bits_truncate(0o644)).expect("a named pipe");
    files::write(&watches.join("large.toml"), "#".repeat((1 << 20) + 1));
    files::folder(&watches.join("folder.toml"));
    test.fence();
    for problem in ["leads back", "cannot be followed", "not a regular file", "larger than 1024 KiB"] {
        test.daemon.wait_for_log(problem);
    }
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
}
