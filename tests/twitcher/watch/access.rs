//! Who the daemon is to ZooKeeper.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use twitcher::watch::client::Client;
use twitcher::watch::ensemble::Ensemble;
use zookeeper_client::{Acls, CreateMode};

use super::rig::{Rig, SESSION_TIMEOUT, added, path, poke, runtime};
use super::wire::{Wire, Wired};
use crate::harness::zookeeper::{Server, shared_chroot};
use crate::harness::{DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, twitcher};

/// Longer than a busy machine is silent.
const PATIENT: std::time::Duration = std::time::Duration::from_secs(10);

/// Puts such a file in place in one step.
fn write_credentials(folder: &Path, text: &str) -> PathBuf {
    let (draft, file) = (folder.join("draft"), folder.join("credentials"));
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&draft, &file).unwrap();
    file
}

fn with_credentials(servers: &str, file: &Path) -> Ensemble {
    Ensemble { credentials: Some(file.to_owned()), ..Ensemble::plain(servers) }
}

/// Makes a znode that nobody but this user can touch.
fn create_protected(servers: &str, znode: &str, contents: &str) {
    runtime().block_on(async {
        let connector = zookeeper_client::Client::connector().with_auth("digest", b"user:secret");
        let client = connector.connect(servers).await.unwrap();
        let options = CreateMode::Persistent.with_acls(Acls::creator_all());
        client.create(znode, contents.as_bytes(), &options).await.unwrap();
    });
}

/// Writes with these credentials.
fn poke_as(ensemble: &Ensemble, znode: &str, contents: &str) {
    runtime().block_on(async {
        let client = Client::connect(ensemble, DEADLINE).await.unwrap();
        client.set_or_create(&path(znode), contents.as_bytes()).await.unwrap();
        client.close().await;
    });
}

