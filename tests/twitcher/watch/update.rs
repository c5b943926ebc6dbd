//! Which notices come of what is done to a znode and to the definitions.

use twitcher::config::changes::Change;
use twitcher::config::spec::WatchName;
use twitcher::watch::subscriptions::Looked;
use twitcher::watch::update::Version;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use super::rig::{Rig, SESSION_TIMEOUT, added, delete, poke, spec, with_client};
use crate::harness::zookeeper::{Server, shared_chroot};
use crate::harness::{DEADLINE, eventually};

#[test]
fn a_write_is_an_update_with_the_contents_and_the_zxids() {
    let servers = shared_chroot("update");
    poke(&servers, "/a", "one");
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    let loaded = rig.update();
    assert_eq!(loaded.contents, "one");
    poke(&servers, "/a", "two");
    let changed = rig.update();
    assert_eq!(changed.contents, "two");
    let Version { czxid, mzxid, version, .. } = changed.version;
    assert_eq!((czxid, version), (loaded.version.czxid, 1));
    assert!(mzxid > loaded.version.mzxid);
}

#[test]
fn the_same_bytes_again_are_an_update() {
    let servers = shared_chroot("same");
    poke(&servers, "/a", "x");
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "x""#]);
    poke(&servers, "/a", "x");
    assert_eq!(rig.next(), r#"a changed "x""#);
}

#[test]
fn a_znode_is_waited_for_and_seen_to_come_and_go() {
    let servers = shared_chroot("missing");
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/deep/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a missing"]);
    assert_eq!(rig.complete(), Looked { batches: 1, looked_at: 1, total: 1 });
    for contents in ["one", "two"] {
        poke(&servers, "/deep/a", contents);
        assert_eq!(rig.next(), format!("a created {contents:?}"));
        delete(&servers, "/deep/a");
        assert_eq!(rig.next(), "a deleted");
    }
}

#[test]
fn two_watches_on_one_znode_both_see_it_and_a_redefinition_concerns_one() {
    let servers = shared_chroot("shared");
    poke(&servers, "/a", "1");
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a"), added("b", "/a")]);
    assert_eq!(rig.next_sorted(4), [r#"a loaded "1""#, "a watched", r#"b loaded "1""#, "b watched"]);
    assert_eq!(rig.looked().total, 1);
    rig.define(vec![Change::Redefined { old: spec("b", "/a"), new: spec("b", "/a") }]);
    assert_eq!([rig.next(), rig.next()], ["b watched", r#"b loaded "1""#]);
    rig.define(vec![added("c", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["c watched", r#"c loaded "1""#]);
    poke(&servers, "/a", "2");
    assert_eq!(rig.next_sorted(3), ["a", "b", "c"].map(|name| format!("{name} changed \"2\"")));
    rig.define(vec![Change::Removed(WatchName::try_from("b").unwrap())]);
    assert_eq!(rig.next(), "b unwatched");
    poke(&servers, "/a", "3");
    assert_eq!(rig.next_sorted(2), ["a", "c"].map(|name| format!("{name} changed \"3\"")));
}

#[test]
fn a_redefinition_of_a_watch_on_a_missing_znode_is_told_so_again() {
    let servers = shared_chroot("again");
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a missing"]);
    rig.define(vec![Change::Redefined { old: spec("a", "/a"), new: spec("a", "/a") }]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a missing"]);
    poke(&servers, "/a", "1");
    assert_eq!(rig.next(), r#"a created "1""#);
}

#[test]
fn a_chroot_that_is_missing_is_waited_for() {
    let servers = format!("{}/later", shared_chroot("no-chroot"));
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a missing"]);
    let (above, chroot) = servers.rsplit_once('/').unwrap();
    poke(above, &format!("/{chroot}/a"), "1");
    assert_eq!(rig.next(), r#"a created "1""#);
}

#[test]
fn a_znode_that_may_not_be_read_disturbs_nothing_and_is_read_when_it_may_be() {
    let servers = shared_chroot("denied");
    let nobody = [Acl::new(Permission::WRITE | Permission::ADMIN, AuthId::new("world", "anyone"))];
    let nobody = Acls::from(&nobody[..]);
    with_client(&servers, async |client| {
        client.create("/a", b"secret", &CreateMode::Persistent.with_acls(nobody)).await.unwrap();
    });
    let rig = Rig::start(&servers);
    rig.define(vec![added("a", "/a"), added("b", "/b")]);
    assert_eq!(rig.next_sorted(3), ["a watched", "b missing", "b watched"]);
    rig.complete();
    with_client(&servers, async |client| {
        client.set_acl("/a", Acls::anyone_all().as_ref(), None).await.unwrap();
    });
    // That fires no watch: it was looked at again.
    assert_eq!(rig.next(), r#"a loaded "secret""#);
    poke(&servers, "/a", "public");
    assert_eq!(rig.next(), r#"a changed "public""#);
    poke(&servers, "/b", "1");
    assert_eq!(rig.next(), r#"b created "1""#);
}

#[test]
fn a_stop_closes_the_session() {
    let server = Server::start();
    // Long enough for a busy machine not to lose the connection at the wrong moment.
    let mut rig = Rig::with_session_timeout(&server.address(), 10 * SESSION_TIMEOUT);
    rig.define(vec![added("a", "/a")]);
    let session = format!("{:#x}", rig.connected());
    rig.complete();
    eventually(DEADLINE, "the session", || match server.four_letter("dump") {
        dump if dump.contains(&session) => Ok(()),
        dump => Err(dump),
    });
    rig.stop();
    let dump = server.four_letter("dump");
    // Its connection, which comes after it, may be listed for a moment longer.
    let sessions = dump.split("Connections dump").next().expect("a first part");
    assert!(!sessions.contains(&session), "{dump}");
}
