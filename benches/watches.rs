//! What ten thousand watches on ten thousand znodes cost: their memory, the time until all of them are armed,
//! and the time until a thousand of them that are updated at once have run.
//!
//! Each figure stands beside what the same takes without a daemon, in this process and in the same minute: a
//! client of the same library that reads and arms the same znodes, and a loop that starts the same command as
//! often. So it is the ratios that can be compared between machines.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use harness::process::Process;
use harness::{Daemon, Folder, Server, eventually};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use zookeeper_client::{Acls, Client, CreateMode, Error, OneshotWatcher};

const WATCHES: usize = 10_000;
const UPDATED: usize = 1_000;

/// How many are in one watch file.
const A_FILE: usize = 500;

/// How many requests are in flight at once, as the daemon has them.
const REQUESTS: usize = 100;

/// How many children run at once, as the daemon has them unless it is told otherwise.
const CHILDREN: usize = 64;

/// How long anything may take before it is not worth to be measured.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let server = Server::start();
    let zookeeper = server.chroot("bench");
    Ensemble::connect(&zookeeper).each(WATCHES, async |client, path| {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.create(&path, &[b'x'; 100], &options).await.map(drop)
    });

    let this = Process::find(std::process::id().cast_signed()).expect("this process");
    let reader = Ensemble::connect(&zookeeper);
    let before = this.resident_kib();
    let began = Instant::now();
    let watchers = reader.each(WATCHES, async |client, path| {
        client.get_and_watch_data(&path).await.map(|(_, _, watcher): (_, _, OneshotWatcher)| watcher)
    });
    let client_arms = began.elapsed();
    let client_holds = this.resident_kib() - before;
    drop((watchers, reader));

    let folder = Folder::new();
    let runs = folder.join("runs");
    let command = format!("echo >> {}", runs.display());
    let small = start(&folder, "small", &zookeeper, 1, &command);
    let small_holds = small.daemon.process().resident_kib();
    drop(small);
    let large = start(&folder, "large", &zookeeper, WATCHES, &command);
    let holds = large.daemon.process().resident_kib() - small_holds;

    fs::write(&runs, "").expect("an empty file");
    let writer = Ensemble::connect(&zookeeper);
    let began = Instant::now();
    writer.each(UPDATED, async |client, path| client.set_data(&path, b"new", None).await.map(drop));
    let updated = began.elapsed();
    eventually(PATIENCE, "a thousand runs", || {
        fs::metadata(&runs).is_ok_and(|file| file.len() as usize >= UPDATED)
    });
    let runs_took = began.elapsed();
    drop(large.daemon);
    let starts_took = updated + start_as_often(&command);

    println!("{WATCHES} watches on as many znodes, of which {UPDATED} are updated at once:");
    println!("{:<46} {:>12} {:>12} {:>7}", "", "daemon", "without", "ratio");
    row("memory of a watch, bytes", per_watch(holds), per_watch(client_holds), "a client");
    row("from the watch files until all are armed, ms", millis(large.armed), millis(client_arms), "a client");
    row("from the start until all are armed, ms", millis(large.ready), millis(client_arms), "a client");
    row("until all that are updated have run, ms", millis(runs_took), millis(starts_took), "a loop");
}

fn row(what: &str, daemon: f64, without: f64, instead: &str) {
    println!("{what:<46} {daemon:>12.0} {without:>12.0} {:>7.2}  of {instead}", daemon / without);
}

fn per_watch(kib: u64) -> f64 {
    kib as f64 * 1024.0 / WATCHES as f64
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

struct Started {
    daemon: Daemon,
    /// From its start until it has looked at all that it watches.
    ready: Duration,
    /// The same from when it has read its watch files.
    armed: Duration,
}

/// A daemon with so many watches that do not run on load, once all are armed.
fn start(folder: &Path, name: &str, zookeeper: &str, watches: usize, command: &str) -> Started {
    let folder = folder.join(name);
    fs::create_dir(&folder).expect("a folder");
    let table = |number: usize| {
        let znode = path(number);
        format!("[[watch]]\nznode = {znode:?}\ncommand = {command:?}\nrun_on_load = false\n")
    };
    let mut builder = Daemon::builder(&folder, zookeeper);
    for first in (0..watches).step_by(A_FILE) {
        let file = (first..watches.min(first + A_FILE)).map(table).collect::<String>();
        builder = builder.watch(&format!("from-{first:05}.toml"), file);
    }
    let began = Instant::now();
    let daemon = builder.start();
    let log_has = |text: &str| daemon.log().contains(text);
    eventually(PATIENCE, "a connection", || log_has("connected to ZooKeeper"));
    let connected = Instant::now();
    eventually(PATIENCE, "all znodes to be looked at", || {
        log_has(&format!("ready: watching {watches} znode"))
    });
    Started { daemon, ready: began.elapsed(), armed: connected.elapsed() }
}

/// Starts the command as often as there are updates, as many at once as the daemon would.
fn start_as_often(command: &str) -> Duration {
    let began = Instant::now();
    let mut running: Vec<Child> = Vec::new();
    for _ in 0..UPDATED {
        if running.len() == CHILDREN {
            running.remove(0).wait().expect("a child");
        }
        running.push(Command::new("/bin/sh").args(["-c", command]).spawn().expect("a child"));
    }
    for mut child in running {
        child.wait().expect("a child");
    }
    began.elapsed()
}

fn path(number: usize) -> String {
    format!("/value-{number:05}")
}

/// A session of this process.
struct Ensemble {
    runtime: Runtime,
    client: Client,
}

impl Ensemble {
    fn connect(servers: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
        let client = runtime.block_on(Client::connect(servers)).expect("a session");
        Self { runtime, client }
    }

    /// Asks for something of each of the first znodes, and returns the answers.
    fn each<T: Send + 'static, F>(&self, count: usize, ask: F) -> Vec<T>
    where
        F: AsyncFn(Client, String) -> Result<T, Error> + Clone + 'static,
    {
        let local = tokio::task::LocalSet::new();
        local.block_on(&self.runtime, async {
            let mut lines = JoinSet::new();
            for line in 0..REQUESTS {
                let (client, ask) = (self.client.clone(), ask.clone());
                lines.spawn_local(async move {
                    let mut answers = Vec::new();
                    for number in (line..count).step_by(REQUESTS) {
                        answers.push(ask(client.clone(), path(number)).await.expect("an answer"));
                    }
                    answers
                });
            }
            lines.join_all().await.into_iter().flatten().collect()
        })
    }
}
