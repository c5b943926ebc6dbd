//! A ZooKeeper client for tests that are not async.

use std::future::{Future, pending};
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, CreateOptions, Error, Permission, Stat};

/// A session of its own, kept alive by a thread that all of them share.
pub struct Client(zookeeper_client::Client);

impl Client {
    /// A session with the server at `address`, `host:port` with or without a chroot.
    pub fn connect(address: &str) -> Self {
        Self(wait(zookeeper_client::Client::connect(address)).expect("a session with ZooKeeper"))
    }

    /// Makes a znode whose parent is there.
    pub fn create(&self, path: &str, contents: impl AsRef<[u8]>) -> Stat {
        wait(self.0.create(path, contents.as_ref(), &persistent())).expect("a new znode").0
    }

    /// Makes a znode that nobody can read.
    pub fn create_closed(&self, path: &str, contents: impl AsRef<[u8]>) {
        let nobody = [Acl::new(Permission::WRITE | Permission::ADMIN, AuthId::new("world", "anyone"))];
        let options = CreateMode::Persistent.with_acls(Acls::from(&nobody[..]));
        wait(self.0.create(path, contents.as_ref(), &options)).expect("a new znode");
    }

    /// Makes a znode, and before it what is missing above it.
    pub fn create_all(&self, path: &str, contents: impl AsRef<[u8]>) -> Stat {
        let parent = &path[..path.rfind('/').expect("an absolute path")];
        if !parent.is_empty() {
            wait(self.0.mkdir(parent, &persistent())).expect("the znodes above");
        }
        self.create(path, contents)
    }

    /// Writes the contents of a znode.
    pub fn set(&self, path: &str, contents: impl AsRef<[u8]>) -> Stat {
        wait(self.0.set_data(path, contents.as_ref(), None)).expect("a written znode")
    }

    /// The contents of a znode, `None` when there is no such znode.
    pub fn get(&self, path: &str) -> Option<Vec<u8>> {
        match wait(self.0.get_data(path)) {
            Ok((contents, _)) => Some(contents),
            Err(Error::NoNode) => None,
            Err(error) => panic!("{path} cannot be read: {error}"),
        }
    }

    /// The state of a znode that is there.
    pub fn stat(&self, path: &str) -> Stat {
        wait(self.0.check_stat(path)).expect("an answer").expect("a znode")
    }

    /// Whether there is such a znode.
    pub fn exists(&self, path: &str) -> bool {
        wait(self.0.check_stat(path)).expect("an answer").is_some()
    }

    /// Deletes a znode that has no children.
    pub fn delete(&self, path: &str) {
        wait(self.0.delete(path, None)).expect("a deleted znode");
    }
}

fn persistent() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

/// The answer to a request of any client, on the thread that keeps sessions alive.
pub fn wait<T>(request: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(pending::<()>()));
        handle
    });
    runtime.block_on(request)
}
