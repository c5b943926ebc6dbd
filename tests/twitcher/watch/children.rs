//! Watches of type `children`: the names are what counts.

use twitcher::config::changes::Change;
use twitcher::config::spec::WatchType::{Children, Data, NewestChild};
use zookeeper_client::CreateMode;

use super::rig::{Rig, added_of, delete, poke, spec_of, with_client};
use super::wire::Wired;
use crate::harness::zookeeper::shared_chroot;

/// Longer than any request is held here.
const PATIENT: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn a_child_that_is_made_or_deleted_is_an_update_with_the_sorted_names() {
    let servers = shared_chroot("children");
    poke(&servers, "/a", "contents");
    let rig = Rig::start(&servers);
    rig.define(vec![added_of(Children, "a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a loaded"]);
    poke(&servers, "/a/c", "");
    assert_eq!(rig.next(), r#"a children "c\n""#);
    poke(&servers, "/a/b", "");
    assert_eq!(rig.next(), r#"a children "b\nc\n""#);
    // Neither the contents nor what is below a child is of interest.
    poke(&servers, "/a", "other contents");
    poke(&servers, "/a/b", "contents");
    poke(&servers, "/a/b/d", "");
    delete(&servers, "/a/c");
    assert_eq!(rig.next(), r#"a children "b\n""#);
}

#[test]
fn the_version_of_a_list_is_the_zxid_of_its_last_change() {
    let servers = shared_chroot("children-version");
    poke(&servers, "/a", "");
    let rig = Rig::start(&servers);
    rig.define(vec![added_of(Children, "a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    let loaded = rig.update().version;
    poke(&servers, "/a", "written");
    poke(&servers, "/a/b", "");
    let stat = with_client(&servers, async |client| client.check_stat("/a").await.unwrap().unwrap());
    let changed = rig.update().version;
    assert_eq!((changed.czxid, changed.mzxid, changed.version), (stat.czxid, stat.pzxid, stat.cversion));
    assert_eq!(changed.czxid, loaded.czxid);
    assert!(changed.mzxid > loaded.mzxid && changed.mzxid > stat.mzxid);
}

#[test]
fn a_parent_is_waited_for_and_seen_to_come_and_go() {
    let servers = shared_chroot("children-missing");
    let rig = Rig::start(&servers);
    rig.define(vec![added_of(Children, "a", "/deep/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", "a missing"]);
    for _ in 0..2 {
        poke(&servers, "/deep/a", "");
        assert_eq!(rig.next(), "a created");
        poke(&servers, "/deep/a/b", "");
        assert_eq!(rig.next(), r#"a children "b\n""#);
        delete(&servers, "/deep/a/b");
        assert_eq!(rig.next(), "a children");
        delete(&servers, "/deep/a");
        assert_eq!(rig.next(), "a deleted");
    }
}

#[test]
fn one_notification_costs_one_list() {
    let wired = Wired::new("children-cost");
    poke(&wired.direct, "/a", "");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.connected();
    wired.requests();
    rig.define(vec![added_of(Children, "a", "/a"), added_of(Children, "b", "/a")]);
    rig.next_sorted(4);
    assert_eq!(wired.requests(), ["getChildren2+watch /a"]);
    for child in ["x", "y", "z"] {
        poke(&wired.direct, &format!("/a/{child}"), "");
        rig.next_sorted(2);
        assert_eq!(wired.requests(), ["getChildren2+watch /a"]);
    }
}

#[test]
fn p3_a_child_that_is_deleted_and_made_again_between_two_looks_is_silence() {
    let wired = Wired::new("children-again");
    poke(&wired.direct, "/a/b", "");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.define(vec![added_of(Children, "a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "b\n""#]);
    wired.requests();
    let held = wired.hold("getChildren2+watch", "/a");
    delete(&wired.direct, "/a/b");
    held.meanwhile(|| poke(&wired.direct, "/a/b", ""));
    poke(&wired.direct, "/a/c", "");
    assert_eq!(rig.next(), r#"a children "b\nc\n""#);
}

#[test]
fn a_parent_that_is_made_between_the_read_and_the_watch_is_read_at_once() {
    let wired = Wired::new("children-race");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.connected();
    wired.requests();
    let held = wired.hold("exists+watch", "/a");
    rig.define(vec![added_of(Children, "a", "/a")]);
    held.meanwhile(|| poke(&wired.direct, "/a/b", ""));
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "b\n""#]);
    // What was armed for the wait is given up only after the list has armed another watch.
    let requests = wired.wait_for(3);
    assert_eq!(requests[..3], ["getChildren2+watch /a", "exists+watch /a", "getChildren2+watch /a"]);
    poke(&wired.direct, "/a/c", "");
    assert_eq!(rig.next(), r#"a children "b\nc\n""#);
}

#[test]
fn all_types_watch_one_znode_side_by_side_and_one_that_goes_takes_none_with_it() {
    let servers = shared_chroot("children-beside");
    poke(&servers, "/a", "0");
    let rig = Rig::start(&servers);
    let types = [(Children, "names"), (Data, "data"), (NewestChild, "newest")];
    rig.define(types.map(|(watch_type, name)| added_of(watch_type, name, "/a")).to_vec());
    let first = ["data loaded \"0\"", "data watched", "names loaded", "names watched", "newest childless"];
    assert_eq!(rig.next_sorted(6)[..5], first);
    let enqueue = |contents: &str| {
        with_client(&servers, async |client| {
            let options = CreateMode::PersistentSequential.with_acls(zookeeper_client::Acls::anyone_all());
            client.create("/a/n-", contents.as_bytes(), &options).await.unwrap();
        });
    };
    enqueue("x");
    assert_eq!(
        rig.next_sorted(2),
        [r#"names children "n-0000000000\n""#, r#"newest created n-0000000000 "x""#]
    );
    poke(&servers, "/a", "1");
    assert_eq!(rig.next(), r#"data changed "1""#);
    for gone in [NewestChild, Children] {
        let name = types.iter().find(|(watch_type, _)| *watch_type == gone).unwrap().1;
        rig.define(vec![Change::Removed(spec_of(gone, name, "/a").name.clone())]);
        assert_eq!(rig.next(), format!("{name} unwatched"));
        poke(&servers, "/a", name);
        assert_eq!(rig.next(), format!("data changed {name:?}"));
        enqueue("y");
        if gone == NewestChild {
            assert_eq!(rig.next(), r#"names children "n-0000000000\nn-0000000001\n""#);
        }
    }
    poke(&servers, "/a", "last");
    assert_eq!(rig.next(), r#"data changed "last""#);
}
