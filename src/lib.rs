//! twitcher runs a command on every host the moment a znode changes.
//!
//! The folders are in the order in which a change passes through them:
//! `config` → `watch` → `schedule` → `run` → `record` → `control`; each imports only from itself and from
//! those before it.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod minder;
pub mod record;
pub mod run;
pub mod schedule;
pub mod watch;
