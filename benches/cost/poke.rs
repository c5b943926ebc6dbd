//! From a poke to the command's first instruction: the time from right before the write, by a process with a session
//! open, to when the command has read the clock.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::bare_client::BareClient;
use crate::daemons::Host;
use crate::etcd::{self, Etcd};
use crate::harness::{Client, Folder, Server};
use crate::rivals::{etcdctl, kazoo, watchexec};
use crate::stamps::{Program, Stamps, now};
use crate::table::{Figure, Table, figure, median, quantile};

const SAMPLES: usize = 1000;
const WARM_UP: usize = 40;

/// After a child has begun: whoever started it hears of its end, and notes that on the disk.
const BETWEEN: Duration = Duration::from_millis(25);

const ZNODE: &str = "/head";
const CONTENTS: &str = "5e9c2b7a0d41f6883bd9a1c4e7f20b6d8a3c5e1f";

/// A way to have a command run when something is written.
struct Way<'a> {
    name: &'static str,
    stamps: Stamps,
    write: Box<dyn Fn() + 'a>,
    /// What does it, which ends with this.
    _running: Box<dyn std::any::Any>,
    samples: Vec<f64>,
}

/// Measures all ways.
pub fn measure(program: &Program, table: &mut Table) {
    let what = "poke to the command's first instruction";
    // As they come: ZooKeeper and etcd both sync each write.
    let server = Server::start_with(&["-Dzookeeper.forceSync=yes"]);
    let folder = Folder::new();
    let etcd = Etcd::start(&folder);
    let zookeeper = Zookeeper::prepare(&server, "synced");
    let mut ways = vec![zookeeper.bare(program), zookeeper.twitcher(program, &folder)];
    let mut absent = Vec::new();
    let mut others =
        [zookeeper.kazoo(program, &folder), etcd_way(program, &etcd), file_way(program, &folder)];
    for (name, way) in ["kazoo", "etcdctl watch", "watchexec"].into_iter().zip(&mut others) {
        match std::mem::replace(way, Err(String::new())) {
            Ok(way) => ways.push(way),
            Err(why) => absent.push((name, why)),
        }
    }
    take_turns(&mut ways);
    report(&format!("{what}, servers that sync each write"), &ways, table);
    for (name, why) in absent {
        table.missing(&format!("{what}, {name}"), &why);
    }
    drop((ways, others));
    drop((etcd, server));

    // Without the disk, which takes as long for all: what is left is what they do themselves.
    let server = Server::start();
    let folder = Folder::new();
    let zookeeper = Zookeeper::prepare(&server, "unsynced");
    let mut ways = vec![zookeeper.bare(program), zookeeper.twitcher(program, &folder)];
    ways.extend(zookeeper.kazoo(program, &folder));
    take_turns(&mut ways);
    report(&format!("{what}, a server that does not sync"), &ways, table);
}

fn report(what: &str, ways: &[Way], table: &mut Table) {
    let figures = |way: &Way| [0.5, 0.99].map(|part| micros(quantile(&way.samples, part)));
    let Some(twitcher) = ways.iter().find(|way| way.name == "twitcher") else { return };
    let [our_median, our_tail] = figures(twitcher);
    for other in ways.iter().filter(|way| way.name != "twitcher") {
        let goal = match other.name {
            "the bare client" => "at most 1.15",
            "kazoo" => "at most 0.80",
            "etcdctl watch" => "at most 1.00",
            _ => "",
        };
        let [their_median, their_tail] = figures(other);
        table.row(&format!("{what}: median"), our_median, other.name, their_median, goal);
        table.row(&format!("{what}: 99th percentile"), our_tail, other.name, their_tail, "");
    }
}

fn micros(nanos: f64) -> Figure {
    figure(nanos / 1000.0, "µs")
}

