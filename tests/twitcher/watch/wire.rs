//! What goes over the wire between a client and a server: told, counted, held back, and cut.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use crate::harness::zookeeper::port::Port;
use crate::harness::zookeeper::shared_chroot;
use crate::harness::{DEADLINE, eventually};

/// Passes on to a server what clients send, one request after the other.
pub struct Wire {
    port: Port,
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    outstanding: usize,
    most_outstanding: usize,
    /// What is not passed on.
    held: Option<String>,
    streams: Vec<TcpStream>,
}

impl Wire {
    /// To the server at this address, without a chroot.
    pub fn to(address: &str) -> Self {
        let server: SocketAddr = address.parse().unwrap();
        let port = Port::reserve();
        let listener = Arc::new(TcpListener::bind(port.address()).unwrap());
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let (listener, shared) = (listener.clone(), shared.clone());
            move || {
                while let Ok((client, _)) = listener.accept() {
                    let Ok(server) = TcpStream::connect(server) else { continue };
                    pass_on(&shared, &client, &server);
                }
            }
        });
        Self { port, listener, acceptor: Some(acceptor), shared }
    }

    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// The requests that came since this was last asked, such as `getData+watch /a`, but for pings.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// How many requests were without an answer at once, at the most.
    pub fn most_outstanding(&self) -> usize {
        self.shared.state().most_outstanding
    }

    /// Passes on nothing from this request on, of the client that makes it.
    pub fn hold(&self, request: &str) {
        self.shared.state().held = Some(request.to_owned());
    }

    /// Waits for the request that is held.
    pub fn wait_for(&self, request: &str) {
        eventually(DEADLINE, request, || match &self.shared.state().requests {
            requests if requests.iter().any(|other| other == request) => Ok(()),
            requests => Err(requests.clone()),
        });
    }

    /// Passes on what was held.
    pub fn release(&self) {
        self.shared.state().held = None;
        self.shared.released.notify_all();
    }

    /// Ends all connections. New ones are taken at once.
    pub fn cut(&self) {
        for stream in self.shared.state().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.release();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It wakes the thread in accept(2) with an error.
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).unwrap();
        let _ = self.acceptor.take().map(JoinHandle::join);
        self.cut();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes note of a request, and waits as long as it is held.
    fn request(&self, request: Request) {
        let mut state = self.state();
        if request.xid > 0 {
            state.outstanding += 1;
            state.most_outstanding = state.most_outstanding.max(state.outstanding);
        }
        state.requests.extend((request.text != "ping").then(|| request.text.clone()));
        while state.held.as_ref() == Some(&request.text) {
            state = self.released.wait(state).unwrap();
        }
    }
}

fn pass_on(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let clone = |stream: &TcpStream| stream.try_clone().unwrap();
    shared.state().streams.extend([clone(client), clone(server)]);
    // How many of its requests are without an answer, to be taken off when the connection goes.
    let open = Arc::new(Mutex::new(0_usize));
    let (mut from, mut to, asked, asking) = (clone(client), clone(server), open.clone(), shared.clone());
    thread::spawn(move || {
        let mut is_first = true;
        while let Ok(frame) = read_frame(&mut from) {
            let request = Request::of(&frame, is_first);
            is_first = false;
            *asked.lock().unwrap() += usize::from(request.xid > 0);
            asking.request(request);
            if write_frame(&mut to, &frame).is_err() {
                break;
            }
        }
        end(&from, &to);
    });
    let (mut from, mut to, answered, answering) = (clone(server), clone(client), open, shared.clone());
    thread::spawn(move || {
        let mut is_first = true;
        while let Ok(frame) = read_frame(&mut from) {
            if !is_first && number(&frame, 0) > 0 {
                *answered.lock().unwrap() -= 1;
                answering.state().outstanding -= 1;
            }
            is_first = false;
            if write_frame(&mut to, &frame).is_err() {
                break;
            }
        }
        end(&from, &to);
        answering.state().outstanding -= std::mem::take(&mut *answered.lock().unwrap());
    });
}

fn end(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

/// A request but for the connection's first: ZooKeeper's `RequestHeader` and what follows it.
struct Request {
    xid: i32,
    text: String,
}

impl Request {
    fn of(frame: &[u8], is_first: bool) -> Self {
        if is_first {
            let may_be_read_only = frame.last() == Some(&1);
            let text = if may_be_read_only { "connect, maybe read-only" } else { "connect" };
            return Self { xid: 0, text: text.to_owned() };
        }
        let names = HashMap::from([
            (1, "create"),
            (3, "exists"),
            (4, "getData"),
            (5, "setData"),
            (9, "sync"),
            (11, "ping"),
            (12, "getChildren2"),
            (18, "removeWatches"),
            (100, "auth"),
            (101, "setWatches"),
            (105, "setWatches2"),
            (106, "addWatch"),
            (-11, "closeSession"),
        ]);
        let (xid, operation) = (number(frame, 0), number(frame, 4));
        let name = names.get(&operation).map_or_else(|| operation.to_string(), |name| (*name).to_owned());
        let text = match operation {
            3 | 4 | 9 | 12 | 18 => {
                let end = 12 + usize::try_from(number(frame, 8)).unwrap();
                let watch = if operation != 9 && operation != 18 && frame[end] == 1 { "+watch" } else { "" };
                format!("{name}{watch} {}", String::from_utf8_lossy(&frame[12..end]))
            }
            _ => name,
        };
        Self { xid, text }
    }
}

fn number(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().unwrap())
}

fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(to: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    to.write_all(&[&length[..], frame].concat())
}

/// A wire to the shared server, with a chroot of its own at its end.
pub struct Wired {
    pub wire: Wire,
    /// The chroot from the root.
    pub root: String,
    /// The connect string for those who are to be listened to.
    pub servers: String,
    /// The same for those who are not.
    pub direct: String,
}

impl Wired {
    pub fn new(name: &str) -> Self {
        let direct = shared_chroot(name);
        let (address, chroot) = direct.split_once('/').unwrap();
        let (wire, root) = (Wire::to(address), format!("/{chroot}"));
        let servers = format!("{}{root}", wire.address());
        Self { wire, root, servers, direct }
    }

    /// The requests that came since this was last asked, with paths as the client has them.
    pub fn requests(&self) -> Vec<String> {
        self.wire.requests().iter().map(|request| request.replace(&self.root, "")).collect()
    }

    /// Waits for so many requests, and returns all that came since this was last asked.
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let mut requests = Vec::new();
        eventually(DEADLINE, format!("{count} requests"), || {
            requests.extend(self.requests());
            if requests.len() < count { Err(requests.clone()) } else { Ok(()) }
        });
        requests
    }

    /// Holds a request on a path as the client has it.
    pub fn hold(&self, operation: &str, path: &str) -> Held<'_> {
        let request = format!("{operation} {}{path}", self.root);
        self.wire.hold(&request);
        Held { wire: &self.wire, request }
    }
}

/// A request that is held back, or will be once it comes.
pub struct Held<'a> {
    wire: &'a Wire,
    request: String,
}

impl Held<'_> {
    /// Lets something happen before the request reaches the server.
    pub fn meanwhile(self, happens: impl FnOnce()) {
        self.wire.wait_for(&self.request);
        happens();
        self.wire.release();
    }
}
