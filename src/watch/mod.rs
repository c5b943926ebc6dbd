//! Specs in, updates out: the ZooKeeper session and a loop for each znode. Decides nothing about what
//! an update leads to. Nothing outside this folder names the ZooKeeper crate.
//!
//! `session` keeps a session alive and hands it to the loops (`follow`, with a way of looking for each
//! watch type: `data`, `children`, `newest`); what they see goes to `hub`, which asks `subscriptions` and `seen`, both pure,
//! what is new in it and for whom. `client` is apart: one request at a time for the command line.

pub mod backoff;
pub mod children;
pub mod client;
pub mod connection;
pub mod data;
pub mod ensemble;
pub mod failure;
pub mod follow;
pub mod hub;
pub mod look;
pub mod newest;
pub mod seen;
pub mod sequence;
pub mod session;
pub mod subscriptions;
pub mod update;
