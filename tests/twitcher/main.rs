//! The real program against a real ZooKeeper. One binary for all of it, so that it is linked once.

#[path = "../harness/mod.rs"]
mod harness;

mod poke;
mod servers;
mod watch;
