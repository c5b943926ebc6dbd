//! Where a test that needs no server of its own is at home.

use super::daemon::Builder;
use super::{Client, Daemon, Folder, Gate, Journal, shared_chroot};

/// A folder, and a chroot on the shared server, in which there is nothing yet.
pub struct Site {
    pub folder: Folder,
    /// The connect string, with the chroot.
    pub zookeeper: String,
    pub client: Client,
}

impl Site {
    pub fn new(name: &str) -> Self {
        let zookeeper = shared_chroot(name);
        let client = Client::connect(&zookeeper);
        Self { folder: Folder::new(), zookeeper, client }
    }

    /// A daemon that is at home here.
    pub fn builder(&self) -> Builder {
        Daemon::builder(&self.folder, &self.zookeeper)
    }

    pub fn journal(&self, name: &str) -> Journal {
        Journal::new(&self.folder, name)
    }

    pub fn gate(&self, name: &str) -> Gate {
        Gate::new(&self.folder, name)
    }

    /// The path of a znode from the server's root, chroot and all.
    pub fn path_from_the_root(&self, path: &str) -> String {
        format!("{}{path}", &self.zookeeper[self.zookeeper.find('/').expect("a chroot")..])
    }
}
