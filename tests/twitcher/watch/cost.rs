//! How often the server is asked.

use twitcher::config::changes::Change;

use super::rig::{Rig, added, poke, spec};
use crate::harness::zookeeper::Server;

/// How often contents were read since the server was started: each answer of this kind is looked up in a
/// cache of the server's, and either found or not.
fn reads(server: &Server) -> u64 {
    let counters = server.four_letter("mntr");
    let count = |name: &str| {
        let line = counters.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split('\t').nth(1)?.parse::<u64>().ok()).expect(name)
    };
    count("zk_response_packet_cache_hits") + count("zk_response_packet_cache_misses")
}

#[test]
fn one_notification_costs_one_read_and_so_does_a_redefinition() {
    let server = Server::start();
    poke(&server.address(), "/a", "0");
    let rig = Rig::start(&server.address());
    assert_eq!(reads(&server), 0);
    rig.define(vec![added("a", "/a"), added("b", "/a"), added("c", "/a")]);
    for _ in 0..6 {
        rig.next();
    }
    assert_eq!(reads(&server), 1);
    for write in 1..=10 {
        poke(&server.address(), "/a", &write.to_string());
        assert_eq!(rig.next_sorted(3), ["a", "b", "c"].map(|name| format!("{name} changed \"{write}\"")));
    }
    assert_eq!(reads(&server), 11);
    rig.define(vec![Change::Redefined { old: spec("b", "/a"), new: spec("b", "/a") }]);
    assert_eq!([rig.next(), rig.next()], ["b watched", r#"b loaded "10""#]);
    assert_eq!(reads(&server), 12);
    // What the nudge armed takes the place of what was armed: one watch, and one notification.
    let watches = server.four_letter("wchs");
    assert!(watches.contains("Total watches:1"), "{watches}");
    poke(&server.address(), "/a", "11");
    assert_eq!(rig.next_sorted(3).len(), 3);
    assert_eq!(reads(&server), 13);
}

#[test]
fn a_znode_that_nobody_watches_any_more_is_not_watched_at_the_server() {
    let server = Server::start();
    let rig = Rig::start(&server.address());
    rig.define(vec![added("a", "/a"), added("b", "/b")]);
    rig.complete();
    rig.define(vec![Change::Removed(spec("a", "/a").name.clone())]);
    crate::harness::eventually(crate::harness::DEADLINE, "one watch to be left", || {
        match server.four_letter("wchp") {
            paths if paths.contains("/b") && !paths.contains("/a") => Ok(()),
            paths => Err(paths),
        }
    });
}
