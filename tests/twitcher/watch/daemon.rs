//! What a run is given of a watch on children, by the program as a whole.

use zookeeper_client::{Acls, CreateMode};

use super::rig::{delete, poke, with_client};
use crate::harness::zookeeper::{Server, shared_chroot};
use crate::harness::{DEADLINE, Daemon, Folder, Journal, WatchFile, eventually};

fn enqueue(servers: &str, contents: &str) {
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    with_client(servers, async |client| {
        client.create("/a/n-", contents.as_bytes(), &options).await.unwrap();
    });
}

#[test]
fn the_names_are_on_stdin_and_the_newest_child_has_its_name_in_the_environment() {
    let servers = shared_chroot("daemon");
    poke(&servers, "/a", "contents");
    let folder = Folder::new();
    let (names, newest) = (Journal::new(&folder, "names"), Journal::new(&folder, "newest"));
    let line = "$TWITCHER_EVENT ${TWITCHER_CHILD-none}: $(tr '\\n' ,)";
    let _daemon = Daemon::builder(&folder, &servers)
        .watch("names.toml", WatchFile::watch("/a", &names.append(line)).key("watch_type", "\"children\""))
        .watch(
            "newest.toml",
            WatchFile::watch("/a", &newest.append(line))
                .key("watch_type", "\"newest-child\"")
                .key("on_delete", "\"run\""),
        )
        .start();
    names.expect(&["loaded none: "]);
    enqueue(&servers, "x\n");
    names.expect(&["loaded none: ", "children none: n-0000000000,"]);
    newest.expect(&["created n-0000000000: x,"]);
    enqueue(&servers, "y\n");
    names.wait_for(3);
    newest.expect(&["created n-0000000000: x,", "changed n-0000000001: y,"]);
    for child in ["/a/n-0000000001", "/a/n-0000000000", "/a"] {
        delete(&servers, child);
    }
    newest.wait_for(3);
    assert_eq!(newest.lines()[2], "deleted none: ");
    poke(&servers, "/a", "again");
    enqueue(&servers, "z\n");
    newest.wait_for(4);
    assert_eq!(newest.lines()[3], "created n-0000000000: z,");
}

#[test]
fn p1_p3_a_list_is_compared_with_what_was_applied_when_the_daemon_is_back() {
    let server = Server::start();
    let servers = server.address();
    // The four letter words that list watches know none of children.
    let until_watched = || {
        eventually(DEADLINE, "a watch", || match server.four_letter("mntr") {
            counters if counters.contains("zk_watch_count\t1\n") => Ok(()),
            counters => Err(counters),
        });
    };
    poke(&servers, "/a/b", "");
    let folder = Folder::new();
    let journal = Journal::new(&folder, "journal");
    let watch = WatchFile::watch("/a", &journal.append("$TWITCHER_EVENT $(tr '\\n' ,)"))
        .key("watch_type", "\"children\"")
        .key("run_on_load", "false");
    let mut daemon = Daemon::builder(&folder, &servers).watch("a.toml", watch).start();
    until_watched();
    poke(&servers, "/a/c", "");
    journal.expect(&["children b,c,"]);
    daemon.wait_for_log("run ended");
    daemon.stop();
    // What the children hold is no change of the list.
    poke(&servers, "/a", "written");
    poke(&servers, "/a/b", "written");
    daemon.start_again();
    until_watched();
    poke(&servers, "/a/d", "");
    journal.expect(&["children b,c,", "children b,c,d,"]);
    daemon.stop();
    poke(&servers, "/a/e", "");
    daemon.start_again();
    journal.expect(&["children b,c,", "children b,c,d,", "children b,c,d,e,"]);
}