#[test]
fn a_protected_znode_is_read_with_credentials_only() {
    let wired = Wired::new("digest");
    let servers = wired.direct.clone();
    create_protected(&servers, "/a", "1");
    let folder = Folder::new();
    let ensemble = with_credentials(&servers, &write_credentials(&folder, "digest user:secret\n"));
    let stranger = Rig::start(&wired.servers);
    let rig = Rig::with(ensemble.clone(), SESSION_TIMEOUT);
    for rig in [&stranger, &rig] {
        rig.define(vec![added("a", "/a")]);
        assert_eq!(rig.next(), "a watched");
    }
    assert_eq!(rig.next(), r#"a loaded "1""#);
    poke_as(&ensemble, "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
    stranger.wait_for_log("ZooKeeper does not allow /a to be read; looking again every 0.5 s");
    let mut looks = 0;
    eventually(DEADLINE, "more looks", || {
        looks += wired.requests().iter().filter(|request| *request == "getData+watch /a").count();
        if looks < 4 { Err(looks) } else { Ok(()) }
    });
    assert_eq!(stranger.log().len(), 2, "{:?}", stranger.log());
}

#[test]
fn credentials_outlive_a_lost_connection() {
    let server = Server::start();
    create_protected(&server.address(), "/a", "1");
    let folder = Folder::new();
    let file = write_credentials(&folder, "digest user:secret\n");
    let wire = Wire::to(&server.address());
    let rig = Rig::with(with_credentials(&wire.address(), &file), PATIENT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
    let before = rig.connected();
    wire.cut();
    poke_as(&with_credentials(&server.address(), &file), "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
    assert_eq!(rig.connected(), before);
}

#[test]
fn p8_credentials_that_cannot_be_used_are_one_line_and_are_read_again() {
    let servers = shared_chroot("no-credentials");
    create_protected(&servers, "/a", "1");
    let folder = Folder::new();
    let file = folder.join("credentials");
    let rig = Rig::with(with_credentials(&servers, &file), SESSION_TIMEOUT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    rig.wait_for_log("credentials: cannot be read: No such file or directory");
    rig.wait_for_tries();
    assert_eq!(rig.log().len(), 1, "{:?}", rig.log());
    write_credentials(&folder, "digest user:secret\n");
    assert_eq!(rig.next(), r#"a loaded "1""#);
}

#[test]
fn p8_refused_credentials_are_one_line_and_others_are_taken() {
    let servers = shared_chroot("refused");
    poke(&servers, "/a", "1");
    let folder = Folder::new();
    // A scheme that the server does not know.
    let file = write_credentials(&folder, "unheard-of user:secret\n");
    let rig = Rig::with(with_credentials(&servers, &file), SESSION_TIMEOUT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    rig.wait_for_log("refuses the credentials in");
    rig.wait_for_tries();
    assert_eq!(rig.log().len(), 1, "{:?}", rig.log());
    write_credentials(&folder, "digest user:secret\n");
    assert_eq!(rig.next(), r#"a loaded "1""#);
}

#[test]
fn p8_a_server_that_asks_for_credentials_is_tried_until_there_are_some() {
    let server = Server::start_with(&[
        "-Dzookeeper.enforce.auth.enabled=true",
        "-Dzookeeper.enforce.auth.schemes=digest",
    ]);
    let folder = Folder::new();
    let ensemble = with_credentials(&server.address(), &write_credentials(&folder, "digest user:secret\n"));
    poke_as(&ensemble, "/a", "1");
    let stranger = Rig::start(&server.address());
    stranger.wait_for_log("asks for credentials, and no credentials_file is set");
    let wire = Wire::to(&server.address());
    let rig = Rig::with(Ensemble { servers: wire.address(), ..ensemble.clone() }, PATIENT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
    let before = rig.connected();
    // They come before the watches when a connection is made anew.
    wire.cut();
    poke_as(&ensemble, "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
    assert_eq!(rig.connected(), before);
    assert_eq!(stranger.log().len(), 1, "{:?}", stranger.log());
}

#[test]
fn p8_a_session_that_is_refused_on_its_return_is_followed_by_another() {
    let server = Server::start();
    poke(&server.address(), "/a", "1");
    let rig = Rig::with_session_timeout(&server.address(), PATIENT);
    rig.define(vec![added("a", "/a")]);
    assert_eq!([rig.next(), rig.next()], ["a watched", r#"a loaded "1""#]);
    let before = rig.connected();
    server.stop();
    server.start_again_with(&[
        "-Dzookeeper.sessionRequireClientSASLAuth=true",
        "-Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
    ]);
    rig.wait_for_log("asks for credentials");
    server.stop();
    server.start_again();
    assert_ne!(rig.connected(), before);
    poke(&server.address(), "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
}

#[test]
fn the_daemon_and_the_other_subcommands_go_by_the_settings() {
    let servers = shared_chroot("settings");
    create_protected(&servers, "/a", "1");
    let folder = Folder::new();
    let file = write_credentials(&folder, "digest user:secret\n");
    let settings = format!("[zookeeper]\nservers = {servers:?}\ncredentials_file = {file:?}\n");
    let journal = Journal::new(&folder, "journal");
    let _daemon = Daemon::builder(&folder, &servers)
        .settings(&settings)
        .watch("a.toml", WatchFile::watch("/a", &journal.append("$TWITCHER_EVENT $(cat)")))
        .start();
    journal.expect(&["loaded 1"]);
    let own = folder.join("own.toml");
    fs::write(&own, &settings).unwrap();
    let poked = twitcher().args(["poke", "/a", "--data", "2", "--config"]).arg(&own).status().unwrap();
    assert!(poked.success());
    journal.expect(&["loaded 1", "changed 2"]);
    let got = twitcher().args(["get", "/a", "--config"]).arg(&own).output().unwrap();
    assert_eq!(got.stdout, b"2");
    // Those who name servers only are nobody in particular.
    let denied = twitcher().args(["get", "/a", "--zkservers", &servers]).output().unwrap();
    assert_eq!(denied.status.code(), Some(4));
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let unsafe_file = twitcher().args(["get", "/a", "--config"]).arg(&own).output().unwrap();
    assert_eq!(unsafe_file.status.code(), Some(3));
    let said = String::from_utf8(unsafe_file.stderr).unwrap();
    assert!(said.contains("must be 0600 or stricter") && !said.contains("user:secret"), "{said}");
}
