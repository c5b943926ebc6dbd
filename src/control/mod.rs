//! What an operator sees of the daemon and has it do: HTTP/1.1 with JSON over a socket in the run folder. Decides
//! nothing: each request becomes a question to the part of the daemon that knows.
//!
//! `socket` is the name that clients find, `peer` who has connected and whether that may. `server` speaks HTTP on a
//! thread of its own, so that whoever uses the socket takes little from what the daemon is for, and gives up whom `stall`
//! has seen read nothing; `places` is who gets what and how many may be there; `route` says which request is about what, by a table from which `openapi` makes the document
//! under `etc`, and `api` has the types of the bodies. `desk` asks the parts, those questions that are about every watch
//! by way of `survey`; `describe` puts into words how a watch stands, `printed` follows what runs print. `client` is the
//! other end. `scrape` makes metrics of what the parts answer, which `tcp` serves to Prometheus as well.

pub mod api;
pub mod client;
pub mod describe;
pub mod desk;
#[cfg(test)]
mod openapi;
pub mod peer;
pub mod places;
pub mod printed;
pub mod route;
pub mod scrape;
pub mod server;
mod socket;
mod stall;
pub mod survey;
pub mod tcp;

pub use self::socket::NAME;
