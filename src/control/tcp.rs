//! Metrics and health over TCP, for whoever reaches the address: nothing else is served there, and nothing can be
//! changed. On a thread of its own, as the control socket is.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::desk::Desk;
use super::server::{Offer, serve};

/// How long until an address is tried again that is taken, or not this host's yet.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Serves until `stop`, on a thread of its own. An address that cannot be had is said once and tried again.
///
/// # Errors
/// When there can be no thread.
pub fn start(address: SocketAddr, desk: Desk, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                let Some(listener) = stop.run_until_cancelled(listen(address)).await else { return };
                let accept =
                    async || listener.accept().await.map(|(stream, _)| Some((stream, Offer::Readings)));
                serve(accept, desk, stop).await;
            }),
            Err(error) => error!("cannot serve metrics at {address}: {error}"),
        }
    })
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!("metrics are at http://{address}/metrics");
                return listener;
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    error!(
                        "cannot serve metrics at {address}: {error}; trying again every {} s",
                        TRY_AGAIN.as_secs()
                    );
                }
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}
