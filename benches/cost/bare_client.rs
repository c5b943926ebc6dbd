//! The least that can be done: a process with the same client library, on a runtime of one thread, which waits for a
//! notification, reads and arms in one request, and starts the command with `posix_spawn`. It keeps no record, feeds no
//! stdin, hears of no output, ends nothing, and is in everybody's way who wants its place. What twitcher takes beyond
//! that is what its promises cost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use zookeeper_client::{Client, OneshotWatcher};

use crate::harness::process::Process;
use crate::rivals::{end, guarded};
use crate::stamps::Stamps;

/// The first argument of a process that is to be one.
pub const WORD: &str = "bare-client";

/// How many requests are in flight at once, as the daemon has them.
const REQUESTS: usize = 100;

/// One that runs.
pub struct BareClient {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl BareClient {
    /// Starts one that runs the command at each change of any of these znodes.
    pub fn start(zookeeper: &str, stamps: &Stamps, znodes: &[String]) -> Self {
        Self::start_from(&std::env::current_exe().expect("this program"), zookeeper, stamps, znodes)
    }

    /// The same from a copy of this program, so that it shares its memory with nobody.
    pub fn start_from(program: &Path, zookeeper: &str, stamps: &Stamps, znodes: &[String]) -> Self {
        let mut command = guarded(program);
        command.arg(WORD).arg(zookeeper).args(stamps.command()).args(znodes);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        Self { child, stdout }
    }

    /// Waits until it has armed all its watches.
    pub fn wait_until_armed(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its stdout");
        assert_eq!(line, "armed\n");
    }

    pub fn process(&self) -> Process {
        Process::find(self.child.id().cast_signed()).expect("a running process")
    }
}

impl Drop for BareClient {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Is one: of these arguments the first is where the server is, then come the command, its argument, and the znodes.
pub fn be(mut arguments: impl Iterator<Item = String>) {
    let mut word = || arguments.next().expect("an argument");
    let (zookeeper, program, argument) = (word(), Rc::from(word()), Rc::from(word()));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
    LocalSet::new().block_on(&runtime, async {
        let connector = Client::connector().with_session_timeout(Duration::from_secs(10));
        let client = connector.connect(&zookeeper).await.expect("a session");
        let requests = Rc::new(Semaphore::new(REQUESTS));
        let mut arming = JoinSet::new();
        for znode in arguments {
            let (client, requests) = (client.clone(), Rc::clone(&requests));
            arming.spawn_local(async move {
                let _permit = requests.acquire().await;
                let armed = read(&client, &znode).await;
                (znode, armed)
            });
        }
        let armed = arming.join_all().await;
        println!("armed");
        let mut following = JoinSet::new();
        for (znode, watcher) in armed {
            let client = client.clone();
            following.spawn_local(follow(client, znode, watcher, Rc::clone(&program), Rc::clone(&argument)));
        }
        following.join_all().await;
    });
}

async fn read(client: &Client, znode: &str) -> OneshotWatcher {
    let (_contents, _stat, watcher) = client.get_and_watch_data(znode).await.expect("a znode");
    watcher
}

async fn follow(
    client: Client,
    znode: String,
    mut watcher: OneshotWatcher,
    program: Rc<str>,
    argument: Rc<str>,
) {
    let mut running: Vec<Child> = Vec::new();
    loop {
        watcher.changed().await;
        watcher = read(&client, &znode).await;
        let mut command = Command::new(&*program);
        command.arg(&*argument).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        running.push(command.spawn().expect("a child"));
        running.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
    }
}
