//! What is lost with a connection or a session, which is nothing.

use std::time::Duration;

use super::rig::{Rig, SESSION_TIMEOUT, added, delete, poke};
use crate::harness::zookeeper::Server;

/// A watch `a` on a znode of that contents, loaded.
fn loaded(server: &Server, contents: &str) -> Rig {
    loaded_with(server, contents, SESSION_TIMEOUT)
}

fn loaded_with(server: &Server, contents: &str, session_timeout: Duration) -> Rig {
    poke(&server.address(), "/a", contents);
    let rig = Rig::with_session_timeout(&server.address(), session_timeout);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    assert_eq!(rig.next(), format!("a loaded {contents:?}"));
    rig
}

/// Stops the server for so long that the session is given up, and lets something happen meanwhile.
fn outlast_the_session(server: &Server, rig: &Rig, meanwhile: impl FnOnce(&str)) {
    let before = rig.connected();
    server.stop();
    rig.disconnected();
    server.elsewhere(meanwhile);
    // The client gives a session up after seven fifths of its timeout.
    rig.wait_until_over(before);
    server.start_again();
    assert_ne!(rig.connected(), before);
}

#[test]
fn p3_an_expired_session_and_an_equal_state_are_silence() {
    let server = Server::start();
    let rig = loaded(&server, "1");
    for contents in ["2", "3"] {
        outlast_the_session(&server, &rig, |_| {});
        poke(&server.address(), "/a", contents);
        assert_eq!(rig.next(), format!("a changed {contents:?}"));
    }
}

#[test]
fn p1_what_is_written_while_the_session_expires_is_one_update() {
    let server = Server::start();
    let rig = loaded(&server, "1");
    outlast_the_session(&server, &rig, |elsewhere| {
        poke(elsewhere, "/a", "2");
        poke(elsewhere, "/a", "3");
    });
    assert_eq!(rig.next(), r#"a changed "3""#);
    poke(&server.address(), "/a", "4");
    assert_eq!(rig.next(), r#"a changed "4""#);
}

#[test]
fn p1_a_znode_that_is_deleted_and_made_again_while_the_session_expires_is_created() {
    let server = Server::start();
    let rig = loaded(&server, "1");
    outlast_the_session(&server, &rig, |elsewhere| {
        delete(elsewhere, "/a");
        poke(elsewhere, "/a", "1");
    });
    assert_eq!(rig.next(), r#"a created "1""#);
    outlast_the_session(&server, &rig, |elsewhere| delete(elsewhere, "/a"));
    assert_eq!(rig.next(), "a deleted");
    outlast_the_session(&server, &rig, |elsewhere| poke(elsewhere, "/a", "2"));
    assert_eq!(rig.next(), r#"a created "2""#);
}

#[test]
fn a_start_without_a_server_waits_for_one() {
    let server = Server::start();
    poke(&server.address(), "/a", "1");
    server.stop();
    let rig = Rig::start(&server.address());
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    assert!(!rig.looked().is_complete());
    server.start_again();
    assert_eq!(rig.next(), r#"a loaded "1""#);
}

#[test]
fn p3_a_frozen_server_loses_nothing_and_repeats_nothing() {
    let server = Server::start();
    let rig = loaded(&server, "1");
    server.freeze();
    rig.disconnected();
    server.thaw();
    rig.connected();
    poke(&server.address(), "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
    let before = rig.connected();
    server.freeze();
    rig.wait_until_over(before);
    server.thaw();
    poke(&server.address(), "/a", "3");
    assert_eq!(rig.next(), r#"a changed "3""#);
}

#[test]
fn p1_more_watched_paths_than_a_connection_takes_over_are_watched_again() {
    let server = Server::start();
    let rig = Rig::with_session_timeout(&server.address(), 10 * SESSION_TIMEOUT);
    // 160 KiB of paths: the library would lose its connection over and over until the session is gone.
    let znode = |number: usize| format!("/{number:063}");
    rig.define((0..2560).map(|number| added(&format!("w{number}"), &znode(number))).collect());
    assert_eq!(rig.complete().total, 2560);
    for _ in 0..2 * 2560 {
        rig.next();
    }
    let before = rig.connected();
    server.stop();
    rig.disconnected();
    server.start_again();
    assert_ne!(rig.connected(), before);
    poke(&server.address(), &znode(1), "1");
    poke(&server.address(), &znode(2559), "1");
    assert_eq!(rig.next_sorted(2), [r#"w1 created "1""#, r#"w2559 created "1""#]);
}

#[test]
fn an_outage_is_two_lines_in_the_log_however_long_it_is() {
    let server = Server::start();
    // A busy machine must not lose a connection of its own accord here.
    let rig = loaded_with(&server, "1", 3 * SESSION_TIMEOUT);
    for _ in 0..2 {
        outlast_the_session(&server, &rig, |_| {});
    }
    server.freeze();
    rig.disconnected();
    server.thaw();
    rig.connected();
    let log = rig.log();
    let starts = [
        " INFO twitcher::watch::connection: connected to ZooKeeper at '127.0.0.1:",
        " WARN twitcher::watch::connection: lost the connection to ZooKeeper at '127.0.0.1:",
        " INFO twitcher::watch::connection: connected to ZooKeeper again, with a new session, 0x",
        " WARN twitcher::watch::connection: lost the connection to ZooKeeper at '127.0.0.1:",
        " INFO twitcher::watch::connection: connected to ZooKeeper again, with a new session, 0x",
        " WARN twitcher::watch::connection: lost the connection to ZooKeeper at '127.0.0.1:",
        " INFO twitcher::watch::connection: connected to ZooKeeper again, ",
    ];
    assert_eq!(log.len(), starts.len(), "{log:#?}");
    for (line, start) in log.iter().zip(starts) {
        assert!(line.starts_with(start), "{log:#?}");
    }
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_one_line() {
    let server = Server::start();
    let address = server.address();
    server.stop();
    let rig = Rig::start(&address);
    rig.wait_for_tries();
    assert_eq!(
        rig.log(),
        [format!(
            " WARN twitcher::watch::connection: cannot reach ZooKeeper at '{address}': no server answers; trying until it answers"
        )]
    );
    let rig = Rig::start("not:a:server");
    rig.wait_for_tries();
    assert_eq!(rig.log().len(), 1, "{:?}", rig.log());
    assert!(rig.log()[0].contains("'not:a:server' is not a list of ZooKeeper servers"), "{:?}", rig.log());
}
