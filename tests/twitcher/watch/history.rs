//! Ensembles whose history is not what it was.

use twitcher::config::spec::WatchType::{Children, NewestChild};
use zookeeper_client::{Acls, CreateMode};

use super::rig::{Rig, added, added_of, delete, poke, with_client};
use crate::harness::zookeeper::Server;

fn enqueue(server: &Server, contents: &str) {
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    with_client(&server.address(), async |client| {
        client.create("/queue/", contents.as_bytes(), &options).await.unwrap();
    });
}

/// A watch of each type, loaded.
fn loaded(server: &Server) -> Rig {
    let rig = Rig::start(&server.address());
    rig.define(vec![
        added("data", "/data"),
        added_of(Children, "names", "/names"),
        added_of(NewestChild, "queue", "/queue"),
    ]);
    assert_eq!(
        rig.next_sorted(6),
        [
            r#"data loaded "2""#,
            "data watched",
            r#"names loaded "a\nb\n""#,
            "names watched",
            r#"queue loaded 0000000001 "1""#,
            "queue watched"
        ]
    );
    rig
}

#[test]
fn p1_what_a_restored_backup_holds_is_an_update_though_it_is_older() {
    let server = Server::start();
    poke(&server.address(), "/data", "1");
    poke(&server.address(), "/names/a", "");
    poke(&server.address(), "/queue", "");
    enqueue(&server, "0");
    server.stop();
    let backup = server.back_up();
    server.start_again();
    poke(&server.address(), "/data", "2");
    poke(&server.address(), "/names/b", "");
    enqueue(&server, "1");
    let rig = loaded(&server);
    let before = rig.connected();
    server.stop();
    server.restore(&backup);
    server.start_again();
    assert_eq!(
        rig.next_sorted(3),
        [r#"data changed "1""#, r#"names children "a\n""#, r#"queue changed 0000000000 "0""#]
    );
    assert_ne!(rig.connected(), before);
    // It goes on from there, with numbers that were given before.
    poke(&server.address(), "/data", "other");
    assert_eq!(rig.next(), r#"data changed "other""#);
    enqueue(&server, "other");
    assert_eq!(rig.next(), r#"queue changed 0000000001 "other""#);
}

#[test]
fn p3_a_backup_that_holds_what_there_was_is_silence() {
    let server = Server::start();
    poke(&server.address(), "/data", "2");
    poke(&server.address(), "/names/a", "");
    poke(&server.address(), "/names/b", "");
    poke(&server.address(), "/queue", "");
    enqueue(&server, "0");
    enqueue(&server, "1");
    server.stop();
    let backup = server.back_up();
    server.start_again();
    let rig = loaded(&server);
    let before = rig.connected();
    poke(&server.address(), "/unrelated", "");
    server.stop();
    server.restore(&backup);
    server.start_again();
    rig.disconnected();
    assert_ne!(rig.connected(), before);
    poke(&server.address(), "/data", "3");
    assert_eq!(rig.next(), r#"data changed "3""#);
}

#[test]
fn p1_a_wiped_server_has_deleted_everything_and_is_watched_on() {
    let server = Server::start();
    poke(&server.address(), "/data", "2");
    poke(&server.address(), "/names/a", "");
    poke(&server.address(), "/names/b", "");
    poke(&server.address(), "/queue", "");
    enqueue(&server, "0");
    enqueue(&server, "1");
    let rig = loaded(&server);
    server.stop();
    server.wipe();
    server.start_again();
    assert_eq!(rig.next_sorted(3), ["data deleted", "names deleted", "queue deleted"]);
    poke(&server.address(), "/data", "2");
    assert_eq!(rig.next(), r#"data created "2""#);
    poke(&server.address(), "/queue", "");
    enqueue(&server, "0");
    assert_eq!(rig.next(), r#"queue created 0000000000 "0""#);
    delete(&server.address(), "/data");
    assert_eq!(rig.next(), "data deleted");
}
