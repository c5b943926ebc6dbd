//! What an operator sees of the daemon and has it do: HTTP/1.1 with JSON over a socket in the run folder. Decides
//! nothing: each request becomes a question to the part of the daemon that knows.
//!
//! `api` has the types of the bodies, `route` says which request is about what, `describe` puts into words how a
//! watch stands; `desk` asks the parts, `server` speaks HTTP on a thread of its own, so that whoever uses the
//! socket, however much, takes no time from what the daemon is for; `client` is the other end. `scrape` makes metrics
//! of what the parts answer, which `tcp` serves to Prometheus as well.

pub mod api;
pub mod client;
pub mod describe;
pub mod desk;
#[cfg(test)]
mod openapi;
pub mod peer;
pub mod printed;
pub mod route;
pub mod scrape;
pub mod server;
mod socket;
pub mod tcp;

pub use self::socket::NAME;
