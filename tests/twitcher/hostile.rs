//! A table of hostile children, each with what must become of it, under one daemon that meanwhile runs a
//! well-behaved watch on time.
//!
//! What is asserted is that each update of that watch is run before the next one is made, and what each
//! hostile child ends as. How long it took is printed (`--nocapture` shows it), since a busy machine makes
//! any bound on it wrong.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use crate::harness::process::Process;
use crate::harness::{Client, DEADLINE, Daemon, Site, WatchFile, eventually, files, root_can};

/// How often the well-behaved watch is updated at least while a hostile child is there.
const UPDATES: usize = 10;

/// One hostile child.
struct Hostile {
    name: &'static str,
    watch: WatchFile,
    /// The contents of its znode.
    contents: Vec<u8>,
    /// What each of its runs ends as, in the words of the log, or the beginning of them.
    outcomes: Vec<String>,
    /// What is done once its first run has been started, and again to the next.
    once_started: Option<Box<dyn FnOnce()>>,
}

impl Hostile {
    fn new(name: &'static str, watch: WatchFile, outcome: &str) -> Self {
        let znode = format!("znode = \"/{name}\"");
        let watch = WatchFile::from(watch.as_ref().replace("znode = \"/\"", &znode));
        let watch = watch.key("name", format!("{name:?}")).key("run_on_load", false);
        let contents = b"contents".to_vec();
        Self { name, watch, contents, outcomes: vec![outcome.to_owned()], once_started: None }
    }

    fn shell(name: &'static str, command: &str, outcome: &str) -> Self {
        Self::new(name, WatchFile::watch("/", command), outcome)
    }

    fn program(name: &'static str, command: &[&str], outcome: &str) -> Self {
        Self::new(name, WatchFile::program("/", command), outcome)
    }

    fn key(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.watch = self.watch.key(key, value);
        self
    }

    /// Given so little time that it is ended by force.
    fn ended_by_force(self) -> Self {
        self.key("timeout", "\"1s\"").key("kill_after", "\"500ms\"")
    }

    /// Run once more, which ends as this.
    fn then(mut self, outcome: &str) -> Self {
        self.outcomes.push(outcome.to_owned());
        self
    }

    fn once_started(mut self, act: impl FnOnce() + 'static) -> Self {
        self.once_started = Some(Box::new(act));
        self
    }
}

/// What they do to themselves, to their input and to their output.
fn selfish(folder: &Path) -> Vec<Hostile> {
    let doomed = folder.join("doomed");
    fs::create_dir(&doomed).expect("a folder");
    let own_binary = folder.join("own-binary");
    let replacement = folder.join("replacement");
    files::executable(&replacement, "#!/bin/sh\nexit 5\n");
    files::executable(
        &own_binary,
        format!("#!/bin/sh\nmv {} {}\nexit 4\n", replacement.display(), own_binary.display()),
    );
    let disguised = r#"$SIG{TERM} = "IGNORE"; %ENV = (); $0 = ") R 1 1 1 1 " x 1000;
        use POSIX (); POSIX::setsid() unless fork; fork; sleep 1000 while 1"#;
    let mut reads_nothing = Hostile::shell("reads-no-stdin", "sleep 0.5", "exited(0)");
    reads_nothing.contents = vec![b'x'; 900_000];
    let mut closes = Hostile::shell("closes-its-stdin", "exec <&-; sleep 0.5", "exited(0)");
    closes.contents = vec![b'x'; 900_000];
    vec![
        reads_nothing,
        closes,
        Hostile::shell("prints-a-gigabyte", "yes hostile | head -c 1000000000", "exited(0)"),
        Hostile::shell("prints-without-a-newline", "head -c 100000000 /dev/zero", "exited(0)"),
        Hostile::shell("deletes-its-folder", "rmdir \"$PWD\"", "exited(0)")
            .key("directory", format!("{doomed:?}"))
            .then("spawn-failed(cannot enter directory"),
        Hostile::program("replaces-its-own-binary", &[own_binary.to_str().expect("text")], "exited(4)")
            .then("exited(5)"),
        Hostile::program("hides-its-name", &["/usr/bin/perl", "-e", disguised], "timed-out").ended_by_force(),
        Hostile::program("ends-in-the-first-microsecond", &["/bin/true"], "exited(0)").then("exited(0)"),
    ]
}

