//! The watch folder against a real server, with the test in the scheduler's place.
#![allow(clippy::unwrap_used)]

mod cost;
mod outage;
pub mod rig;
mod update;
