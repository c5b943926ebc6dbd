//! Watch files in, checked specs out. Knows nothing of ZooKeeper or of children.
//!
//! The order of reading: `loader` asks `folder` for the files that differ, `parse` makes specs of each,
//! `changes` compares them with what was there before. `settings` is the daemon's own file.

pub mod changes;
mod checked;
pub mod difference;
pub mod duration;
pub mod explain;
pub mod folder;
pub mod keys;
pub mod loader;
pub mod located;
pub mod parse;
pub mod problem;
mod reader;
pub mod schema;
pub mod settings;
pub mod spec;
mod values;
mod watch_table;
mod words;

pub use watch_table::Defaults;
