//! What every test of the whole program stands on: servers, daemons, the files that their children append
//! to, and the one way to wait.

// A test uses what it needs.
#![allow(dead_code, unused_imports)]

pub mod certificates;
pub mod client;
pub mod daemon;
pub mod files;
pub mod folder;
pub mod follower;
pub mod gate;
pub mod http;
pub mod journal;
pub mod ledger;
pub mod minders;
pub mod privilege;
pub mod process;
pub mod promtool;
pub mod proxy;
pub mod site;
pub mod terminal;
pub mod watch_file;
pub mod zookeeper;

pub use certificates::Authority;
pub use client::Client;
pub use daemon::{Daemon, install, interruptible_twitcher, twitcher};
pub use folder::Folder;
pub use follower::Follower;
pub use gate::Gate;
pub use journal::Journal;
pub use privilege::{is_shown, root_can};
pub use proxy::Proxy;
pub use site::Site;
pub use terminal::Terminal;
pub use watch_file::WatchFile;
pub use zookeeper::eventually::{DEADLINE, eventually};
pub use zookeeper::{Server, shared, shared_chroot};
