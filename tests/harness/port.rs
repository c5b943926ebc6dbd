//! A port that stays free for the one who is to listen on it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A port of the loopback that is nobody else's while this lives.
///
/// A socket is bound to it and never listens. Neither an outgoing connection nor a bind to any free port
/// gets a port that is bound, while a bind to this very port succeeds, as a JVM's or a `TcpListener`'s
/// does, when both sockets allow reuse and neither listens. So the port stays free while a server is
/// stopped, and whoever connects meanwhile is refused.
pub struct Port {
    _reservation: OwnedFd,
    address: SocketAddr,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a socket to reserve a port with");
        // Reuse is allowed after the bind only: the port that is chosen must not be reserved by another.
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        sockopt::set_socket_reuseaddr(&socket, true).expect("a port that the server may take");
        let address = getsockname(&socket).expect("the port").try_into().expect("an IP address");
        Self { _reservation: socket, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