/// What they do about signals and with processes.
fn unruly(folder: &Path, late: &Path) -> Vec<Hostile> {
    let signal_parent = "number=0\nwhile [ $((number += 1)) -le 64 ]; do\n\
         case $number in 9 | 19) ;; *) kill -$number $PPID ;; esac\ndone";
    // Its stdin ends when the other process has, and with it the last one that writes to the pipe.
    let late_grandchild = format!(
        "mkfifo {pipe}\n(exec 3<&-; read -r _ < {pipe}; echo said after the end; echo done > {late}) &\n\
         exec 3> {pipe}\nexit 3",
        pipe = folder.join("late-pipe").display(),
        late = late.display(),
    );
    let mut all = vec![
        Hostile::shell("leaves-its-stdout-to-a-grandchild", "sleep 1000 & sleep 1000", "timed-out")
            .ended_by_force(),
        Hostile::shell("has-a-grandchild-that-prints-late", &late_grandchild, "exited(3)"),
        Hostile::shell("leaves-its-session", "setsid -f sleep 1000\nexec sleep 1000", "timed-out")
            .ended_by_force(),
        Hostile::shell("ignores-sigterm", "trap '' TERM\nwhile :; do sleep 1000; done", "timed-out")
            .ended_by_force(),
        Hostile::shell("stops-itself", "kill -STOP $$", "timed-out").ended_by_force(),
        Hostile::shell("stops-itself-for-good", "trap '' TERM\nwhile :; do kill -STOP $$; done", "timed-out")
            .ended_by_force(),
        Hostile::shell("dumps-core", "ulimit -c unlimited; kill -SEGV $$", "signaled(SIGSEGV)")
            .key("directory", format!("{folder:?}")),
        Hostile::shell("ends-by-a-real-time-signal", "kill -35 $$", "signaled(35)"),
        Hostile::shell("signals-its-parent", signal_parent, "exited(0)"),
    ];
    if root_can("run forks-to-its-limit, as a user that nobody else is") {
        // Nobody else's processes count against the limit of this user.
        let user = 3_000_000 + std::process::id();
        let fork = "while (1) { defined(fork) or select(undef, undef, undef, 0.05) }";
        let command = ["prlimit", "--nproc=40", "/usr/bin/perl", "-e", fork];
        let forks = Hostile::program("forks-to-its-limit", &command, "timed-out").ended_by_force();
        all.push(forks.key("uid", user).key("gid", user));
    }
    all
}

