//! An ensemble that is away for long: for twenty seconds, in CI for a minute, or as long as `TWITCHER_AWAY_SECONDS` says.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::process::Process;
use crate::harness::{Client, Daemon, Folder, Journal, Server, WatchFile};

const WATCHES: usize = 50;

/// What the processor does for a daemon that has nothing to do but to try, in parts of the time that passes.
const BUSY_AT_MOST: f64 = 0.02;

/// What there may be more of in the second half than in the first: of work, and of memory.
const MORE_WORK: f64 = 2.0;
const MORE_MEMORY: f64 = 1.1;

/// So much work may be in either half by chance, in parts of the time.
const NO_WORK: f64 = 0.002;

/// What a daemon was seen to use.
#[derive(Debug, Clone, Copy)]
struct Use {
    worked: Duration,
    resident_kib: u64,
}

impl Use {
    fn of(process: Process) -> Self {
        Self { worked: process.worked(), resident_kib: process.resident_kib() }
    }
}

#[test]
fn p1_p3_p8_an_ensemble_that_is_away_for_long_costs_nothing_and_is_caught_up_with() {
    let asked = std::env::var("TWITCHER_AWAY_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let seconds = asked.unwrap_or(if std::env::var_os("CI").is_some() { 60 } else { 20 });
    let time = Duration::from_secs(seconds);
    let server = Server::start();
    let zookeeper = server.chroot("away");
    let chroot = &zookeeper[server.address().len()..];
    let client = Client::connect(&zookeeper);
    let folder = Folder::new();
    let runs = Journal::new(&folder, "runs");
    let line = runs.append("$TWITCHER_ZNODE $TWITCHER_EVENT $(cat)");
    let paths: Vec<String> = (0..WATCHES).map(|number| format!("/value-{number:02}")).collect();
    for path in &paths {
        client.create(path, "0");
    }
    let file = |file: Option<WatchFile>, path: &String| match file {
        None => Some(WatchFile::watch(path, &line)),
        Some(file) => Some(file.and(path, &line)),
    };
    let daemon = Daemon::builder(&folder, &zookeeper)
        .settings("[zookeeper]\nsession_timeout = \"2s\"\n")
        .watch("all.toml", paths.iter().fold(None, file).expect("a file"))
        .start();
    runs.wait_for(WATCHES);
    daemon.wait_until_ready();
    let process = daemon.process();
    let before = daemon.log().len();

    server.stop();
    daemon.wait_for_log("lost the connection to ZooKeeper");
    let mut uses = vec![Use::of(process)];
    let (began, samples) = (Instant::now(), 60);
    for sample in 1..=samples {
        // The outage is what is waited for.
        thread::sleep((time * sample / samples).saturating_sub(began.elapsed()));
        uses.push(Use::of(process));
    }
    let half = uses.len() / 2;
    let worked = |uses: &[Use]| (uses[uses.len() - 1].worked - uses[0].worked).as_secs_f64();
    let (first, second) = (worked(&uses[..=half]), worked(&uses[half..]));
    let resident = |uses: &[Use]| uses.iter().map(|seen| seen.resident_kib).max().expect("samples");
    let (early, late) = (resident(&uses[..=half]), resident(&uses[half..]));
    println!(
        "{seconds} s: {:.2} % and {:.2} % of a processor, {early} and {late} KiB in its halves",
        200.0 * first / time.as_secs_f64(),
        200.0 * second / time.as_secs_f64()
    );
    assert!(first + second < BUSY_AT_MOST * time.as_secs_f64(), "{uses:?}");
    assert!(second <= MORE_WORK * first + NO_WORK * time.as_secs_f64(), "{uses:?}");
    assert!(late as f64 <= MORE_MEMORY * early as f64, "{uses:?}");

    server.elsewhere(|address| {
        let client = Client::connect(&format!("{address}{chroot}"));
        for path in &paths {
            client.set(path, "meanwhile");
        }
    });
    server.start_again();
    let mut lines = runs.wait_for(2 * WATCHES).split_off(WATCHES);
    lines.sort();
    assert_eq!(lines, paths.iter().map(|path| format!("{path} changed meanwhile")).collect::<Vec<_>>());
    // A last one of each, before which whatever was run without a reason would have been.
    let client = Client::connect(&zookeeper);
    for path in &paths {
        client.set(path, "last");
    }
    let mut lines = runs.wait_for(3 * WATCHES).split_off(2 * WATCHES);
    lines.sort();
    assert_eq!(lines, paths.iter().map(|path| format!("{path} changed last")).collect::<Vec<_>>());

    let log = daemon.log();
    let said: Vec<&str> = log[before..].lines().filter(|line| line.contains("ZooKeeper")).collect();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("lost the connection") && said[1].contains("connected to ZooKeeper again"));
}
