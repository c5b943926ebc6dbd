//! The harness' proxy does what the tests of an outage rely on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::harness::Proxy;

#[test]
fn a_cut_network_drops_connections_and_refuses_new_ones_until_it_is_healed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Proxy::to(&listener.local_addr().expect("its number").to_string());
    let echo = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut byte = [0];
            while stream.read(&mut byte).is_ok_and(|count| count == 1) {
                stream.write_all(&byte).expect("an open connection");
            }
        }
    });
    let converse = || {
        let mut stream = TcpStream::connect(proxy.address()).expect("a connection");
        stream.write_all(b"x").expect("an open connection");
        let mut answer = [0];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"x");
        stream
    };
    let mut stream = converse();
    proxy.cut();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(proxy.address()).is_err());
    proxy.heal();
    drop(converse());
    echo.join().expect("the server");
}
