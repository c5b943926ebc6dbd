//! ZooKeeper over TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use twitcher::config::settings::Tls;
use twitcher::watch::ensemble::Ensemble;

use super::rig::{Rig, SESSION_TIMEOUT, added, poke};
use crate::harness::zookeeper::Server;
use crate::harness::{Authority, Folder, twitcher};

/// Longer than a server takes to start.
const PATIENT: Duration = Duration::from_secs(30);

fn over_tls(servers: &str, ca: &Path, client: Option<(PathBuf, PathBuf)>) -> Ensemble {
    Ensemble { tls: Some(Tls { ca: ca.to_owned(), client }), ..Ensemble::plain(servers) }
}

fn follow(ensemble: Ensemble, session_timeout: Duration) -> Rig {
    let rig = Rig::with(ensemble, session_timeout);
    rig.define(vec![added("a", "/a")]);
    assert_eq!(rig.next(), "a watched");
    rig
}

#[test]
fn updates_come_over_tls_and_so_do_they_after_a_lost_connection() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let server = Server::start_with_tls(&authority.sign_in_one_file("server"), None);
    poke(&server.address(), "/a", "1");
    let rig = follow(over_tls(&server.secure_address(), &authority.certificate(), None), PATIENT);
    assert_eq!(rig.next(), r#"a loaded "1""#);
    let before = rig.connected();
    server.stop();
    rig.disconnected();
    server.start_again();
    assert_eq!(rig.connected(), before);
    poke(&server.address(), "/a", "2");
    assert_eq!(rig.next(), r#"a changed "2""#);
    let settings = folder.join("own.toml");
    let text = format!(
        "[zookeeper]\nservers = {:?}\ntls = {{ ca = {:?} }}\n",
        server.secure_address(),
        authority.certificate()
    );
    std::fs::write(&settings, text).unwrap();
    let got = twitcher().args(["get", "/a", "--config"]).arg(&settings).output().unwrap();
    assert_eq!((got.stdout, got.stderr), (b"2".to_vec(), vec![]));
}

#[test]
fn p8_a_server_that_the_authority_does_not_vouch_for_is_one_line_and_is_tried_with_another() {
    let folder = Folder::new();
    let (right, wrong) = (Authority::new(&folder, "right"), Authority::new(&folder, "wrong"));
    let server = Server::start_with_tls(&right.sign_in_one_file("server"), None);
    poke(&server.address(), "/a", "1");
    let ca = folder.join("ca.pem");
    std::fs::copy(wrong.certificate(), &ca).unwrap();
    let rig = follow(over_tls(&server.secure_address(), &ca, None), SESSION_TIMEOUT);
    let line = format!(
        " WARN twitcher::watch::connection: cannot reach ZooKeeper at '{}': no server answers over TLS with a certificate for its name that {} vouches for; trying until it answers",
        server.secure_address(),
        ca.display()
    );
    rig.wait_for_log(&line);
    rig.wait_for_tries();
    assert_eq!(rig.log(), [line]);
    std::fs::rename(right.certificate(), &ca).unwrap();
    assert_eq!(rig.next(), r#"a loaded "1""#);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let server = Server::start_with_tls(&authority.sign_in_one_file("server"), None);
    let by_name = server.secure_address().replace("127.0.0.1", "localhost");
    let rig = follow(over_tls(&by_name, &authority.certificate(), None), SESSION_TIMEOUT);
    rig.wait_for_log("no server answers over TLS with a certificate for its name");
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let ca = authority.certificate();
    let server = Server::start_with_tls(&authority.sign_in_one_file("server"), Some(&ca));
    poke(&server.address(), "/a", "1");
    let stranger = follow(over_tls(&server.secure_address(), &ca, None), SESSION_TIMEOUT);
    let rig =
        follow(over_tls(&server.secure_address(), &ca, Some(authority.sign("client"))), SESSION_TIMEOUT);
    assert_eq!(rig.next(), r#"a loaded "1""#);
    stranger.wait_for_log("cannot reach ZooKeeper");
    assert!(!stranger.looked().is_complete());
}

#[test]
fn p8_certificates_that_cannot_be_used_are_one_line_and_are_read_again() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "authority");
    let server = Server::start_with_tls(&authority.sign_in_one_file("server"), None);
    poke(&server.address(), "/a", "1");
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, "no certificate").unwrap();
    let rig = follow(over_tls(&server.secure_address(), &ca, None), SESSION_TIMEOUT);
    rig.wait_for_log("ca.pem: ");
    rig.wait_for_tries();
    assert_eq!(rig.log().len(), 1, "{:?}", rig.log());
    std::fs::rename(authority.certificate(), &ca).unwrap();
    assert_eq!(rig.next(), r#"a loaded "1""#);
}
