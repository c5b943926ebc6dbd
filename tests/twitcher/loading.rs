//! Watch files that come, change, break and go while the daemon runs, seen by what runs.

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Gate, Journal, WatchFile, eventually, shared_chroot};

/// A daemon with one watch of `/value`, whose every run is in the journal.
struct Loaded {
    client: Client,
    runs: Journal,
    fences: Journal,
    fence: Cell<usize>,
    daemon: Daemon,
    folder: Folder,
}

impl Loaded {
    fn new() -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("loading");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, fences) = (Journal::new(&folder, "runs"), Journal::new(&folder, "fences"));
        let watch = watch(&runs, "value");
        let daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
        runs.expect(&["value 0"]);
        Self { client, runs, fences, fence: Cell::new(0), daemon, folder }
    }

    /// Waits until the daemon has taken in all that was done to its config folder so far, which it has when
    /// it runs what comes with a file that was dropped in last.
    fn fence(&self) {
        let number = self.fence.get() + 1;
        self.fence.set(number);
        let file = WatchFile::watch("/value", &self.fences.append(&number.to_string()));
        self.daemon.write_watch(&format!("zz-fence-{number}.toml"), file.key("run_mode", "\"DISCARD\""));
        let line = number.to_string();
        eventually(DEADLINE, format!("fence {number}"), || {
            let lines = self.fences.lines();
            if lines.contains(&line) { Ok(()) } else { Err(lines) }
        });
        self.daemon.remove_watch(&format!("zz-fence-{number}.toml"));
    }
}

/// Parallel, so that a run that nobody asked for is not hidden behind one that was.
fn watch(runs: &Journal, word: &str) -> WatchFile {
    WatchFile::watch("/value", &runs.append(&format!("{word} $(cat)"))).key("run_mode", "\"PARALLEL\"")
}

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
    let folder = Folder::new();
    let zookeeper = shared_chroot("half-at-start");
    Client::connect(&zookeeper).create("/value", "0");
    let (runs, others) = (Journal::new(&folder, "runs"), Journal::new(&folder, "others"));
    let builder = Daemon::builder(&folder, &zookeeper).watch("other.toml", watch(&others, "other"));
    let mut file = File::create(folder.join("watches/half.toml")).expect("a watch file");
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
fn files_are_found_in_folders_that_come_later_and_hidden_ones_are_passed_over() {
    let test = Loaded::new();
    let (deep, hidden) = (Journal::new(&test.folder, "deep"), Journal::new(&test.folder, "hidden"));
    test.daemon.write_watch(".hidden.toml", watch(&hidden, "hidden"));
    test.daemon.write_watch(".hidden/value.toml", watch(&hidden, "hidden"));
    test.daemon.write_watch("value.toml.bak", watch(&hidden, "hidden"));
    for folder in ["web", "web/front"] {
        let folder = test.daemon.watches().join(folder);
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("a folder");
    }
    test.daemon.write_watch("web/front/value.toml", watch(&deep, "$TWITCHER_WATCH"));
    deep.expect(&["web.front.value 0"]);
    test.client.set("/value", "1");
    deep.expect(&["web.front.value 0", "web.front.value 1"]);
    assert!(hidden.lines().is_empty(), "{:?}", hidden.lines());
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
fn a_hangup_signal_takes_in_what_a_link_points_to() {
    let test = Loaded::new();
    let (linked, target) = (Journal::new(&test.folder, "linked"), test.folder.join("target.toml"));
    let write = |word: &str| {
        fs::write(&target, watch(&linked, word).as_ref()).expect("a file outside of the config folder");
        fs::set_permissions(&target, Permissions::from_mode(0o644)).expect("a file for its owner");
    };
    write("before");
    symlink(&target, test.daemon.watches().join("link.toml")).expect("a link");
    linked.expect(&["before 0"]);
    write("after");
    test.daemon.signal(Signal::SIGHUP);
    linked.expect(&["before 0", "after 0"]);
}

#[test]
fn p8_a_config_folder_that_is_moved_away_and_back_is_followed() {
    let mut test = Loaded::new();
    let (here, away) = (test.daemon.watches(), test.folder.join("away"));
    fs::rename(&here, &away).expect("a folder to move");
    test.daemon.signal(Signal::SIGHUP);
    fs::rename(&away, &here).expect("a folder to move");
    test.daemon.signal(Signal::SIGHUP);
    test.fence();
    let seen = test.runs.lines().len();
    test.client.set("/value", "1");
    assert_eq!(test.runs.wait_for(seen + 1).last().map(String::as_str), Some("value 1"));
    assert!(test.daemon.is_running());
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
fn p8_a_config_folder_that_comes_after_the_daemon_is_read() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("late-folder");
    Client::connect(&zookeeper).create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let builder = Daemon::builder(&folder, &zookeeper);
    let watches = folder.join("watches");
    fs::remove_dir(&watches).expect("an empty folder to go");
    let mut daemon = builder.start();
    daemon.minder();
    fs::create_dir(&watches).expect("a folder");
    fs::set_permissions(&watches, Permissions::from_mode(0o755)).expect("a folder");
    daemon.write_watch("value.toml", watch(&runs, "value"));
    runs.expect(&["value 0"]);
    assert!(daemon.is_running());
}
