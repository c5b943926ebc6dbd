//! How long it takes from an order to the first instruction of the child: through the minder, from a small
//! and from a large daemon, and with `posix_spawn` beside it, which is what the standard library starts a
//! plain child with.
//!
//! The child is a static C program whose first act is to read the monotonic clock, which it then prints. The
//! daemon's place is taken by a process of its own that holds as much memory as it is told to, all of it
//! touched, has a minder, and starts one child at a time when it is asked to. All four ways take turns, so
//! that what else the machine does falls on all of them alike; medians are compared. Ends with 1 when one of
//! the ratios is not as promised.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use twitcher::run::protocol::{About, Decoder, OutputTo, PROTOCOL, Report, Request, Start, encode};
use twitcher::schedule::order::RunId;
use twitcher::watch::update::{Event, Version};

const CHILD: &str = r#"
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    return 0;
}
"#;

const SAMPLES: usize = 1000;
const WARM_UP: usize = 50;
const SIZES_MB: [usize; 2] = [10, 500];
const WAYS: [&str; 2] = ["posix_spawn", "minder"];

/// The most that the minder may take, in parts of what `posix_spawn` takes, and the large daemon in parts of
/// the small one.
const MOST: (f64, f64) = (1.5, 1.2);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let done = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some("daemon"), Some(megabytes), Some(folder)) => {
            be_daemon(&megabytes, Path::new(&folder)).map(|()| true)
        }
        _ => compare(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Outcome<bool> {
    // A run folder is on a file system in memory, as `/run` is.
    let memory = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(if memory.is_dir() { memory } else { Path::new("/tmp") })?;
    compile(folder.path())?;
    let mut daemons = Vec::new();
    for megabytes in SIZES_MB {
        daemons.push(Daemon::start(megabytes, folder.path())?);
    }
    let mut samples = vec![[Vec::new(), Vec::new()]; daemons.len()];
    for turn in 0..SAMPLES + WARM_UP {
        for (daemon, samples) in daemons.iter_mut().zip(&mut samples) {
            for (way, samples) in WAYS.iter().zip(samples) {
                let took = daemon.sample(way)?;
                if turn >= WARM_UP {
                    samples.push(took);
                }
            }
        }
    }
    println!("from the order to the child's first instruction, µs, {SAMPLES} of each:");
    println!("{:>10}  {:<12} {:>8} {:>8} {:>8} {:>8}", "resident", "way", "10 %", "median", "90 %", "ratio");
    let mut medians = Vec::new();
    for (daemon, samples) in daemons.iter().zip(&mut samples) {
        let figures = samples.each_mut().map(|samples| quantiles(samples));
        let ratios = figures.map(|[_, median, _]| median / figures[0][1]);
        for ((way, [low, median, high]), ratio) in WAYS.iter().zip(figures).zip(ratios) {
            let resident = format!("{} MB", daemon.resident_mb()?);
            println!("{resident:>10}  {way:<12} {low:>8.0} {median:>8.0} {high:>8.0} {ratio:>8.2}");
        }
        medians.push((figures[1][1], ratios[1]));
    }
    let worst = medians.iter().map(|(_, ratio)| *ratio).fold(0.0, f64::max);
    let growth = medians[1].0 / medians[0].0;
    println!("minder / posix_spawn: {worst:.2} at the worst; at most {} is promised", MOST.0);
    println!("minder of the large daemon / of the small one: {growth:.2}; at most {} is promised", MOST.1);
    Ok(worst <= MOST.0 && growth <= MOST.1)
}

fn quantiles(samples: &mut [f64]) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [1, 5, 9].map(|part| samples[samples.len() * part / 10])
}

fn compile(folder: &Path) -> Outcome<()> {
    let source = folder.join("child.c");
    fs::write(&source, CHILD)?;
    let mut command = Command::new("cc");
    command.args(["-O2", "-static", "-o"]).arg(folder.join("child")).arg(source);
    if command.status()?.success() { Ok(()) } else { Err("cc has not compiled the child".into()) }
}

/// A process in the daemon's place, as this one has it.
struct Daemon {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(megabytes: usize, folder: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["daemon", &megabytes.to_string()]).arg(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Has one child started, and says how long that took, in microseconds.
    fn sample(&mut self, way: &str) -> Outcome<f64> {
        writeln!(self.stdin, "{way}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().parse::<f64>()? / 1000.0)
    }

    fn resident_mb(&self) -> Outcome<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? / 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Outcome<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(u64::try_from(now.as_nanos())?)
}

/// Takes the daemon's place: for each line that says in which way, starts a child and prints how long that
/// took, in nanoseconds.
fn be_daemon(megabytes: &str, folder: &Path) -> Outcome<()> {
    // Other than zero, so that every page is there.
    let held = vec![1u8; megabytes.parse::<usize>()? << 20];
    let program = folder.join("child").to_str().ok_or("a path that is no text")?.to_owned();
    let minders = folder.join(megabytes).join("minder");
    fs::create_dir_all(&minders)?;
    let mut minder = Minder::start(&minders, program.clone())?;
    for (number, way) in std::io::stdin().lines().enumerate() {
        let way = way?;
        let before = now()?;
        let printed = if way == "minder" {
            minder.run(number as u64 + 1)?
        } else {
            let mut command = Command::new(&program);
            String::from_utf8(command.env_clear().stdin(Stdio::null()).output()?.stdout)?
        };
        println!("{}", printed.trim().parse::<u64>()?.checked_sub(before).ok_or("a clock that goes back")?);
    }
    std::hint::black_box(held);
    Ok(())
}

/// A connection to a minder that has no other, and that ends with it.
struct Minder {
    stream: UnixStream,
    decoder: Decoder,
    program: String,
}

impl Minder {
    fn start(folder: &Path, program: String) -> Outcome<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twitcher"));
        command.env_clear().arg("minder").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdout.take().ok_or("no pipe")?.read_to_end(&mut Vec::new())?;
        let stream = UnixStream::connect(folder.join(format!("{}.sock", child.id())))?;
        let mut minder = Self { stream, decoder: Decoder::default(), program };
        minder.say(&Request::Hello { protocol: PROTOCOL })?;
        Ok(minder)
    }

    fn say(&mut self, request: &Request) -> Outcome<()> {
        Ok(self.stream.write_all(&encode(request, &[])?)?)
    }

    /// Runs the program to its end, and returns what it printed.
    fn run(&mut self, run: u64) -> Outcome<String> {
        let run = RunId::from_u64(run);
        let (event, version) = (Event::Changed, Version::default());
        self.say(&Request::Start(Box::new(Start {
            run,
            about: About { watch: "bench".into(), znode: "/bench".into(), event, version, attempt: 1 },
            argv: vec![self.program.clone()],
            script: None,
            env: Vec::new(),
            directory: "/".into(),
            umask: 0o022,
            identity: None,
            stdin: false,
            output: OutputTo::Report,
            timeout_ms: None,
            kill_after_ms: 1000,
        })))?;
        let mut printed = None;
        let mut buffer = [0; 64 << 10];
        loop {
            while let Some((report, payload)) = self.decoder.next_message()? {
                match report {
                    Report::Output { .. } => printed = Some(String::from_utf8(payload.to_vec())?),
                    Report::Ended(_) => {
                        self.say(&Request::Noted { run })?;
                        return Ok(printed.ok_or("the child has printed nothing")?);
                    }
                    _ => {}
                }
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err("the minder has gone".into()),
                length => self.decoder.push(&buffer[..length]),
            }
        }
    }
}
