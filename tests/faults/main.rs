//! Three daemons, an ensemble of three servers, sixty watches, somebody who writes, and a hand that breaks
//! whatever can be broken. What must hold all the same:
//!
//! - every QUEUE watch has last run with what was written last, on every host (P1);
//! - no two runs of a QUEUE or DISCARD watch overlapped (P2);
//! - every run was given something that was written, and none was run more often than there was a reason
//!   (P3), however often the config files were touched, reordered or broken (P4);
//! - no daemon has ended (P8).
//!
//! The children write down what they are given, and only that is judged.
//!
//! `TWITCHER_FAULT_SECONDS` says how long it is to go on, two minutes where it is not there, and
//! `TWITCHER_FAULT_SEED` repeats what the hand and the writer do, as far as the machine is the same. Where it
//! fails, the journals and logs are copied to the folder that `TWITCHER_FAULT_KEEP` names.
//!
//! It is a program and no test of the usual kind, since it is also what the daemons run.

#[path = "../harness/mod.rs"]
mod harness;

mod chance;
mod child;
mod hand;
mod host;
mod plan;
mod runs;
mod trial;
mod truth;
mod verdict;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chance::Chance;
use hand::Hand;
use harness::zookeeper::eventually::within;
use harness::{DEADLINE, Server, eventually};
use host::Host;
use plan::{Kind, Watch, watches, znodes};
use truth::Truth;
use writer::Writer;

const NAME: &str = "p1_p2_p3_p4_p8_faults_at_random";
const HOSTS: [&str; 3] = ["ape", "bee", "cat"];

/// How long the hand and the writer are at work before it is looked whether all has been caught up with.
const ROUND: Duration = Duration::from_secs(20);

/// How long the writer waits between two updates, in milliseconds.
const BREATH: (u64, u64) = (20, 180);

/// A host may have to wait for an election, a session, a retry, and another one's turn on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(120);

/// So long that everything comes to be done that the hand can do.
const LONG: Duration = Duration::from_secs(120);

/// About how many znodes the servers may disagree in the end: so few that no fault of a daemon is to be found on
/// these alone.
const MOST_DISPUTED: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, folder, temper] = &arguments[..]
        && verb == "child"
    {
        return child::run(Path::new(folder), temper).into();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    if wanted.peek().is_some() && !wanted.any(|part| NAME.contains(part.as_str())) {
        return ExitCode::SUCCESS;
    }
    run();
    ExitCode::SUCCESS
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn run() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = number("TWITCHER_FAULT_SEED").unwrap_or(clock.as_secs());
    let time = Duration::from_secs(number("TWITCHER_FAULT_SECONDS").unwrap_or(LONG.as_secs()));
    println!("{NAME}: {} s with TWITCHER_FAULT_SEED={seed}", time.as_secs());
    let began = Instant::now();
    let mut chance = Chance::new(seed);
    trial::the_judge();

    let servers = Server::start_ensemble();
    let addresses = servers.each_ref().map(Server::address);
    let nothing_on_its_way = Mutex::new(());
    let chroot = servers[0].chroot("faults");
    let chroot = &chroot[servers[0].address().len()..];
    let (watches, znodes) = (watches(), znodes());
    let mut writer = Writer::new(&format!("{}{chroot}", addresses.join(",")), chance.fork());
    writer.create_all(&znodes);
    let mut hosts = HOSTS.map(|name| Host::start(name, &addresses, chroot, &watches));
    let mut hand = Hand::new(&servers, &nothing_on_its_way, chance.fork());
    apply_something(&mut hosts, &mut writer, &watches);
    let prepared = began.elapsed();

    let in_chroot = addresses.each_ref().map(|address| format!("{address}{chroot}"));
    let mut disputed = BTreeSet::new();
    let mut rounds = 0;
    let mut catching_up = Duration::ZERO;
    let harming = Instant::now();
    while harming.elapsed() < time {
        rounds += 1;
        let left = time.saturating_sub(harming.elapsed()).min(ROUND);
        let quiet = AtomicBool::new(false);
        let harmed = thread::scope(|scope| {
            scope.spawn(|| write_at_random(&mut writer, &znodes, &mut chance, (&nothing_on_its_way, &quiet)));
            let _quiet = SetAtTheEnd(&quiet);
            hand.harm(&mut hosts, left)
        });
        harmed.unwrap_or_else(|why| give_up(seed, &hosts, &[why]));
        hand.leave_in_trouble(&mut hosts);
        settle_what_is_there(&mut writer, &znodes, &mut chance, &mut hand, &mut hosts);
        let from = Instant::now();
        let truth = Truth::find(&writer, &in_chroot, &znodes);
        disputed.extend(truth.disputed().map(str::to_owned));
        print!("{}", truth.account());
        if disputed.len() > MOST_DISPUTED {
            give_up(
                seed,
                &hosts,
                &["the servers disagree about too much for anything to be judged".to_owned()],
            );
        }
        writer.compare(&truth);
        // Whatever the daemons have made of that, it says nothing of them: but it is no pass.
        if !writer.taken_back.is_empty() {
            give_up(seed, &hosts, &writer.taken_back);
        }
        let caught_up = wait_until_caught_up(&mut hosts, &watches, &truth);
        caught_up.unwrap_or_else(|behind| give_up(seed, &hosts, &behind));
        catching_up += from.elapsed();
    }

    for host in &mut hosts {
        assert_eq!(host.daemon.stop().code(), Some(0), "the daemon of {}", host.name);
        eventually(DEADLINE, "the minders to end", || host.daemon.minders().is_empty());
        host.runs.read();
    }
    let judge = |host: &Host| {
        verdict::faults(host.name, &host.runs, &host.done, &watches, &writer.stories, &disputed)
    };
    let faults: Vec<String> = hosts.iter().flat_map(judge).collect();
    report(&hand, &hosts, &writer);
    if !disputed.is_empty() {
        println!("{:>7} znodes that the servers themselves disagreed about", disputed.len());
    }
    println!(
        "{rounds} rounds in {:.0?} after {prepared:.0?}, {:.1?} of them until all was caught up with",
        harming.elapsed(),
        catching_up
    );
    if !faults.is_empty() {
        give_up(seed, &hosts, &faults);
    }
    assert!(rounds > 0, "nothing was tried");
    if time >= LONG {
        let left_out = hand.left_out();
        assert!(left_out.is_empty(), "nothing was done of {left_out:?} with TWITCHER_FAULT_SEED={seed}");
    }
}

