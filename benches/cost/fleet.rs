//! What many daemons cost the ensemble that they watch, and how long it takes until all have run.

use std::thread;
use std::time::Duration;

use crate::bare_client::BareClient;
use crate::daemons::{Host, Prepared, prepare};
use crate::harness::{Client, Folder, Server};
use crate::stamps::{Program, Stamps, now};
use crate::table::{Table, figure, median};

/// How many watch a znode, of the daemons that there are.
const SIZES: [usize; 3] = [1, 10, 50];

/// How often each of these znodes is written to, after the first few.
const TURNS: usize = 20;
const WARM_UP: usize = 3;

const BETWEEN: Duration = Duration::from_millis(300);

/// Long, so that few pings are among the packets.
const SETTINGS: &str = "[zookeeper]\nsession_timeout = \"30s\"\n";

/// Daemons or bare clients, and what their children say, by how many of them watch a znode.
struct Fleet {
    kind: &'static str,
    stamps: Vec<Stamps>,
}

pub fn measure(program: &Program, table: &mut Table) {
    let server = Server::start();
    let zookeeper = server.chroot("fleet");
    let writer = Client::connect(&zookeeper);
    let [ours, theirs] = ["daemon", "client"].map(|kind| {
        for size in SIZES {
            writer.create(&znode(kind, size), "");
        }
        Fleet { kind, stamps: SIZES.map(|size| program.stamps(&format!("{kind}-{size}"))).into() }
    });
    let folders: Vec<Folder> = (0..SIZES[2]).map(|_| Folder::new()).collect();
    let watches = |number: usize| {
        SIZES.iter().zip(&ours.stamps).filter(move |(size, _)| number < **size).map(|(&size, stamps)| {
            let (znode, command) = (znode(ours.kind, size), stamps.command());
            format!("[[watch]]\nznode = {znode:?}\ncommand = {command:?}\nrun_on_load = false\n")
        })
    };
    let prepared: Vec<Prepared> = folders
        .iter()
        .enumerate()
        .map(|(number, folder)| prepare(folder, &zookeeper, SETTINGS, &watches(number).collect::<Vec<_>>()))
        .collect();
    let hosts: Vec<Host> = prepared.into_iter().map(|prepared| prepared.start().0).collect();
    hosts.iter().for_each(Host::wait_until_ready);
    // A bare client has one command for all that it watches, so that there are some for each size.
    let mut clients: Vec<BareClient> = SIZES
        .iter()
        .zip(&theirs.stamps)
        .flat_map(|(&size, stamps)| {
            (0..size)
                .map(|_| BareClient::start(&zookeeper, stamps, &[znode(theirs.kind, size)]))
                .collect::<Vec<_>>()
        })
        .collect();
    clients.iter_mut().for_each(BareClient::wait_until_armed);

    let mut alone = None;
    for (index, size) in SIZES.into_iter().enumerate() {
        let [mut our_times, mut their_times] = [Vec::new(), Vec::new()];
        let [mut our_packets, mut their_packets] = [[0, 0], [0, 0]];
        for turn in 0..WARM_UP + TURNS {
            for (fleet, times, packets) in
                [(&ours, &mut our_times, &mut our_packets), (&theirs, &mut their_times, &mut their_packets)]
            {
                thread::sleep(BETWEEN);
                let before = packets_of(&server);
                let took = fleet.all_run(&writer, index);
                let after = packets_of(&server);
                if turn >= WARM_UP {
                    times.push(took);
                    // The write and its answer, and the question for the counters, are none of the fleet's.
                    packets[0] += after[0] - before[0] - 2;
                    packets[1] += after[1] - before[1] - 1;
                }
            }
        }
        // Of fewer, the pings of all that wait are more than what is to be counted.
        if size == SIZES[2] {
            let of_each = |packets: u64| figure(packets as f64 / (TURNS * size) as f64, "");
            let what = format!("packets for each poke and daemon, of {size}");
            for (index, (way, goal)) in
                [("to the server", "1: a read"), ("from it", "2: a notification, an answer")]
                    .into_iter()
                    .enumerate()
            {
                let [ours, theirs] = [our_packets, their_packets].map(|packets| of_each(packets[index]));
                table.row(&format!("{what}: {way}"), ours, "as many bare clients", theirs, goal);
            }
        }
        let millis = |times: &[f64]| figure(median(times), "ms");
        let what = format!("poke until all of {size} have run");
        table.row(&what, millis(&our_times), "as many bare clients", millis(&their_times), "");
        let first = *alone.get_or_insert(millis(&our_times));
        if index > 0 {
            table.row(&what, millis(&our_times), "one daemon", first, "");
        }
    }
}

fn znode(kind: &str, size: usize) -> String {
    format!("/{kind}-{size}")
}

/// How many packets the server has received and sent.
fn packets_of(server: &Server) -> [u64; 2] {
    let counters = server.four_letter("mntr");
    ["zk_packets_received\t", "zk_packets_sent\t"].map(|name| {
        let number = counters.lines().find_map(|line| line.strip_prefix(name));
        number.expect("a counter").parse().expect("a number")
    })
}

impl Fleet {
    /// Writes, and says after how many milliseconds the last command began.
    fn all_run(&self, writer: &Client, index: usize) -> f64 {
        let (size, stamps) = (SIZES[index], &self.stamps[index]);
        let before = now();
        writer.set(&znode(self.kind, size), "x");
        let last = (0..size).map(|_| stamps.take()).max().unwrap_or(before);
        (last - before) as f64 / 1e6
    }
}
