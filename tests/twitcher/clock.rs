//! A clock that jumps back an hour, under the daemon, its minder and their children.
//!
//! The machine's own clock is everybody's, and a time namespace has none for the time of day. So the daemon
//! gets, in a mount namespace of its own, a library that the loader puts in front of the C library in each
//! process: it takes off the time of day what a file says, and leaves the monotonic clock alone. That takes
//! root: without, there is nothing to be shown here.

use std::fs;
use std::process::Command;

use crate::harness::{Client, Daemon, Folder, Journal, WatchFile, root_can, shared_chroot};

const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long late(void) {
    char text[32] = "";
    int file = open(LATE, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec -= late();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Has the library loaded by what it executes and by all that comes of it.
const WITH_THE_LIBRARY: &str = r#"
cp -a /etc/. "$0/etc" && echo "$0/library.so" >"$0/etc/ld.so.preload" && mount --bind "$0/etc" /etc && exec "$@"
"#;

#[test]
fn p1_p3_p6_p8_a_clock_that_jumps_back_an_hour_changes_nothing() {
    if !root_can("have a clock of its own") {
        return;
    }
    let folder = Folder::new();
    let late = folder.join("late");
    fs::write(folder.join("library.c"), LIBRARY).expect("a library");
    fs::create_dir(folder.join("etc")).expect("a folder");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(folder.join("library.so"))
        .arg(format!("-DLATE=\"{}\"", late.display()))
        .arg(folder.join("library.c"))
        .status();
    assert!(compiled.expect("a C compiler").success());

    let zookeeper = shared_chroot("clock");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let (runs, times) = (Journal::new(&folder, "runs"), Journal::new(&folder, "times"));
    let command =
        [runs.append("$TWITCHER_EVENT $(cat)"), times.append("$(date +%s) $((0x$TWITCHER_RUN_ID))")];
    let watches = WatchFile::watch("/value", &command.join("\n"))
        .key("run_on_load", "\"if-changed\"")
        .key("min_interval", "\"50ms\"")
        .key("settle", "\"50ms\"")
        .and("/value", "echo begun; exec sleep 1000")
        .key("name", "\"endless\"")
        .key("run_on_load", "false")
        .key("timeout", "\"1s\"");
    let at = folder.display().to_string();
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .watch("value.toml", watches)
        .wrapped_in(&["unshare", "--mount", "/bin/sh", "-c", WITH_THE_LIBRARY, &at])
        .start();
    runs.expect(&["loaded 0"]);
    client.set("/value", "1");
    runs.expect(&["loaded 0", "changed 1"]);
    daemon.wait_for_log("begun");
    // What a run says of the time comes after what it says of the znode.
    times.wait_for(2);

    fs::write(&late, "3600").expect("an hour to be taken off");
    // The run that went on is over in time.
    daemon.wait_for_log_times("outcome=timed-out", 1);
    client.set("/value", "2");
    runs.expect(&["loaded 0", "changed 1", "changed 2"]);
    // And so is a later one.
    daemon.wait_for_log_times("outcome=timed-out", 2);
    daemon.wait_until_applied("value", &client.stat("/value"));
    assert_eq!(daemon.log().matches("outcome=timed-out").count(), 2, "{}", daemon.log());

    // The next daemon knows no other time.
    daemon.kill();
    daemon.start_again();
    daemon.wait_until_ready();
    client.set("/value", "3");
    runs.expect(&["loaded 0", "changed 1", "changed 2", "changed 3"]);

    let times: Vec<(i64, i64)> = times
        .wait_for(4)
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(time, run)| (time.parse().expect("a time"), run.parse().expect("a number")))
        .collect();
    let jump = times[1].0 - times[2].0;
    assert!((3000..=3600).contains(&jump), "the children's clock has jumped by {jump} s");
    assert!(times[1].1 < times[2].1, "a later run has a greater number: {times:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}
