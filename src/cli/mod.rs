//! A file for each subcommand.

pub mod get;
pub mod poke;
pub mod zookeeper;
