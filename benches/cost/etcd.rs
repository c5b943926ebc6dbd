//! An etcd server, and a session with it that writes: gRPC over one connection, as etcd's own client does it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::Request;
use tokio::net::TcpStream;

use crate::harness::client::wait;
use crate::harness::eventually;
use crate::harness::zookeeper::port::Port;
use crate::rivals::{end, guarded};

/// A server of one member, with its data in this folder.
pub struct Etcd {
    child: Child,
    client: Port,
    _peer: Port,
}

impl Etcd {
    /// Starts one, if there is one to start. It serves when this returns.
    pub fn start(folder: &Path) -> Result<Self, String> {
        let (client, peer) = (Port::reserve(), Port::reserve());
        let url = |port: &Port| format!("http://{}", port.address());
        let mut command = guarded("etcd");
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args(["--listen-client-urls", &url(&client), "--advertise-client-urls", &url(&client)]);
        command.args(["--listen-peer-urls", &url(&peer), "--initial-advertise-peer-urls", &url(&peer)]);
        command.args(["--initial-cluster", &format!("default={}", url(&peer))]);
        let child = command.spawn().map_err(|error| error.to_string())?;
        let mut etcd = Self { child, client, _peer: peer };
        let ended = eventually(Duration::from_secs(30), "etcd to serve", || {
            let ended = etcd.child.try_wait().expect("a child").is_some();
            let serves = std::net::TcpStream::connect(etcd.address()).is_ok();
            (ended || serves).then_some(ended)
        });
        if ended { Err("etcd ends at once: is it installed?".to_owned()) } else { Ok(etcd) }
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.client.address()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Who writes.
pub struct Writer {
    requests: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Writer {
    pub fn connect(address: SocketAddr) -> Self {
        let requests = wait(async {
            let stream = TcpStream::connect(address).await.expect("a connection with etcd");
            stream.set_nodelay(true).expect("a socket");
            let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            requests
        });
        Self { requests, address }
    }

    /// Sets a key, and returns when the server has.
    pub fn put(&self, key: &str, value: &str) {
        let message = put_request(key, value);
        let request = Request::post(format!("http://{}/etcdserverpb.KV/Put", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        wait(async {
            let mut requests = self.requests.clone().ready().await.expect("a connection");
            let (answer, mut body) = requests.send_request(request, false).expect("a request");
            body.send_data(message, true).expect("a request");
            let mut answer = answer.await.expect("an answer").into_body();
            while let Some(data) = answer.data().await {
                let length = data.expect("an answer").len();
                answer.flow_control().release_capacity(length).expect("what was received");
            }
            let trailers = answer.trailers().await.expect("an answer").expect("trailers");
            assert_eq!(trailers["grpc-status"], "0", "etcd refuses");
        });
    }
}

/// `PutRequest` of etcd's `rpc.proto`, which has the key as its first field and the value as its second, in a frame of
/// gRPC.
fn put_request(key: &str, value: &str) -> Bytes {
    let mut message = BytesMut::new();
    for (field, text) in [(1, key), (2, value)] {
        // Field number and type, then a length, which is one byte up to 127.
        message.put_u8(field << 3 | 2);
        message.put_u8(u8::try_from(text.len()).ok().filter(|length| *length < 128).expect("a short text"));
        message.put_slice(text.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a short message"));
    frame.put(message);
    frame.freeze()
}
