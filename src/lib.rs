//! twitcher runs a command on every host the moment a znode changes.
//!
//! The folders are in the order in which a change passes through them:
//! `config` → `watch` → `schedule` → `run` → `record` → `control`; an arrow never points back.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod minder;
pub mod record;
pub mod run;
pub mod schedule;
pub mod watch;