/// Ends the program, which ends all that it has started, without the logs of the daemons: there is too much
/// of them.
fn give_up(seed: u64, hosts: &[Host], faults: &[String]) -> ! {
    if let Some(folder) = std::env::var_os("TWITCHER_FAULT_KEEP") {
        for host in hosts {
            for file in ["log", "journal"] {
                let to = Path::new(&folder).join(format!("{}.{file}", host.name));
                std::fs::copy(host.daemon.folder().join(file), to).expect("a copy to keep");
            }
        }
    }
    println!("{NAME} failed with TWITCHER_FAULT_SEED={seed}: {} faults\n{}", faults.len(), faults.join("\n"));
    std::process::exit(101);
}

/// Whatever becomes of the hand, the writer is told to come to an end.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes until it is told to be quiet. While it writes it holds what says that nothing is on its way.
fn write_at_random(
    writer: &mut Writer,
    znodes: &[(String, Kind)],
    chance: &mut Chance,
    (nothing_on_its_way, quiet): (&Mutex<()>, &AtomicBool),
) {
    while !quiet.load(Ordering::Relaxed) {
        let (path, kind) = &znodes[chance.below(znodes.len())];
        let writing = nothing_on_its_way.lock().expect("a hand that has not failed");
        writer.write(path, *kind);
        drop(writing);
        thread::sleep(Duration::from_millis(chance.between(BREATH.0, BREATH.1)));
    }
}

/// Of a watch that does not run on load, an update that comes while no daemon is there to see it is known by
/// what was applied before it: so every one of them applies something.
fn apply_something(hosts: &mut [Host], writer: &mut Writer, watches: &[Watch]) {
    eventually(CATCH_UP, "something to be applied by every watch", || {
        let mut left = Vec::new();
        for host in hosts.iter_mut() {
            host.runs.read();
            let well = |watch: &&Watch| {
                let runs = host.runs.of.get(&watch.name);
                runs.is_none_or(|runs| !runs.iter().any(runs::Run::went_well))
            };
            left.extend(watches.iter().filter(well).map(|watch| (host.name, watch)));
        }
        for (_, watch) in &left {
            writer.write(&watch.znode, watch.kind);
            thread::sleep(Duration::from_millis(20));
        }
        let left: Vec<String> = left.iter().map(|(host, watch)| format!("{host} {}", watch.name)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// The last updates are made while everybody is in trouble: of some znodes, so that others have had their
/// last one before. Then the trouble is over.
fn settle_what_is_there(
    writer: &mut Writer,
    znodes: &[(String, Kind)],
    chance: &mut Chance,
    hand: &mut Hand,
    hosts: &mut [Host],
) {
    // An ensemble that has lost two has to get one back before anything can be written.
    hand.heal_servers();
    for (path, kind) in znodes {
        // A visitor has to be there at the end.
        if *kind == Kind::Visitor || chance.one_in(3) {
            eventually(DEADLINE, "an ensemble that takes an update", || {
                writer.write(path, if *kind == Kind::Visitor { Kind::Data } else { *kind })
            });
        }
    }
    hand.heal_all(hosts);
}

fn wait_until_caught_up(hosts: &mut [Host], watches: &[Watch], truth: &Truth) -> Result<(), Vec<String>> {
    let mut behind = Vec::new();
    let caught_up = within(CATCH_UP, || {
        hosts.iter_mut().for_each(|host| host.runs.read());
        behind = hosts.iter().flat_map(|host| verdict::behind(host, watches, truth)).collect();
        behind.is_empty()
    });
    if caught_up { Ok(()) } else { Err(behind) }
}

fn report(hand: &Hand, hosts: &[Host], writer: &Writer) {
    println!(
        "{:>7} updates, and {} that nobody can say of whether they happened",
        writer.acknowledged, writer.unknown
    );
    for (what, count) in &hand.done {
        println!("{count:>7} {what}");
    }
    for host in hosts {
        let runs: Vec<&runs::Run> = host.runs.of.values().flatten().collect();
        let count = |what: fn(&runs::Run) -> bool| runs.iter().filter(|run| what(run)).count();
        let sessions = host.daemon.log().matches("with a new session").count();
        println!(
            "{:>7} runs on {}: {} failed, {} cut short, {} tries again; {sessions} sessions made anew",
            runs.len(),
            host.name,
            count(|run| run.end.is_some_and(|(_, status)| status != 0)),
            count(|run| run.end.is_none()),
            count(|run| run.attempt > 1),
        );
    }
}
