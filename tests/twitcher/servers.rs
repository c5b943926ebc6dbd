//! The harness' servers keep what the other tests rely on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::zookeeper::{Server, shared, shared_chroot};
use crate::harness::{Client, DEADLINE, eventually};

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
    assert!(Client::connect(&address).exists("/kept"));
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed_and_not_before() {
    let server = Server::start();
    server.freeze();
    let mut stream = TcpStream::connect(server.address()).expect("a connection that the kernel takes");
    stream.write_all(b"ruok").expect("an open connection");
    let mut heard = |patience| {
        stream.set_read_timeout(Some(patience)).expect("a deadline");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).map(|()| answer).map_err(|error| error.kind())
    };
    assert_eq!(heard(Duration::from_secs(1)), Err(ErrorKind::WouldBlock));
    server.thaw();
    assert_eq!(heard(DEADLINE), Ok(*b"imok"));
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
