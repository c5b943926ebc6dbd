//! How much a daemon gets through: updates of one znode, and runs.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use crate::daemons::Host;
use crate::harness::{Client, DEADLINE, Daemon, Folder, Server, eventually};
use crate::stamps::{Program, Stamps};
use crate::table::{Table, figure, median};

/// How long writes come in as fast as the server takes them.
const WRITING: Duration = Duration::from_secs(5);

/// How many sessions write at once.
const WRITERS: usize = 8;

/// How many watches there are on the one znode, so that one update is as many runs.
const WATCHES: usize = 100;

/// How often that is written to at once, and how many turns there are.
const WRITES: usize = 10;
const TURNS: usize = 5;

/// After so long no more children come.
const QUIET: Duration = Duration::from_secs(1);

/// How many children run at once, as the daemon has them unless it is told otherwise.
const CHILDREN: usize = 64;

pub fn measure(program: &Program, table: &mut Table) {
    let server = Server::start();
    updates(&server.chroot("updates"), table);
    runs(&server.chroot("runs"), program, table);
}

/// The daemon and a client that does nothing with them take in the same writes at the same time.
fn updates(zookeeper: &str, table: &mut Table) {
    let writers: Vec<Client> = (0..WRITERS).map(|_| Client::connect(zookeeper)).collect();
    writers[0].create("/busy", "");
    let folder = Folder::new();
    let watch = "[[watch]]\nznode = \"/busy\"\ncommand = [\"sleep\", \"1\"]\nrun_on_load = false\n";
    let host = Host::start(&folder, zookeeper, &[watch.to_owned()]);
    let read = count_reads(zookeeper.to_owned());
    let count = || (updates_of(&host.daemon), read.load(Ordering::Relaxed));
    let (before, began) = (count(), Instant::now());
    let written: u64 = thread::scope(|scope| {
        let write = |writer: &Client| {
            let mut written = 0;
            while began.elapsed() < WRITING {
                writer.set("/busy", "x");
                written += 1;
            }
            written
        };
        let writing: Vec<_> = writers.iter().map(|writer| scope.spawn(move || write(writer))).collect();
        writing.into_iter().map(|writing| writing.join().expect("a writer")).sum()
    });
    let (after, seconds) = (count(), began.elapsed().as_secs_f64());
    let a_second = |after: u64, before: u64| figure((after - before) as f64 / seconds, "/s");
    table.row(
        &format!(
            "updates of one znode that a QUEUE watch takes in, of {:.0} writes a second",
            written as f64 / seconds
        ),
        a_second(after.0, before.0),
        "a client that only reads",
        a_second(after.1, before.1),
        "",
    );
}

/// The daemon's own count.
fn updates_of(daemon: &Daemon) -> u64 {
    let answer = daemon.ask("GET /metrics");
    let line = answer.body.lines().find_map(|line| line.strip_prefix("twitcher_updates_received_total "));
    line.expect("a metric").parse().expect("a number")
}

/// How often a client of its own that is told of a change has read what it is.
fn count_reads(zookeeper: String) -> Arc<AtomicU64> {
    let (count, armed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, arming) = (Arc::clone(&count), Arc::clone(&armed));
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
        runtime.block_on(async {
            let client = zookeeper_client::Client::connect(&zookeeper).await.expect("a session");
            // Until the server has gone.
            while let Ok((_, _, watcher)) = client.get_and_watch_data("/busy").await {
                if arming.swap(true, Ordering::Relaxed) {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
                watcher.changed().await;
            }
        });
    });
    eventually(DEADLINE, "a client that reads", || armed.load(Ordering::Relaxed));
    count
}

fn runs(zookeeper: &str, program: &Program, table: &mut Table) {
    let writer = Client::connect(zookeeper);
    writer.create("/start", "");
    let folder = Folder::new();
    let stamps = program.stamps("rate");
    let watch = format!(
        "[[watch]]\nznode = \"/start\"\ncommand = {:?}\nrun_mode = \"PARALLEL\"\nmax_parallel = {CHILDREN}\n\
         run_on_load = false\n",
        stamps.command()
    );
    let _host = Host::start(&folder, zookeeper, &vec![watch; WATCHES]);
    let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
    // The first is not counted.
    for turn in 0..=TURNS {
        let begun = [
            begun_while(&stamps, || {
                for _ in 0..WRITES {
                    writer.set("/start", "x");
                    // Else some of them are told of as one.
                    thread::sleep(Duration::from_millis(5));
                }
            }),
            begun_while(&stamps, || start_as_often(&stamps)),
        ];
        if begun[0].len() < WATCHES * WRITES {
            eprintln!("  {} updates of a watch were told of as one", WRITES - begun[0].len() / WATCHES);
        }
        if turn > 0 {
            ours.push(rate(&begun[0]));
            theirs.push(rate(&begun[1]));
        }
    }
    let (ours, theirs) = (figure(median(&ours), "/s"), figure(median(&theirs), "/s"));
    table.row("runs of PARALLEL watches", ours, "posix_spawn in a loop, as many at once", theirs, "");
}

/// When children begin while something is done, by their own clocks and in order.
fn begun_while(stamps: &Stamps, work: impl FnOnce() + Send) -> Vec<u64> {
    let done = AtomicBool::new(false);
    let mut began = thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.store(true, Ordering::Relaxed);
        });
        let mut began = vec![stamps.take()];
        loop {
            match stamps.next(QUIET) {
                Some(stamp) => began.push(stamp),
                None if done.load(Ordering::Relaxed) => break began,
                // A machine that is very busy: whoever has more to say waits until it is heard.
                None => {}
            }
        }
    });
    began.sort_unstable();
    began
}

/// How many began in a second.
fn rate(began: &[u64]) -> f64 {
    (began.len() - 1) as f64 * 1e9 / (began[began.len() - 1] - began[0]) as f64
}

/// Starts the command as often as there are runs, as many at once as the daemon would.
fn start_as_often(stamps: &Stamps) {
    let [program, argument] = stamps.command();
    let mut running: Vec<Child> = Vec::new();
    for _ in 0..WATCHES * WRITES {
        if running.len() == CHILDREN {
            running.remove(0).wait().expect("a child");
        }
        let mut command = Command::new(&program);
        running.push(command.arg(&argument).env_clear().stdin(Stdio::null()).spawn().expect("a child"));
    }
    for mut child in running {
        child.wait().expect("a child");
    }
}
