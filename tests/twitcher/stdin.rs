//! A znode's contents at a child's stdin.

use std::fs;

use crate::harness::{Client, Daemon, Folder, Gate, Journal, Server, Site, WatchFile, shared_chroot};

/// Bytes of every value, so that one that is lost, doubled or changed on the way shows.
fn contents(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// The longest contents that a ZooKeeper with its default settings accepts in a write of this path from the
/// root: a request is at most `jute.maxbuffer`, 0xfffff bytes, with a header of 8, the lengths of the path
/// and of the contents with 4 each, and 4 for the version.
fn longest_by_default(path: &str) -> usize {
    0xf_ffff - 8 - 4 - path.len() - 4 - 4
}

fn arrives_unchanged(zookeeper: &str, contents: &[u8]) {
    let folder = Folder::new();
    let client = Client::connect(zookeeper);
    client.create("/value", "");
    let (copy, runs) = (folder.join("copy"), Journal::new(&folder, "runs"));
    let command = format!("cat > {}; {}", copy.display(), runs.append("run"));
    let _daemon =
        Daemon::builder(&folder, zookeeper).watch("value.toml", WatchFile::watch("/value", &command)).start();
    runs.wait_for(1);
    assert_eq!(fs::read(&copy).expect("the copy"), b"");
    client.set("/value", contents);
    runs.wait_for(2);
    assert!(fs::read(&copy).expect("the copy") == contents, "the contents are not what they were");
}

#[test]
fn the_longest_contents_that_zookeeper_accepts_by_default_arrive_unchanged() {
    let zookeeper = shared_chroot("longest");
    let path = format!("{}/value", &zookeeper[zookeeper.find('/').expect("a chroot")..]);
    arrives_unchanged(&zookeeper, &contents(longest_by_default(&path)));
}

#[test]
fn one_byte_less_than_a_mebibyte_arrives_unchanged() {
    let server = Server::start_with(&["-Djute.maxbuffer=2097152"]);
    arrives_unchanged(&server.chroot("mebibyte"), &contents(1024 * 1024 - 1));
}

#[test]
fn p5_a_child_that_never_reads_a_mebibyte_delays_no_other_watch_and_may_end_well() {
    let server = Server::start_with(&["-Djute.maxbuffer=2097152"]);
    let zookeeper = server.chroot("unread");
    let folder = Folder::new();
    let client = Client::connect(&zookeeper);
    client.create("/large", contents(1024 * 1024 - 1));
    client.create("/small", "0");
    let (large, small) = (Journal::new(&folder, "large"), Journal::new(&folder, "small"));
    let gate = Gate::new(&folder, "gate");
    let command = [large.append("start"), gate.pass(), large.append("end")];
    let watches = WatchFile::watch("/large", &command.join("\n")).and("/small", &small.append("$(cat)"));
    let mut daemon = Daemon::builder(&folder, &zookeeper).watch("both.toml", watches).start();
    large.wait_for(1);
    small.wait_for(1);
    client.set("/small", "1");
    small.expect(&["0", "1"]);
    large.expect(&["start"]);
    gate.open();
    large.expect(&["start", "end"]);
    client.set("/large", contents(1024 * 1024 - 2));
    large.expect(&["start", "end", "start", "end"]);
    client.set("/small", "2");
    small.expect(&["0", "1", "2"]);
    assert!(daemon.is_running());
}

#[test]
fn a_child_that_does_not_want_the_contents_has_dev_null_at_its_stdin() {
    let site = Site::new("no-stdin");
    site.client.create("/value", "something");
    let runs = site.journal("runs");
    // `readlink` has the stdin of the shell.
    let watch =
        WatchFile::watch("/value", &runs.append("$(readlink /proc/self/fd/0)")).key("pipe_stdin", false);
    let _daemon = site.builder().watch("value.toml", watch).start();
    runs.expect(&["/dev/null"]);
}

#[test]
fn a_child_that_reads_nothing_and_ends_is_no_failure_of_the_daemon() {
    let site = Site::new("ends");
    site.client.create("/value", contents(500_000));
    let runs = site.journal("runs");
    let watch = WatchFile::watch("/value", &runs.append("$TWITCHER_VERSION"));
    let mut daemon = site.builder().watch("value.toml", watch).start();
    for version in 1..=20 {
        runs.wait_for(version);
        site.client.set("/value", contents(500_000));
    }
    runs.wait_for(21);
    assert!(daemon.is_running());
}
