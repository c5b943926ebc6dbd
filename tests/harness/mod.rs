//! What every test of the whole program stands on: servers, and the one way to wait.

// A test uses what it needs.
#![allow(dead_code)]

pub mod zookeeper;

#[allow(unused_imports)]
pub use zookeeper::eventually::{DEADLINE, eventually};
