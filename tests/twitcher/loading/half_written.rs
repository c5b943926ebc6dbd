//! Watch files that somebody is still writing.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Loaded, watch};
use crate::harness::{Journal, Site, WatchFile};

#[test]
fn p4_a_file_that_is_seen_half_written_disturbs_nothing() {
    let test = Loaded::new();
    let whole = watch(&test.runs, "whole");
    let (first, second) = whole.as_ref().split_at(whole.as_ref().len() / 2);
    test.daemon.scribble_watch("value.toml", first);
    test.fence();
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
    test.daemon.append_to_watch("value.toml", second);
    test.runs.expect(&["value 0", "value 1", "whole 1"]);
}

#[test]
fn p4_p7_a_file_whose_first_half_is_a_whole_one_is_not_run_before_it_is_written_to_its_end() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    // What the second half brings takes something away from the first: its user, if there is a choice.
    let (second, word) = match nix::unistd::geteuid().is_root() {
        true => ("uid = \"nobody\"\n", "nobody"),
        false => ("env = { WHO = \"whole\" }\n", "whole"),
    };
    let who = if word == "nobody" { "$(id -un)" } else { "${WHO:-half}" };
    let first = WatchFile::watch("/value", &more.append(&format!("{who} $(cat)")));
    // One that is new, and one that was something else before.
    for (name, number) in [("half.toml", 0), ("value.toml", 1)] {
        let mut file = File::create(test.daemon.watches().join(name)).expect("a watch file");
        file.set_permissions(Permissions::from_mode(0o644)).expect("a watch file");
        file.write_all(first.as_ref().as_bytes()).expect("a watch file");
        // Other files are taken in meanwhile, and a look is asked for. However slow that is, the file is
        // never left alone for so long that it would be read as it stands.
        written_on(&file, || {
            test.fence();
            test.daemon.signal(Signal::SIGHUP);
            test.fence();
        });
        assert_eq!(more.lines().len(), number, "{:?}", more.lines());
        file.write_all(second.as_bytes()).expect("a watch file");
        drop(file);
        assert_eq!(more.wait_for(number + 1)[number], format!("{word} 0"));
    }
    test.client.set("/value", "1");
    let both = [format!("{word} 1"), format!("{word} 1")];
    assert_eq!(more.wait_for(4)[2..], both);
    test.runs.expect(&["value 0"]);
}

/// Does something while the file is written to again and again.
fn written_on(mut file: &File, meanwhile: impl FnOnce()) {
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                file.write_all(b"# more to come\n").expect("a watch file");
            }
        });
        let _ends_with_this = done;
        meanwhile();
    });
}

#[test]
fn p4_p7_a_file_that_is_being_written_when_the_daemon_starts_is_waited_for() {
    let site = Site::new("half-at-start");
    site.client.create("/value", "0");
    let (runs, others) = (site.journal("runs"), site.journal("others"));
    let builder = site.builder().watch("other.toml", watch(&others, "other"));
    let mut file = File::create(site.folder.join("watches/half.toml")).expect("a watch file");
    file.set_permissions(Permissions::from_mode(0o644)).expect("a watch file");
    let first = WatchFile::watch("/value", &runs.append("${WHO:-half} $(cat)"));
    file.write_all(first.as_ref().as_bytes()).expect("a watch file");
    let mut daemon = None;
    written_on(&file, || {
        daemon = Some(builder.start());
        others.expect(&["other 0"]);
        assert!(runs.lines().is_empty(), "{:?}", runs.lines());
    });
    file.write_all(b"env = { WHO = \"whole\" }\n").expect("a watch file");
    drop(file);
    runs.expect(&["whole 0"]);
}
