//! The watch folder against a real server, with the test in the scheduler's place.
#![allow(clippy::unwrap_used)]

mod access;
mod children;
mod cost;
mod daemon;
mod history;
mod library;
mod newest;
mod outage;
pub mod rig;
mod tls;
mod update;
pub mod wire;
