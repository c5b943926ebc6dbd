//! The harness' servers keep what the other tests rely on.

use std::net::TcpStream;

use crate::harness::zookeeper::{Server, shared, shared_chroot};
use crate::harness::{DEADLINE, eventually};

#[test]
fn a_server_that_is_stopped_and_started_keeps_its_port_and_its_data() {
    let server = Server::start();
    let address = server.address();
    let chroot = server.chroot("kept");
    server.stop();
    assert!(TcpStream::connect(&address).is_err());
    server.elsewhere(|other| assert_ne!(other, address));
    server.start_again();
    assert_eq!(server.address(), address);
    assert!(chroot.ends_with("/kept"));
    assert!(server.four_letter("mntr").contains("zk_znode_count\t6"), "{}", server.four_letter("mntr"));
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let server = Server::start();
    server.freeze();
    server.thaw();
    assert_eq!(server.four_letter("ruok"), "imok");
}

#[test]
fn each_test_has_a_chroot_of_its_own_on_the_shared_server() {
    let (first, second) = (shared_chroot("chroot"), shared_chroot("chroot"));
    assert_ne!(first, second);
    assert!(first.starts_with(&shared().address()));
}

#[test]
fn a_server_is_gone_with_its_folder_when_the_process_that_started_it_is_gone() {
    let folder = Server::start().abandon();
    eventually(DEADLINE, format!("{} to go", folder.display()), || !folder.exists());
}
