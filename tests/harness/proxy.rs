//! A network that a test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::zookeeper::port::Port;

/// Listens on a port of the loopback, and passes on to a server what comes in.
pub struct Proxy {
    port: Port,
    server: SocketAddr,
    /// By how many milliseconds all that is passed on is late.
    late: Arc<AtomicU64>,
    open: Mutex<Option<Open>>,
}

/// What there is of a network that is not cut.
struct Open {
    listener: Arc<TcpListener>,
    acceptor: JoinHandle<()>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Passes on to the server at `address`, without a chroot.
    pub fn to(address: &str) -> Self {
        let server = address.parse().expect("the address of a server");
        let proxy = Self { port: Port::reserve(), server, late: Arc::default(), open: Mutex::new(None) };
        proxy.heal();
        proxy
    }

    /// Passes on to the server of a connect string. With it, the connect string of those who are to come this way.
    pub fn before(zookeeper: &str) -> (Self, String) {
        let (address, chroot) = zookeeper.split_once('/').expect("a chroot");
        let proxy = Self::to(address);
        let through = format!("{}/{chroot}", proxy.address());
        (proxy, through)
    }

    /// Where clients connect: `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// Has all that is passed on be late by this much.
    pub fn delay(&self, late: Duration) {
        let late = u64::try_from(late.as_millis()).expect("a delay that a test can wait for");
        self.late.store(late, Ordering::Relaxed);
    }

    /// Drops every connection, and refuses new ones.
    pub fn cut(&self) {
        let open = self.open.lock().expect("the proxy").take().expect("a network that is not cut");
        // It wakes the thread in accept(2) with an error; closing alone would not.
        rustix::net::shutdown(&*open.listener, rustix::net::Shutdown::Both).expect("the end of a listener");
        open.acceptor.join().expect("the accepting thread");
        for stream in open.streams.lock().expect("the streams").drain(..) {
            // It may have ended before.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again.
    pub fn heal(&self) {
        let mut open = self.open.lock().expect("the proxy");
        assert!(open.is_none(), "the network is not cut");
        let listener = Arc::new(TcpListener::bind(self.port.address()).expect("the reserved port"));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let acceptor = thread::spawn({
            let (listener, streams, server) = (listener.clone(), streams.clone(), self.server);
            let late = self.late.clone();
            move || {
                while let Ok((client, _)) = listener.accept() {
                    // When the server is away, the client finds its connection closed.
                    let Ok(server) = TcpStream::connect(server) else { continue };
                    let mut streams = streams.lock().expect("the streams");
                    streams.push(pass_on(&client, &server, &late));
                    streams.push(pass_on(&server, &client, &late));
                }
            }
        });
        *open = Some(Open { listener, acceptor, streams });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.open.lock().expect("the proxy").is_some() {
            self.cut();
        }
    }
}

/// Copies from one to the other until either ends, and then ends both. Returns the first, to be ended.
fn pass_on(from: &TcpStream, to: &TcpStream, late: &Arc<AtomicU64>) -> TcpStream {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor more");
    let (mut source, mut sink, late) = (clone(from), clone(to), late.clone());
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = source.read(&mut buffer) {
            thread::sleep(Duration::from_millis(late.load(Ordering::Relaxed)));
            if sink.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = source.shutdown(Shutdown::Both);
        let _ = sink.shutdown(Shutdown::Both);
    });
    clone(from)
}
