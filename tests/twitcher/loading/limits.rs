//! More than the kernel tells of, and more files than are read for one change.

use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::process::Command;

use nix::sys::signal::Signal;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Loaded, watch};
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, Site, WatchFile, eventually, files, is_shown, shared_chroot,
};

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
        files::folder(&folder);
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
fn of_ten_thousand_files_the_one_that_changes_is_read_and_no_other() {
    const FOLDERS: usize = 100;
    const FILES: usize = 100;
    let site = Site::new("many-files");
    site.client.create("/value", "0");
    site.client.create("/other", "0");
    let runs = site.journal("runs");
    let builder = site.builder();
    let watches = site.folder.join("watches");
    let idle = WatchFile::watch("/other", "true").key("run_on_load", false);
    for number in 0..FOLDERS {
        files::folder(&watches.join(format!("d{number}")));
        for file in 0..FILES {
            files::write(&watches.join(format!("d{number}/{file}.toml")), idle.as_ref());
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