/// What cannot be executed, each for another reason.
fn impossible(folder: &Path) -> Vec<Hostile> {
    let text = |path: &PathBuf| path.to_str().expect("text").to_owned();
    let [plain, no_hashbang, no_interpreter, busy, always_busy, endlessly_busy, link] =
        ["plain", "no-hashbang", "no-interpreter", "busy", "always-busy", "endlessly-busy", "link"]
            .map(|name| folder.join(name));
    fs::write(&plain, "#!/bin/sh\n").expect("a file");
    files::executable(&no_hashbang, "exit 7\n");
    files::executable(&no_interpreter, "#!/nonexistent/interpreter\n");
    files::executable(&busy, "#!/bin/sh\nexit 6\n");
    files::executable(&always_busy, "#!/bin/sh\nexit 6\n");
    files::executable(&endlessly_busy, "#!/bin/sh\nexit 6\n");
    symlink(&plain, &link).expect("a link");
    let write = |path: &Path| OpenOptions::new().append(true).open(path).expect("a program to write to");
    let [busy_file, always_busy_file, endlessly_busy_file] =
        [&busy, &always_busy, &endlessly_busy].map(|path| write(path));
    let failed = |why: &str| format!("spawn-failed({why}");
    let path = format!("{{ PATH = {:?} }}", text(&folder.to_owned()));
    let not_a_program = "neither a program for this machine nor a script with '#!')";
    let root = Uid::effective().is_root();
    let mut all = vec![
        Hostile::program(
            "no-such-folder",
            &["true"],
            &failed("cannot enter directory /nonexistent: No such"),
        )
        .key("directory", "\"/nonexistent\""),
        Hostile::program(
            "no-such-command",
            &["no-such-command"],
            &failed("cannot execute no-such-command: no such command in PATH)"),
        ),
        Hostile::program(
            "no-such-file",
            &["/nonexistent/program"],
            &failed("cannot execute /nonexistent/program: no such file)"),
        ),
        Hostile::program(
            "not-executable",
            &[&text(&plain)],
            &failed(&format!("cannot execute {}: not executable", text(&plain))),
        ),
        Hostile::program(
            "a-folder",
            &[&text(&folder.to_owned())],
            &failed(&format!("cannot execute {}: not executable", text(&folder.to_owned()))),
        ),
        Hostile::program(
            "no-hashbang",
            &[&text(&no_hashbang)],
            &failed(&format!("cannot execute {}: {not_a_program}", text(&no_hashbang))),
        ),
        Hostile::program(
            "no-hashbang-in-path",
            &["no-hashbang"],
            &failed(&format!("cannot execute no-hashbang: {not_a_program}")),
        )
        .key("env", &path),
        // The shell runs it itself, as POSIX has it.
        Hostile::shell("no-hashbang-for-the-shell", &text(&no_hashbang), "exited(7)"),
        Hostile::program(
            "no-interpreter",
            &[&text(&no_interpreter)],
            &failed(&format!("cannot execute {}: its interpreter does not exist)", text(&no_interpreter))),
        ),
        Hostile::program(
            "too-long",
            &["/bin/true", &"x".repeat(200_000)],
            &failed("cannot execute /bin/true: argument list too long)"),
        ),
        Hostile::program("busy-for-a-moment", &[&text(&busy)], "exited(6)")
            .once_started(move || drop(busy_file)),
        Hostile::program(
            "busy",
            &[&text(&always_busy)],
            &failed(&format!("cannot execute {}: Text file busy)", text(&always_busy))),
        )
        .once_started(move || hold(always_busy_file)),
        // Ended on its way to become its program, and then the next one is started as if nothing had been.
        Hostile::program("ended-while-busy", &[&text(&endlessly_busy)], "timed-out")
            .key("timeout", "\"500ms\"")
            .once_started(move || hold(endlessly_busy_file))
            .then("timed-out"),
        Hostile::program(
            "no-folder-for-its-output",
            &["true"],
            &failed("cannot open the output file /nonexistent/output: No such"),
        )
        .key("output", "\"/nonexistent/output\""),
        Hostile::program(
            "a-folder-for-its-output",
            &["true"],
            &failed(&format!("cannot open the output file {}: Is a directory", folder.display())),
        )
        .key("output", format!("{folder:?}")),
        Hostile::program(
            "a-link-for-its-output",
            &["true"],
            &failed(&format!("cannot open the output file {}: it is a symbolic link", link.display())),
        )
        .key("output", format!("{link:?}")),
    ];
    if root {
        all.push(
            Hostile::program("no-such-user", &["true"], &failed("no such user 'no-such-user')"))
                .key("uid", "\"no-such-user\""),
        );
        all.push(
            Hostile::program("no-such-group", &["true"], &failed("no such group 'no-such-group')"))
                .key("gid", "\"no-such-group\""),
        );
    } else {
        all.push(Hostile::program("not-allowed", &["true"], &failed("cannot become")).key("uid", "\"root\""));
    }
    all
}

/// Keeps a file open for as long as the process.
fn hold(file: File) {
    std::mem::forget(file);
}

/// The well-behaved watch: an update of it is its contents, printed into a pipe that this process reads.
struct Punctual {
    client: Client,
    lines: Receiver<String>,
    pipe: File,
    updates: usize,
}

impl Punctual {
    const ZNODE: &str = "/punctual";