/// One sample of each way in each turn, in another order each time, so that none has always the same one before it.
fn take_turns(ways: &mut [Way]) {
    for way in &mut *ways {
        wait_until_it_runs(way);
    }
    for turn in 0..WARM_UP + SAMPLES {
        let mut order: Vec<usize> = (0..ways.len()).collect();
        order.sort_by_key(|way| {
            let mut hasher = DefaultHasher::new();
            (turn, way).hash(&mut hasher);
            hasher.finish()
        });
        for number in order {
            let way = &mut ways[number];
            thread::sleep(BETWEEN);
            way.stamps.drain(Duration::from_micros(1));
            let before = now();
            (way.write)();
            // One that began before is of a write that came too late to be waited for.
            let took = loop {
                if let Some(took) = way.stamps.take().checked_sub(before) {
                    break took;
                }
            };
            if turn >= WARM_UP {
                way.samples.push(took as f64);
            }
        }
    }
    for way in ways.iter() {
        eprintln!(
            "  {:<16} median {:>8.0} µs, 99 % {:>8.0} µs",
            way.name,
            median(&way.samples) / 1000.0,
            quantile(&way.samples, 0.99) / 1000.0
        );
    }
}

/// Not each of them says when it has begun to watch.
fn wait_until_it_runs(way: &Way) {
    for _ in 0..100 {
        (way.write)();
        if way.stamps.next(Duration::from_millis(300)).is_some() {
            way.stamps.drain(Duration::from_millis(300));
            return;
        }
    }
    panic!("{} runs nothing", way.name);
}

/// A server with a znode, and a session that writes to it. Each way has a znode of its own.
struct Zookeeper {
    address: String,
    writer: Client,
}

impl Zookeeper {
    fn prepare(server: &Server, name: &str) -> Self {
        let address = server.chroot(name);
        let writer = Client::connect(&address);
        Self { address, writer }
    }

    fn way<R: 'static>(
        &self,
        name: &'static str,
        program: &Program,
        run: impl FnOnce(&str, &Stamps) -> R,
    ) -> Way<'_> {
        let znode = format!("{ZNODE}-{}", name.split(' ').next_back().unwrap_or_default());
        self.writer.create(&znode, "");
        let stamps = program.stamps(
            &format!("{}{znode}", self.address.rsplit('/').next().unwrap_or_default()).replace('/', "-"),
        );
        let running = Box::new(run(&znode, &stamps));
        let write = Box::new(move || {
            self.writer.set(&znode, CONTENTS);
        });
        Way { name, stamps, write, _running: running, samples: Vec::new() }
    }

    fn bare(&self, program: &Program) -> Way<'_> {
        self.way("the bare client", program, |znode, stamps| {
            BareClient::start(&self.address, stamps, &[znode.to_owned()])
        })
    }

    /// A watch with nothing said that need not be: what is watched at stdin, output to the log, one run at a time.
    fn twitcher(&self, program: &Program, folder: &Path) -> Way<'_> {
        self.way("twitcher", program, |znode, stamps| {
            let watch = format!("[[watch]]\nznode = {znode:?}\ncommand = {:?}\n", stamps.command());
            Host::start(folder, &self.address, &[watch])
        })
    }

    fn kazoo(&self, program: &Program, folder: &Path) -> Result<Way<'_>, String> {
        let mut failed = None;
        let way = self.way("kazoo", program, |znode, stamps| {
            let started = kazoo(&self.address, znode, stamps, folder);
            started.map_err(|why| failed = Some(why)).ok()
        });
        failed.map_or(Ok(way), Err)
    }
}

fn etcd_way<'a>(program: &Program, etcd: &Result<Etcd, String>) -> Result<Way<'a>, String> {
    let etcd = etcd.as_ref().map_err(Clone::clone)?;
    let stamps = program.stamps("etcd");
    let running = etcdctl(&etcd.address().to_string(), "head", &stamps)?;
    let writer = etcd::Writer::connect(etcd.address());
    let write = Box::new(move || writer.put("head", CONTENTS));
    Ok(Way { name: "etcdctl watch", stamps, write, _running: Box::new(running), samples: Vec::new() })
}

fn file_way<'a>(program: &Program, folder: &Path) -> Result<Way<'a>, String> {
    let stamps = program.stamps("file");
    let file = folder.join("head");
    fs::write(&file, "").expect("a file");
    let running = watchexec(&file, &stamps)?;
    let write = Box::new(move || fs::write(&file, CONTENTS).expect("a file"));
    Ok(Way {
        name: "watchexec, on a local file that is not synced",
        stamps,
        write,
        _running: Box::new(running),
        samples: Vec::new(),
    })
}
