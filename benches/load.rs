//! What those cost who ask: the time from an update to the start of its run, while nobody asks the control socket
//! anything, and while two hundred requests a second come.
//!
//! The two take turns within one run, so that what else the machine does falls on both alike; medians are compared.
//! The time is from before the write of the znode, by this process, to the first instruction of the child, which is
//! this program again: it reads the clock and says it through a named pipe. Ends with 1 when the ratio is not as
//! promised, or when fewer requests were answered than were to be.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Client, Daemon, Folder, Gate, Server, eventually};
use nix::time::{ClockId, clock_gettime};

const WATCHES: usize = 100;

/// How many turns each of the two has, and how long one takes.
const TURNS: usize = 6;
const TURN: Duration = Duration::from_secs(10);

/// How long after the start of a run the next update is written.
const BETWEEN: Duration = Duration::from_millis(20);

const REQUESTS_A_SECOND: usize = 200;
const CLIENTS: usize = 4;

/// The most that an update may take while many ask, in parts of what it takes while nobody does.
const MOST: f64 = 1.1;

/// How long anything may take before it is not worth to be measured.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let began = now();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == "child") {
        let pipe = arguments.next().expect("the pipe");
        let mut pipe = OpenOptions::new().append(true).open(pipe).expect("the pipe");
        pipe.write_all(format!("{began}\n").as_bytes()).expect("a reader");
        return ExitCode::SUCCESS;
    }
    compare()
}

fn compare() -> ExitCode {
    let server = Server::start();
    let zookeeper = server.chroot("load");
    let client = Client::connect(&zookeeper);
    for number in 0..WATCHES {
        client.create(&znode(number), "0");
    }
    let folder = Folder::new();
    // Named pipes that nobody finds closed.
    let _pipe = Gate::new(&folder, "clock");
    let pipe = folder.join("clock");
    let program = std::env::current_exe().expect("this program");
    let table = |number| {
        let (znode, pipe) = (znode(number), pipe.display());
        format!(
            "[[watch]]\nname = \"watch-{number}\"\nznode = {znode:?}\nrun_on_load = false\n\
             command = [{program:?}, \"child\", \"{pipe}\"]\n"
        )
    };
    let daemon = Daemon::builder(&folder, &zookeeper)
        .watch("all.toml", (0..WATCHES).map(table).collect::<String>())
        .start();
    eventually(PATIENCE, "all znodes to be looked at", || daemon.log().contains("ready: watching"));

    let mut updates =
        Updates { client, clock: BufReader::new(File::open(&pipe).expect("the pipe")), written: 0 };
    // So that each watch has a run to be asked about.
    (0..WATCHES).for_each(|_| {
        updates.sample();
    });
    let socket = daemon.run_dir().join("control.sock");
    let (mut alone, mut asked, mut answered) = (Vec::new(), Vec::new(), 0);
    for _ in 0..TURNS {
        updates.turn(&mut alone);
        let load = Load::start(&socket);
        updates.turn(&mut asked);
        answered += load.stop();
    }
    println!("from an update to its run's start, ms, {WATCHES} watches:");
    println!("{:<28} {:>8} {:>8} {:>8} {:>8}", "", "samples", "median", "90 %", "99 %");
    let alone = row("nobody asks", &mut alone);
    let asked = row(&format!("{REQUESTS_A_SECOND} requests a second"), &mut asked);
    let ratio = asked / alone;
    let wanted = REQUESTS_A_SECOND * TURNS * TURN.as_secs() as usize;
    println!("ratio of the medians: {ratio:.2}; at most {MOST} is promised");
    println!("answered: {answered} requests of {wanted}");
    // Those that are on their way at the end of a turn are not counted.
    if ratio <= MOST && answered * 100 >= wanted * 95 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(what: &str, samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    let part = |hundredths: usize| samples[samples.len() * hundredths / 100];
    println!("{what:<28} {:>8} {:>8.2} {:>8.2} {:>8.2}", samples.len(), part(50), part(90), part(99));
    part(50)
}

fn znode(number: usize) -> String {
    format!("/value-{number:03}")
}

/// Nanoseconds, by a clock that is the same in all processes.
fn now() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock"));
    u64::try_from(now.as_nanos()).expect("a machine that was started in this age")
}

/// Somebody who writes znodes, one after the other, and hears when the child of each has started.
struct Updates {
    client: Client,
    clock: BufReader<File>,
    written: usize,
}

impl Updates {
    /// Writes one. Returns the milliseconds until its run has started.
    fn sample(&mut self) -> f64 {
        let before = now();
        self.client.set(&znode(self.written % WATCHES), "1");
        self.written += 1;
        let mut line = String::new();
        self.clock.read_line(&mut line).expect("a line");
        let started: u64 = line.trim().parse().expect("a number");
        (started - before) as f64 / 1e6
    }

    fn turn(&mut self, samples: &mut Vec<f64>) {
        let end = Instant::now() + TURN;
        while Instant::now() < end {
            samples.push(self.sample());
            thread::sleep(BETWEEN);
        }
    }
}

/// Clients that ask, each at its own even pace.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(socket: &Path) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |number| {
            let (stop, answered, socket) = (Arc::clone(&stop), Arc::clone(&answered), socket.to_owned());
            thread::spawn(move || keep_asking(number, &socket, &stop, &answered))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, answered, clients }
    }

    /// How many requests were answered.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("a client"));
        self.answered.load(Ordering::Relaxed)
    }
}

fn keep_asking(client: usize, socket: &PathBuf, stop: &AtomicBool, answered: &AtomicUsize) {
    let pace = Duration::from_secs(1) * CLIENTS as u32 / REQUESTS_A_SECOND as u32;
    // Not all at the same moment.
    let mut next = Instant::now() + pace * client as u32 / CLIENTS as u32;
    for number in client.. {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        next += pace;
        let watch = number * 7 % WATCHES;
        let path = match number % 3 {
            0 => "/v1/status".to_owned(),
            1 => format!("/v1/watches/watch-{watch}"),
            _ => format!("/v1/watches/watch-{watch}/runs"),
        };
        // As `curl` and the subcommands ask: each time anew.
        let mut stream = UnixStream::connect(socket).expect("the control socket");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
