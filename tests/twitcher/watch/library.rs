//! What the ZooKeeper library does and does not do that the loops lean on, or keep clear of.

use std::time::Duration;

use twitcher::config::changes::Change;
use twitcher::config::spec::WatchType::{Children, Data, NewestChild};
use zookeeper_client::{Acls, CreateMode};

use super::rig::{Rig, SESSION_TIMEOUT, added, added_of, delete, poke, spec, with_client};
use super::wire::{Wire, Wired};
use crate::harness::zookeeper::{Server, shared_chroot};
use crate::harness::{DEADLINE, Proxy, eventually};

/// Longer than any connection is away here.
const PATIENT: Duration = Duration::from_secs(30);

#[test]
fn a_session_begins_with_a_sync_ahead_of_all_reads_and_is_not_read_only() {
    let wired = Wired::new("library-sync");
    poke(&wired.direct, "/a", "1");
    let rig = Rig::start(&wired.servers);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
    let root = &wired.root;
    let begins = ["connect".into(), format!("sync {root}"), format!("exists {root}")];
    let requests = wired.wire.requests();
    assert_eq!(requests[..3], begins);
    assert_eq!(requests[3..], [format!("getData+watch {root}/a")]);
}

#[test]
fn p1_every_kind_of_change_behind_a_lost_connection_is_told_when_the_session_lives_on() {
    let server = Server::start();
    let direct = server.address();
    for znode in ["/changed", "/deleted", "/names/a", "/abandoned", "/queue/n-0000000001", "/same"] {
        poke(&direct, znode, "1");
    }
    let proxy = Proxy::to(&direct);
    let rig = Rig::with_session_timeout(&proxy.address(), PATIENT);
    rig.define(vec![
        added("changed", "/changed"),
        added("deleted", "/deleted"),
        added("missing", "/missing"),
        added("same", "/same"),
        added_of(Children, "names", "/names"),
        added_of(Children, "abandoned", "/abandoned"),
        added_of(NewestChild, "queue", "/queue"),
    ]);
    rig.next_sorted(14);
    let before = rig.connected();
    proxy.cut();
    rig.disconnected();
    poke(&direct, "/changed", "2");
    poke(&direct, "/changed", "3");
    delete(&direct, "/deleted");
    poke(&direct, "/missing", "2");
    poke(&direct, "/names/b", "");
    delete(&direct, "/abandoned");
    poke(&direct, "/queue/n-0000000002", "2");
    proxy.heal();
    assert_eq!(
        rig.next_sorted(6),
        [
            "abandoned deleted",
            r#"changed changed "3""#,
            "deleted deleted",
            r#"missing created "2""#,
            r#"names children "a\nb\n""#,
            r#"queue changed n-0000000002 "2""#,
        ]
    );
    assert_eq!(rig.connected(), before);
    // And nothing else was.
    poke(&direct, "/same", "2");
    assert_eq!(rig.next(), r#"same changed "2""#);
}

#[test]
fn watches_are_one_shot_and_carried_over_a_lost_connection_without_a_read() {
    let server = Server::start();
    let wire = Wire::to(&server.address());
    let rig = Rig::with_session_timeout(&wire.address(), PATIENT);
    // 90 KiB of paths.
    let znode = |number: usize| format!("/{number:063}");
    let types = [Data, Children, NewestChild];
    let define = |number: usize| added_of(types[number % 3], &format!("w{number}"), &znode(number));
    rig.define((0..1440).map(define).collect());
    rig.complete();
    rig.next_sorted(2 * 1440);
    let before = rig.connected();
    assert!(!wire.requests().iter().any(|request| request == "addWatch"));
    wire.cut();
    eventually(DEADLINE, "the watches to be sent again", || {
        wire.requests().iter().any(|request| request == "setWatches")
    });
    poke(&server.address(), &znode(0), "1");
    poke(&server.address(), &znode(1), "1");
    poke(&server.address(), &format!("{}/0000000000", znode(2)), "1");
    assert_eq!(rig.next_sorted(3), [r#"w0 created "1""#, "w1 created", r#"w2 created 0000000000 "1""#]);
    assert_eq!(rig.connected(), before);
    let requests = wire.requests();
    assert!(!requests.iter().any(|request| request == "addWatch"));
    let reads = requests.iter().filter(|request| request.contains("+watch")).count();
    // Of three that were created, one without a child at first.
    assert!(reads <= 6, "{requests:#?}");
}

#[test]
fn a_read_that_goes_with_its_connection_is_made_again() {
    let wired = Wired::new("library-lost");
    poke(&wired.direct, "/a", "1");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.connected();
    let read = format!("getData+watch {}/a", wired.root);
    wired.wire.hold(&read);
    rig.define(vec![added("a", "/a")]);
    wired.wire.wait_for(&read);
    wired.wire.cut();
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
}

#[test]
fn a_read_that_is_never_answered_is_made_again() {
    let wired = Wired::new("library-silence");
    poke(&wired.direct, "/a", "1");
    let rig = Rig::start(&wired.servers);
    rig.connected();
    let read = format!("getData+watch {}/a", wired.root);
    wired.wire.hold(&read);
    rig.define(vec![added("a", "/a")]);
    wired.wire.wait_for(&read);
    // The library gives a silent connection up before the session expires.
    rig.disconnected();
    wired.wire.release();
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
}

#[test]
fn a_connection_that_is_silent_for_less_than_the_session_is_given_up_without_it() {
    let server = Server::start();
    let rig = Rig::with_session_timeout(&server.address(), PATIENT / 5);
    let before = rig.connected();
    server.freeze();
    rig.disconnected();
    server.thaw();
    assert_eq!(rig.connected(), before);
}

#[test]
fn no_more_than_a_hundred_requests_are_in_flight_for_thousands_of_watches() {
    let server = Server::start();
    let wire = Wire::to(&server.address());
    let rig = Rig::with_session_timeout(&wire.address(), PATIENT);
    rig.define((0..3000).map(|number| added(&format!("w{number}"), &format!("/{number}"))).collect());
    rig.next_sorted(2 * 3000);
    let most = wire.most_outstanding();
    assert!((2..=100).contains(&most), "{most} requests at once");
}

#[test]
fn a_znode_that_is_made_between_the_read_and_the_watch_is_read_at_once() {
    let wired = Wired::new("library-race");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.connected();
    wired.requests();
    let held = wired.hold("exists+watch", "/a");
    rig.define(vec![added("a", "/a")]);
    held.meanwhile(|| poke(&wired.direct, "/a", "1"));
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
    let requests = wired.wait_for(3);
    assert_eq!(requests[..3], ["getData+watch /a", "exists+watch /a", "getData+watch /a"]);
    poke(&wired.direct, "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
}

#[test]
fn what_is_fired_is_looked_at_once_more_whatever_the_type_of_the_watch() {
    let servers = shared_chroot("library-fired");
    for (znode, contents) in [("/a", "1"), ("/names/x", "2"), ("/queue/n-0000000007", "3")] {
        poke(&servers, znode, contents);
    }
    let rig = Rig::start(&servers);
    rig.define(vec![
        added("a", "/a"),
        added_of(Children, "names", "/names"),
        added_of(NewestChild, "queue", "/queue"),
        added("none", "/none"),
    ]);
    (0..8).for_each(|_| drop(rig.next()));
    for (name, told) in [
        ("a", "a fired \"1\""),
        ("names", "names fired \"x\\n\""),
        ("queue", "queue fired n-0000000007 \"3\""),
        ("none", "none Missing 1"),
        ("unknown", "unknown Unwatched 1"),
    ] {
        rig.fire(name, 1);
        assert_eq!(rig.next(), told);
    }
}

#[test]
fn p1_a_watch_that_is_removed_and_defined_again_at_once_is_armed() {
    let servers = shared_chroot("library-again");
    poke(&servers, "/a", "0");
    let rig = Rig::start(&servers);
    for number in 1..=50 {
        rig.define(vec![added("a", "/a")]);
        rig.define(vec![Change::Removed(spec("a", "/a").name.clone())]);
        rig.define(vec![added("a", "/a")]);
        poke(&servers, "/a", &number.to_string());
        // Of the first definition something may have been told or not.
        while rig.next() != "a unwatched" {}
        // It may be in what the first look shows already.
        while !rig.next().ends_with(&format!(" \"{number}\"")) {}
        rig.define(vec![Change::Removed(spec("a", "/a").name.clone())]);
        assert_eq!(rig.next(), "a unwatched");
    }
}

#[test]
fn three_megabytes_are_read() {
    let server = Server::start_with(&["-Djute.maxbuffer=4194304"]);
    let contents = vec![b'x'; 3 << 20];
    with_client(&server.address(), async |client| {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.create("/a", &contents, &options).await.unwrap();
    });
    let rig = Rig::with_session_timeout(&server.address(), PATIENT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    assert!(rig.update().contents == contents);
}

#[test]
fn a_session_timeout_that_the_server_does_not_grant_is_what_it_makes_of_it() {
    let server = Server::start();
    for (asked, granted) in [(SESSION_TIMEOUT / 100, "to=400,"), (100 * SESSION_TIMEOUT, "to=30000,")] {
        let mut rig = Rig::with_session_timeout(&server.address(), asked);
        eventually(DEADLINE, granted, || match server.four_letter("cons") {
            connections if connections.contains(granted) => Ok(()),
            connections => Err(connections),
        });
        rig.stop();
    }
}
