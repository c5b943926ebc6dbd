//! Watches of type `newest-child`: the number is what counts.

use std::time::Duration;

use twitcher::config::spec::WatchType::NewestChild;
use twitcher::watch::subscriptions::ZnodeState;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use super::rig::{Rig, added_of, delete, poke, with_client};
use super::wire::Wired;
use crate::harness::zookeeper::shared_chroot;

/// Longer than any request is held here.
const PATIENT: Duration = Duration::from_secs(30);

/// Makes the next child.
fn enqueue(servers: &str, contents: &str) {
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    with_client(servers, async |client| {
        client.create("/q/n-", contents.as_bytes(), &options).await.unwrap();
    });
}

fn started(servers: &str) -> Rig {
    let rig = Rig::with_session_timeout(servers, PATIENT);
    rig.connected();
    rig.define(vec![added_of(NewestChild, "q", "/q")]);
    assert_eq!(rig.next(), "q watched");
    rig
}

#[test]
fn a_child_with_a_higher_number_is_an_update_with_its_contents_and_nothing_else_is() {
    let servers = shared_chroot("newest");
    poke(&servers, "/q/current", "not one of them");
    enqueue(&servers, "one");
    let rig = started(&servers);
    assert_eq!(rig.next(), r#"q loaded n-0000000001 "one""#);
    enqueue(&servers, "two");
    assert_eq!(rig.next(), r#"q changed n-0000000002 "two""#);
    poke(&servers, "/q/n-0000000002", "rewritten");
    poke(&servers, "/q/zzz", "not one of them either");
    delete(&servers, "/q/n-0000000002");
    delete(&servers, "/q/n-0000000001");
    enqueue(&servers, "three");
    let update = rig.update();
    assert_eq!((update.contents.as_ref(), update.event.to_string().as_str()), (&b"three"[..], "changed"));
    // The version is the child's.
    let child = format!("/q/{}", update.child.unwrap());
    let stat = with_client(&servers, async |client| client.check_stat(&child).await.unwrap().unwrap());
    assert_eq!((update.version.czxid, update.version.mzxid), (stat.czxid, stat.mzxid));
}

#[test]
fn a_parent_without_such_a_child_is_waited_with_and_its_end_is_a_deletion() {
    let servers = shared_chroot("newest-missing");
    let rig = started(&servers);
    assert_eq!(rig.next(), "q missing");
    for _ in 0..2 {
        poke(&servers, "/q", "");
        poke(&servers, "/q/other", "");
        delete(&servers, "/q/other");
        enqueue(&servers, "x");
        assert_eq!(rig.next(), r#"q created n-0000000001 "x""#);
        delete(&servers, "/q/n-0000000001");
        delete(&servers, "/q");
        assert_eq!(rig.next(), "q deleted");
    }
}

#[test]
fn a_parent_that_is_made_again_behind_ones_back_counts_anew() {
    let wired = Wired::new("newest-again");
    for contents in ["a", "b"] {
        poke(&wired.direct, "/q", "");
        enqueue(&wired.direct, contents);
    }
    let rig = started(&wired.servers);
    assert_eq!(rig.next(), r#"q loaded n-0000000001 "b""#);
    wired.requests();
    let held = wired.hold("getChildren2+watch", "/q");
    delete(&wired.direct, "/q/n-0000000000");
    held.meanwhile(|| {
        delete(&wired.direct, "/q/n-0000000001");
        delete(&wired.direct, "/q");
        poke(&wired.direct, "/q", "");
        enqueue(&wired.direct, "anew");
    });
    assert_eq!(rig.next(), r#"q created n-0000000000 "anew""#);
}

#[test]
fn one_notification_costs_one_list_and_one_read_if_the_newest_is_another() {
    let wired = Wired::new("newest-cost");
    poke(&wired.direct, "/q", "");
    enqueue(&wired.direct, "0");
    enqueue(&wired.direct, "1");
    let rig = Rig::with_session_timeout(&wired.servers, PATIENT);
    rig.connected();
    wired.requests();
    rig.define(vec![added_of(NewestChild, "q", "/q"), added_of(NewestChild, "r", "/q")]);
    rig.next_sorted(4);
    assert_eq!(wired.requests(), ["getChildren2+watch /q", "getData /q/n-0000000001"]);
    enqueue(&wired.direct, "2");
    rig.next_sorted(2);
    assert_eq!(wired.requests(), ["getChildren2+watch /q", "getData /q/n-0000000002"]);
    // An older one goes, then the newest: nothing is read.
    for child in ["/q/n-0000000000", "/q/n-0000000002"] {
        delete(&wired.direct, child);
        assert_eq!(wired.wait_for(1), ["getChildren2+watch /q"]);
    }
    enqueue(&wired.direct, "3");
    rig.next_sorted(2);
    assert_eq!(wired.requests(), ["getChildren2+watch /q", "getData /q/n-0000000003"]);
    // Who comes later has to be told what the others know.
    rig.define(vec![added_of(NewestChild, "s", "/q")]);
    assert_eq!([rig.next(), rig.next()], ["s watched", r#"s loaded n-0000000003 "3""#]);
    assert_eq!(wired.requests(), ["getChildren2+watch /q", "getData /q/n-0000000003"]);
}

#[test]
fn a_newest_child_that_is_gone_when_it_is_read_gives_way_to_the_newest_of_those_that_are_there() {
    let wired = Wired::new("newest-gone");
    poke(&wired.direct, "/q", "");
    enqueue(&wired.direct, "0");
    let rig = started(&wired.servers);
    assert_eq!(rig.next(), r#"q loaded n-0000000000 "0""#);
    wired.requests();
    let held = wired.hold("getData", "/q/n-0000000001");
    enqueue(&wired.direct, "1");
    held.meanwhile(|| {
        delete(&wired.direct, "/q/n-0000000001");
        enqueue(&wired.direct, "2");
    });
    assert_eq!(rig.next(), r#"q changed n-0000000002 "2""#);
    let lists = |requests: &[String]| requests.iter().filter(|r| r.starts_with("getChildren2")).count();
    assert_eq!(lists(&wired.requests()), 2);
    // One that gives way to an older one is no update.
    let held = wired.hold("getData", "/q/n-0000000003");
    enqueue(&wired.direct, "3");
    held.meanwhile(|| delete(&wired.direct, "/q/n-0000000003"));
    enqueue(&wired.direct, "4");
    assert_eq!(rig.next(), r#"q changed n-0000000004 "4""#);
    // Nothing of it is a failure.
    assert_eq!(rig.log().len(), 1, "{:?}", rig.log());
}

#[test]
fn the_first_number_after_the_wrap_is_newer_than_the_last_before_it() {
    let servers = shared_chroot("newest-wrap");
    poke(&servers, "/q/n-2147483647", "last");
    let rig = started(&servers);
    assert_eq!(rig.next(), r#"q loaded n-2147483647 "last""#);
    poke(&servers, "/q/n-2147483648", "first");
    assert_eq!(rig.next(), r#"q changed n-2147483648 "first""#);
}

/// Makes a child that nobody may read.
fn create_closed(servers: &str, child: &str) {
    let nobody = [Acl::new(Permission::WRITE | Permission::ADMIN, AuthId::new("world", "anyone"))];
    with_client(servers, async |client| {
        let options = CreateMode::Persistent.with_acls(Acls::from(&nobody[..]));
        client.create(child, b"secret", &options).await.unwrap();
    });
}

#[test]
fn p3_a_child_that_may_not_be_read_and_goes_leaves_the_one_before_it_readable_and_no_update() {
    let servers = shared_chroot("newest-denied-gone");
    poke(&servers, "/q", "");
    enqueue(&servers, "0");
    let rig = started(&servers);
    assert_eq!(rig.next(), r#"q loaded n-0000000000 "0""#);
    create_closed(&servers, "/q/n-0000000001");
    rig.wait_for_znode("q", |state| state == ZnodeState::Unreadable);
    delete(&servers, "/q/n-0000000001");
    rig.wait_for_znode("q", |state| matches!(state, ZnodeState::Present(_)));
    enqueue(&servers, "2");
    assert_eq!(rig.next(), r#"q changed n-0000000002 "2""#);
}

#[test]
fn a_child_that_may_not_be_read_is_looked_at_again() {
    let servers = shared_chroot("newest-denied");
    poke(&servers, "/q", "");
    enqueue(&servers, "0");
    let rig = started(&servers);
    assert_eq!(rig.next(), r#"q loaded n-0000000000 "0""#);
    create_closed(&servers, "/q/n-0000000001");
    rig.wait_for_log("ZooKeeper does not allow /q to be read");
    with_client(&servers, async |client| {
        client.set_acl("/q/n-0000000001", Acls::anyone_all().as_ref(), None).await.unwrap();
    });
    assert_eq!(rig.next(), r#"q changed n-0000000001 "secret""#);
}