    fn new(folder: &Path, client: Client) -> (Self, WatchFile) {
        client.create(Self::ZNODE, "0\n");
        let path = folder.join("punctual");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a named pipe");
        // Both ends, so that nobody waits for the other to open it, and it never ends.
        let pipe = OpenOptions::new().read(true).write(true).open(&path).expect("a named pipe");
        let reader = BufReader::new(pipe.try_clone().expect("a named pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                if line == "end" || sender.send(line).is_err() {
                    return;
                }
            }
        });
        let watch = WatchFile::program(Self::ZNODE, &["/bin/cat"]).key("output", format!("{path:?}"));
        (Self { client, lines, pipe, updates: 0 }, watch)
    }

    fn expect(&self) {
        let line = self.lines.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|_| panic!("update {} was not run in time", self.updates));
        assert_eq!(line, self.updates.to_string());
    }

    /// How long it takes from before an update is made until it is run.
    fn update(&mut self) -> Duration {
        let start = Instant::now();
        self.updates += 1;
        self.client.set(Self::ZNODE, format!("{}\n", self.updates));
        self.expect();
        start.elapsed()
    }
}

impl Drop for Punctual {
    fn drop(&mut self) {
        let _ = self.pipe.write_all(b"end\n");
    }
}

/// What the log says of one run.
#[derive(Debug, Default, Clone)]
struct Logged {
    run: String,
    pid: Option<i32>,
    outcome: Option<String>,
}

fn runs(log: &str, name: &str) -> Vec<Logged> {
    let mut runs: Vec<Logged> = Vec::new();
    let start = format!(" {name}[");
    for line in log.lines() {
        let Some((run, what)) = line.split_once(&start).and_then(|(_, rest)| rest.split_once("]: ")) else {
            continue;
        };
        if !runs.iter().any(|known| known.run == run) {
            runs.push(Logged { run: run.to_owned(), ..Logged::default() });
        }
        let known = runs.iter_mut().find(|known| known.run == run).expect("a run");
        if let Some(rest) = what.strip_prefix("run started pid=") {
            known.pid = rest.split(' ').next().and_then(|pid| pid.parse().ok());
        } else if let Some((_, rest)) = what.split_once(" outcome=") {
            known.outcome = rest.rsplit_once(" lasted=").map(|(outcome, _)| outcome.to_owned());
        }
    }
    runs
}

/// Every process that is in the group or the session of the run, or was started with its id.
fn left_of(logged: &Logged) -> Vec<String> {
    let marker = format!("TWITCHER_RUN_ID={}", logged.run);
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_of_group = [2, 3].iter().any(|&field| fields[field].parse() == Ok(logged.pid.unwrap_or(-1)));
        let is_marked = environment.split(|&byte| byte == 0).any(|variable| variable == marker.as_bytes());
        (is_of_group || is_marked).then_some(stat)
    })
    .collect()
}

fn in_millis(mut all: Vec<Duration>) -> String {
    all.sort();
    let millis = |at: usize| all[at].as_secs_f64() * 1e3;
    format!("{:6.1} {:6.1} {:5}", millis(all.len() / 2), millis(all.len() - 1), all.len())
}

/// One after the other, so that each is seen to do no harm by itself.
struct Table {
    daemon: Daemon,
    minder: Process,
    client: Client,
    punctual: Punctual,
    latencies: Vec<Duration>,
    report: String,
}

