//! The watch folder against a real server, with the test in the scheduler's place.

mod cost;
mod outage;
pub mod rig;
mod update;
