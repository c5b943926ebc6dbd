//! Watch files that come, change, break and go while the daemon runs, seen by what runs.

use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Gate, Journal, WatchFile, eventually, is_shown, shared_chroot,
};

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

/// A folder that the daemon trusts, whatever the umask is.
fn folder_at(path: &Path) {
    fs::create_dir(path).expect("a folder");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a folder");
}

/// A watch file outside of the config folder, or put into it without the daemon's knowing when.
fn file_at(path: &Path, watch: impl AsRef<str>) {
    fs::write(path, watch.as_ref()).expect("a watch file");
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("a watch file");
}

#[test]
fn a_folder_that_is_moved_in_and_out_comes_and_goes_with_all_that_is_in_it() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let (outside, inside) = (test.folder.join("web"), test.daemon.watches().join("web"));
    folder_at(&outside);
    folder_at(&outside.join("front"));
    for name in ["a.toml", "front/b.toml"] {
        file_at(&outside.join(name), watch(&more, "$TWITCHER_WATCH"));
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
        folder_at(&test.daemon.watches());
        test.daemon.write_watch("more.toml", watch(&more, &number.to_string()));
        more.wait_for(number);
    }
    test.fence();
    test.client.set("/value", "1");
    more.expect(&["1 0", "2 0", "3 0", "3 1"]);
    test.runs.expect(&["value 0"]);
    assert!(test.daemon.is_running());
}

#[test]
fn what_is_in_a_folder_that_a_link_leads_to_is_followed() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let target = test.folder.join("target");
    folder_at(&target);
    file_at(&target.join("a.toml"), watch(&more, "$TWITCHER_WATCH"));
    symlink(&target, test.daemon.watches().join("linked")).expect("a link");
    more.expect(&["linked.a 0"]);
    let beside = test.folder.join("beside");
    file_at(&beside, watch(&more, "edited"));
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
        folder_at(&watches.join(version));
        for name in ["a.toml", "b.toml"] {
            file_at(&watches.join(version).join(name), watch(&more, &format!("$TWITCHER_WATCH{version}")));
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
    file_at(&watches.join("large.toml"), "#".repeat((1 << 20) + 1));
    folder_at(&watches.join("folder.toml"));
    test.fence();
    for problem in ["leads back", "cannot be followed", "not a regular file", "larger than 1024 KiB"] {
        test.daemon.wait_for_log(problem);
    }
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
}

#[test]
fn a_change_is_seen_behind_more_events_than_the_kernel_keeps() {
    let test = Loaded::new();
    let more = Journal::new(&test.folder, "more");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a limit");
    let limit: usize = limit.trim().parse().expect("a number");
    test.daemon.signal(Signal::SIGSTOP);
    // One that is made and one that is removed are two events that are not told as one.
    for number in 0..limit / 2 + 100 {
        let path = test.daemon.watches().join(format!(".{}", number % 2));
        File::create(&path).expect("a file");
        fs::remove_file(&path).expect("a file to go");
    }
    test.daemon.write_watch("more.toml", watch(&more, "first"));
    test.daemon.signal(Signal::SIGCONT);
    more.expect(&["first 0"]);
    test.daemon.write_watch("more.toml", watch(&more, "second"));
    more.expect(&["first 0", "second 0"]);
    test.client.set("/value", "1");
    test.runs.expect(&["value 0", "value 1"]);
}

#[test]
fn p8_more_folders_than_inotify_has_watches_for_are_read_and_looked_at_when_somebody_asks() {
    // A limit of its own for the daemon alone, which takes a user namespace.
    let limited = ["unshare", "--user", "--map-root-user", "sh", "-c"];
    let script = "echo 3 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
    let probe = Command::new(limited[0]).args(&limited[1..]).args([script, "sh", "true"]).output();
    let is_limited = probe.is_ok_and(|output| output.status.success());
    if !is_shown(is_limited, "this machine lets nobody have a limit of their own") {
        return;
    }
    let folder = Folder::new();
    let zookeeper = shared_chroot("inotify-limit");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let mut builder = Daemon::builder(&folder, &zookeeper);
    for number in 1..=8 {
        let folder = folder.join(format!("watches/d{number}"));
        folder_at(&folder);
        builder = builder.watch(&format!("d{number}/a.toml"), watch(&runs, &number.to_string()));
    }
    let wrapper: Vec<&str> = limited.into_iter().chain([script, "sh"]).collect();
    let mut daemon = builder.wrapped_in(&wrapper).start();
    runs.wait_for(8);
    daemon.wait_for_log("not every change of the config folder is seen at once");
    daemon.write_watch("d8/a.toml", watch(&runs, "edited"));
    daemon.signal(Signal::SIGHUP);
    assert_eq!(runs.wait_for(9)[8], "edited 0");
    client.set("/value", "1");
    runs.wait_for(17);
    assert!(daemon.is_running());
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

#[test]
fn of_ten_thousand_files_the_one_that_changes_is_read_and_no_other() {
    const FOLDERS: usize = 100;
    const FILES: usize = 100;
    let folder = Folder::new();
    let zookeeper = shared_chroot("many-files");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    client.create("/other", "0");
    let runs = Journal::new(&folder, "runs");
    let builder = Daemon::builder(&folder, &zookeeper);
    let watches = folder.join("watches");
    let idle = WatchFile::watch("/other", "true").key("run_on_load", false);
    for number in 0..FOLDERS {
        folder_at(&watches.join(format!("d{number}")));
        for file in 0..FILES {
            file_at(&watches.join(format!("d{number}/{file}.toml")), idle.as_ref());
        }
    }
    let daemon = builder.watch("d7/7.toml", watch(&runs, "before")).start();
    eventually(DEADLINE * 4, "ten thousand watches", || {
        if runs.lines() == ["before 0"] { Ok(()) } else { Err(daemon.log().len()) }
    });
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
    for number in 0..FOLDERS {
        let path = watches.join(format!("d{number}"));
        inotify::add_watch(&inotify, path, WatchFlags::OPEN).expect("a watch of inotify's");
    }
    let before = daemon.process().worked();
    daemon.write_watch("d7/7.toml", watch(&runs, "after"));
    eventually(DEADLINE * 2, "the change", || {
        if runs.lines() == ["before 0", "after 0"] { Ok(()) } else { Err(runs.lines()) }
    });
    println!("the daemon worked for {:?}", daemon.process().worked().saturating_sub(before));
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = Reader::new(&inotify, &mut buffer);
    let mut opened = Vec::new();
    while let Ok(event) = reader.next() {
        assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "more was opened than can be told");
        if !event.events().contains(ReadFlags::ISDIR) {
            opened.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    opened.dedup();
    assert_eq!(opened, ["7.toml"]);

    // Nor does it cost as much as a look at all of them, which a hangup signal asks for. The same is done
    // with and without one in the same run, so that it is no matter how fast the machine is.
    let mut number = 0;
    let mut worked = |also: &dyn Fn()| {
        let before = daemon.process().worked();
        for _ in 0..10 {
            number += 1;
            daemon.write_watch("d7/7.toml", watch(&runs, &number.to_string()));
            also();
            runs.wait_for(2 + number);
        }
        daemon.process().worked().saturating_sub(before)
    };
    let (changes, looks) = (worked(&|| ()), worked(&|| daemon.signal(Signal::SIGHUP)));
    println!("it worked for {changes:?} on ten changes, for {looks:?} if it was to look at everything");
    assert!(changes * 2 < looks, "{changes:?}, {looks:?}");
}
