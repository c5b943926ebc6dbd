//! What a daemon takes of its host: memory, the time until it watches, and work while nothing happens; with one watch,
//! a hundred, and ten thousand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::bare_client::BareClient;
use crate::daemons::{Host, prepare};
use crate::harness::process::Process;
use crate::harness::{Client, Folder, Server};
use crate::rivals::{Rival, kazoo};
use crate::stamps::Program;
use crate::table::{Table, figure, median};

/// How many watches, and how often a daemon with so many is started.
const SIZES: [(usize, usize); 3] = [(1, 9), (100, 9), (10_000, 3)];

/// What is only needed at the start is given back by then.
const SETTLED: Duration = Duration::from_secs(5);

const IDLE: Duration = Duration::from_secs(20);

pub fn measure(program: &Program, table: &mut Table) {
    let size = fs::metadata(env!("CARGO_BIN_EXE_twitcher")).expect("the program").len();
    table.alone("the program", figure(size as f64 / 1e6, "MB"), "");
    let server = Server::start();
    let zookeeper = server.chroot("resources");
    let writer = Client::connect(&zookeeper);
    for number in 0..SIZES[2].0 {
        writer.create(&znode(number), [b'x'; 100]);
    }
    let stamps = program.stamps("resources");
    let folder = Folder::new();
    let copy = folder.join("bare-client");
    fs::copy(std::env::current_exe().expect("this program"), &copy).expect("a copy of this program");

    for (size, starts) in SIZES {
        let znodes: Vec<String> = (0..size).map(znode).collect();
        let tables: Vec<String> = znodes.iter().map(|znode| table_of(znode)).collect();
        let folder = Folder::new();
        let mut host: Option<Host> = None;
        let mut bare: Option<BareClient> = None;
        let [mut our_times, mut their_times] = [Vec::new(), Vec::new()];
        for _ in 0..starts {
            let began = match &mut host {
                Some(host) => host.restart(),
                None => {
                    let (started, began) = prepare(&folder, &zookeeper, "", &tables).start();
                    host = Some(started);
                    began
                }
            };
            host.iter().for_each(Host::wait_until_ready);
            our_times.push(millis(began.elapsed()));
            drop(bare.take());
            let began = Instant::now();
            bare.insert(BareClient::start_from(&copy, &zookeeper, &stamps, &znodes)).wait_until_armed();
            their_times.push(millis(began.elapsed()));
        }
        let (host, bare) = host.zip(bare).expect("at least one start");
        let ms = |times: &[f64]| figure(median(times), "ms");
        let what = format!("start until {} armed", watches(size));
        table.row(&what, ms(&our_times), "a bare client", ms(&their_times), "");

        // No other process of the same program shares its memory with it by now.
        let script = (size == 1).then(|| kazoo(&zookeeper, &znodes[0], &stamps, &folder));
        thread::sleep(SETTLED);
        let ours = [host.daemon.process(), host.daemon.minder()];
        let theirs = [bare.process()];
        let figures = ours.map(pss_mb);
        eprintln!("  {}: daemon {:.2} MB, minder {:.2} MB", watches(size), figures[0], figures[1]);
        let memory = figure(figures.iter().sum(), "MB");
        let what = format!("memory with {}, daemon and minder", watches(size));
        let goal = match size {
            1 => "at most 8 MB",
            10_000 => "at most 40 MB",
            _ => "",
        };
        table.row(&what, memory, "a bare client", figure(pss_mb(theirs[0]), "MB"), goal);
        match &script {
            Some(Ok(script)) => table.row(&what, memory, "kazoo", figure(pss_mb(script.process()), "MB"), ""),
            Some(Err(why)) => table.missing(&format!("{what}, kazoo"), why),
            None => {}
        }

        let script: Vec<Process> = script.iter().flatten().map(Rival::process).collect();
        let everybody = [&ours[..], &theirs, &script];
        let before = everybody.map(Work::of);
        thread::sleep(IDLE);
        let after = everybody.map(Work::of);
        let done = [0, 1, 2].map(|index| after[index].since(&before[index]));
        let a_minute = 60.0 / IDLE.as_secs_f64();
        let wakeups = |index: usize| figure(done[index].wakeups as f64 * a_minute, "a minute");
        let what = format!("idle with {}", watches(size));
        table.row(&format!("{what}: wake-ups"), wakeups(0), "a bare client", wakeups(1), "");
        if !script.is_empty() {
            table.row(&format!("{what}: wake-ups"), wakeups(0), "kazoo", wakeups(2), "");
        }
        let worked = |index: usize| figure(millis(done[index].worked) * a_minute, "ms a minute");
        table.row(&format!("{what}: processor time"), worked(0), "a bare client", worked(1), "");
    }
}

fn table_of(znode: &str) -> String {
    format!("[[watch]]\nznode = {znode:?}\ncommand = [\"true\"]\nrun_on_load = false\n")
}

fn znode(number: usize) -> String {
    format!("/value-{number:05}")
}

fn watches(size: usize) -> String {
    if size == 1 { "1 watch".to_owned() } else { format!("{size} watches") }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What it has of the memory that is there, in MB: of pages that several processes have, its part.
fn pss_mb(process: Process) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid())).expect("its memory");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0 / 1e6
}

/// What the threads of processes have done since they began, by their folders in `/proc`.
struct Work(BTreeMap<PathBuf, Done>);

#[derive(Clone, Copy, Default)]
struct Done {
    /// How often it waited for something.
    wakeups: u64,
    worked: Duration,
}

impl Work {
    fn of(processes: &[Process]) -> Self {
        let folders = processes.iter().flat_map(|process| {
            fs::read_dir(format!("/proc/{}/task", process.pid())).expect("its threads").flatten()
        });
        Self(folders.filter_map(|thread| Some((thread.path(), Done::of(&thread.path())?))).collect())
    }

    /// What was done after `earlier`, by the threads that are still there.
    fn since(&self, earlier: &Self) -> Done {
        self.0.iter().fold(Done::default(), |sum, (thread, done)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            Done {
                wakeups: sum.wakeups + done.wakeups - before.wakeups,
                worked: sum.worked + done.worked - before.worked,
            }
        })
    }
}

impl Done {
    /// `None`: it has ended.
    fn of(thread: &Path) -> Option<Self> {
        let status = fs::read_to_string(thread.join("status")).ok()?;
        let waited = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        // To the nanosecond, where the times in `stat` are in hundredths of a second.
        let times = fs::read_to_string(thread.join("schedstat")).ok()?;
        Some(Self {
            wakeups: waited.trim().parse().ok()?,
            worked: Duration::from_nanos(times.split(' ').next()?.parse().ok()?),
        })
    }
}