impl Table {
    fn row(&mut self, mut hostile: Hostile) {
        let name = hostile.name;
        let mut latencies = Vec::new();
        for (number, expected) in hostile.outcomes.iter().enumerate() {
            self.client.set(&format!("/{name}"), &hostile.contents);
            let find = |log: &str| runs(log, name).get(number).cloned();
            eventually(DEADLINE, format!("a run of {name}"), || find(&self.daemon.log()));
            if let Some(act) = hostile.once_started.take() {
                act();
            }
            // Only a gigabyte takes long.
            let end = Instant::now() + 10 * DEADLINE;
            let logged = loop {
                latencies.extend((0..UPDATES).map(|_| self.punctual.update()));
                let logged = find(&self.daemon.log()).expect("the run");
                if logged.outcome.is_some() {
                    break logged;
                }
                assert!(Instant::now() < end, "{name} goes on: {logged:?}");
            };
            let outcome = logged.outcome.clone().unwrap_or_default();
            assert!(outcome.starts_with(expected), "{name}: {outcome}, not {expected}");
            eventually(DEADLINE, format!("nothing to be left of {name}"), || match left_of(&logged) {
                left if left.is_empty() => Ok(()),
                left => Err(left),
            });
        }
        eventually(DEADLINE, format!("no child of the minder's after {name}"), || {
            let children = self.minder.children();
            if children.is_empty() { Ok(()) } else { Err(children) }
        });
        assert!(self.daemon.is_running(), "the daemon after {name}");
        assert_eq!(self.daemon.minders(), [self.minder], "the minder after {name}");
        self.latencies.extend(&latencies);
        writeln!(self.report, "{name:36} {}", in_millis(latencies)).expect("text");
    }
}

#[test]
fn p5_p6_no_hostile_child_delays_another_watch_or_leaves_anything_behind() {
    let site = Site::new("hostile");
    let late = site.folder.join("late");
    let all: Vec<Hostile> = [selfish(&site.folder), unruly(&site.folder, &late), impossible(&site.folder)]
        .into_iter()
        .flatten()
        .collect();
    let (mut punctual, watch) = Punctual::new(&site.folder, Client::connect(&site.zookeeper));
    let mut daemon = site.builder().watch("punctual.toml", watch);
    for hostile in &all {
        site.client.create(&format!("/{}", hostile.name), "");
        daemon = daemon.watch(&format!("{}.toml", hostile.name), &hostile.watch);
    }
    let daemon = daemon.start();
    punctual.expect();
    daemon.wait_until_ready();
    let names: Vec<&str> = all.iter().map(|hostile| hostile.name).collect();
    for name in &names {
        assert!(runs(&daemon.log(), name).is_empty(), "{name} ran without an update");
    }
    let alone: Vec<Duration> = (0..5 * UPDATES).map(|_| punctual.update()).collect();
    let minder = daemon.minder();
    let report = format!("from an update to its run, in ms{:>10} {:>6} {:>5}\n", "median", "most", "runs");
    let mut table = Table { daemon, minder, client: site.client, punctual, latencies: Vec::new(), report };
    writeln!(table.report, "{:36} {}", "(nothing else)", in_millis(alone)).expect("text");
    all.into_iter().for_each(|hostile| table.row(hostile));
    assert!(late.exists(), "the grandchild that printed late has not come to its end");
    assert!(table.daemon.log().contains("]| said after the end"), "{}", table.daemon.log());
    let latencies = std::mem::take(&mut table.latencies);
    writeln!(table.report, "{:36} {}", "(all of them)", in_millis(latencies)).expect("text");

    // And then all at once. What they had is gone in part, so that only that each comes to an end matters.
    let before: Vec<usize> = names.iter().map(|name| runs(&table.daemon.log(), name).len()).collect();
    let mut together = Vec::new();
    for name in &names {
        table.client.set(&format!("/{name}"), "again");
    }
    let end = Instant::now() + 10 * DEADLINE;
    loop {
        together.extend((0..UPDATES).map(|_| table.punctual.update()));
        let log = table.daemon.log();
        let goes_on: Vec<&str> = std::iter::zip(&names, &before)
            .filter(|&(name, &before)| {
                runs(&log, name).get(before).is_none_or(|logged| logged.outcome.is_none())
            })
            .map(|(name, _)| *name)
            .collect();
        if goes_on.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "still there: {goes_on:?}");
    }
    writeln!(table.report, "{:36} {}", "(all at once)", in_millis(together)).expect("text");
    assert_eq!(table.daemon.minders(), [table.minder]);
    assert_eq!(table.daemon.stop().code(), Some(0));
    eventually(DEADLINE, "the minder to end", || !table.minder.is_alive());
    eprintln!("{}", table.report);
}
