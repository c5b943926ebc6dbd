//! The case that twitcher exists for, on one machine: a push to a git repository, and three hosts that
//! have pulled a moment later.
//!
//! Started with `make demo`. It needs the program itself in the folder that cargo built both in. Everything
//! it makes is in a temporary folder, and gone when it ends, whether that is asked for or a step failed.

// The tests' own, of which the demo needs a part: hence `dead_code`.
#[allow(dead_code)]
#[path = "../tests/harness/minders.rs"]
mod minders;
#[allow(dead_code)]
#[path = "../tests/harness/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../tests/harness/zookeeper.rs"]
mod zookeeper;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tempfile::TempDir;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use process::Process;
use zookeeper::Server;
use zookeeper::eventually::{DEADLINE, within};

const HOSTS: [&str; 3] = ["alpha", "bravo", "charlie"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = arguments == ["--once"];
    if !once && !arguments.is_empty() {
        eprintln!("usage: make demo [ARGS=--once]\n\n--once: end as soon as all three hosts have pulled");
        return ExitCode::from(2);
    }
    match play(once) {
        Ok(ControlFlow::Continue(())) => ExitCode::SUCCESS,
        // Somebody pressed Ctrl-C: no failure, except of what was to show that all three hosts have pulled.
        Ok(ControlFlow::Break(())) => ExitCode::from(u8::from(once)),
        Err(error) => {
            eprintln!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Goes through the case. `Break`: it was asked to end.
fn play(once: bool) -> Result<ControlFlow<()>> {
    let (sender, events) = mpsc::channel();
    pass_on_signals(sender.clone())?;
    println!("twitcher: one push, three hosts\n");
    let stage = Stage::set()?;
    println!("  ZooKeeper   {}", stage.server.address());
    println!("  repository  origin.git, whose post-receive hook runs: twitcher poke /git/head");
    println!("  hosts       {}, each with a daemon and a clone;", HOSTS.join(", "));
    println!("              when /git/head changes they run: git pull --ff-only\n");

    let mut audience = Audience::of(&stage, sender, events)?;
    // A push that comes before the daemons is pulled as soon as they are up.
    let commit = stage.commit_and_push("Say hello", "hello\n")?;
    let _hosts = HOSTS.into_iter().map(|name| stage.start_host(name)).collect::<Result<Vec<Host>>>()?;
    if audience.watch_until_all_are_at(&commit, Telling::Nothing)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }

    let commit = stage.commit_and_push("Say good day", "good day\n")?;
    if audience.watch_until_all_are_at(&commit, Telling::All)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    if !once {
        println!("{}", stage.what_to_try());
        audience.watch_until_asked_to_end();
        println!("\nTaking it all down.");
    }
    Ok(ControlFlow::Continue(()))
}

/// What the demo waits for.
enum Event {
    /// The branch of a repository moved.
    Moved(Move),
    /// A signal asks for the end.
    Asked,
}

/// A repository that is at another commit.
struct Move {
    /// The name of the host whose clone it is, or of the repository that all of them pull from.
    whose: &'static str,
    commit: String,
    when: Instant,
}

/// From here on, a signal that would end the process is an event instead.
fn pass_on_signals(sender: Sender<Event>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()?;
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate, hangup] = &mut signals[..] else { return };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                    _ = hangup.recv() => (),
                }
                // When nobody listens any more, the end has begun.
                let _ = sender.send(Event::Asked);
            }
        });
    });
    Ok(())
}

/// All that there is but the daemons.
struct Stage {
    server: Server,
    folder: TempDir,
    program: PathBuf,
}

impl Stage {
    fn set() -> Result<Self> {
        let example = std::env::current_exe()?;
        let built = example.parent().and_then(Path::parent).context("no folder that cargo builds in")?;
        let program = built.join("twitcher");
        ensure!(program.exists(), "{} is missing; 'make demo' builds it", program.display());
        let folder = tempfile::Builder::new().prefix("twitcher-demo-").tempdir()?;
        let stage = Self { server: Server::start(), folder, program };
        stage.make_repositories()?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A bare repository with a hook, a clone to work in, and one for each host.
    fn make_repositories(&self) -> Result<()> {
        // Nobody's own settings of git are to matter here, nor is who owns the folder.
        write(
            &self.path("gitconfig"),
            0o644,
            "[user]\n\tname = twitcher\n\temail = twitcher@localhost\n[safe]\n\tdirectory = *\n",
        )?;
        // A short word for the program, for the hook and for the one who tries things.
        let twitcher = self.path("twitcher");
        let shortcut = format!(
            "#!/bin/sh\nTWITCHER_ZKSERVERS={} exec '{}' \"$@\"\n",
            self.server.address(),
            self.program.display()
        );
        write(&twitcher, 0o755, &shortcut)?;
        self.git("", &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"])?;
        let hook = format!("#!/bin/sh\nexec '{}' poke /git/head --create\n", twitcher.display());
        write(&self.path("origin.git/hooks/post-receive"), 0o755, &hook)?;
        self.git("", &["init", "--quiet", "--initial-branch=main", "work"])?;
        // For the one who commits there with settings of their own, or none.
        self.git("work", &["config", "user.name", "twitcher"])?;
        self.git("work", &["config", "user.email", "twitcher@localhost"])?;
        self.git("work", &["remote", "add", "origin", "../origin.git"])?;
        self.commit_and_push("Begin", "")?;
        for host in HOSTS {
            fs::create_dir(self.path(host))?;
            self.git(host, &["clone", "--quiet", "../origin.git", "clone"])?;
        }
        Ok(())
    }

    /// Returns the commit.
    fn commit_and_push(&self, message: &str, greeting: &str) -> Result<String> {
        write(&self.path("work/greeting"), 0o644, greeting)?;
        self.git("work", &["add", "greeting"])?;
        self.git("work", &["commit", "--quiet", "--message", message])?;
        self.git("work", &["push", "--quiet", "--set-upstream", "origin", "main"])?;
        self.git("work", &["rev-parse", "HEAD"])
    }

    /// Returns what it printed, without the end of the line.
    fn git(&self, folder: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(Path::new("git"));
        let output = command
            .current_dir(self.path(folder))
            .args(arguments)
            .output()
            .context("git cannot be executed; 'make deps' installs it")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "git {}: {}", arguments.join(" "), error.trim());
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// A program to be executed without the settings of git and of twitcher that this process was given.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if ["GIT_", "TWITCHER_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        // A branch is a file then, which can be watched.
        command.env("GIT_DEFAULT_REF_FORMAT", "files");
        // Out of the reach of a Ctrl-C, which is for this process to act upon.
        command.process_group(0).stdin(Stdio::null());
        command
    }

    fn start_host(&self, name: &str) -> Result<Host> {
        let home = self.path(name);
        for folder in ["watches", "state", "run"] {
            fs::create_dir(home.join(folder))?;
            // Whatever the umask is: watches that others can write to are refused.
            fs::set_permissions(home.join(folder), Permissions::from_mode(0o755))?;
        }
        let settings = format!(
            "[zookeeper]\nservers = {:?}\n\n[daemon]\nhostname = {name:?}\nconfig_dir = {:?}\n\
             state_dir = {:?}\nrun_dir = {:?}\n",
            self.server.address(),
            home.join("watches"),
            home.join("state"),
            home.join("run"),
        );
        write(&home.join("twitcher.toml"), 0o644, &settings)?;
        let watch = format!(
            "# Change this while the daemon runs: it is taken in as soon as it is saved.\n\
             [[watch]]\n\
             znode = \"/git/head\"\n\
             command = [\"git\", \"-C\", {:?}, \"pull\", \"--ff-only\"]\n\
             env = {{ GIT_CONFIG_GLOBAL = {:?}, GIT_CONFIG_NOSYSTEM = \"1\" }}\n",
            home.join("clone"),
            self.path("gitconfig"),
        );
        write(&home.join("watches/git-pull.toml"), 0o644, &watch)?;
        let daemon = self
            .command(&self.program)
            .args(["run", "--log-to-stderr", "--config"])
            .arg(home.join("twitcher.toml"))
            .stdout(Stdio::null())
            .stderr(File::create(home.join("log"))?)
            .spawn()
            .with_context(|| format!("{} cannot be executed", self.program.display()))?;
        Ok(Host { daemon, run_dir: home.join("run"), program: self.program.clone() })
    }

    fn what_to_try(&self) -> String {
        format!(
            "\nAll of it runs on until you press Ctrl-C. Try this in another terminal:\n\n  \
             cd {}\n  \
             git -C work commit --allow-empty -m again && git -C work push\n  \
             ./twitcher poke /git/head                   # the same without a push\n  \
             ${{EDITOR:-vi}} alpha/watches/git-pull.toml   # change what alpha runs, and save\n  \
             tail -f alpha/log                           # see what alpha does\n",
            self.folder.path().display()
        )
    }
}

/// Writes a file with this mode, whatever the umask is.
fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let written =
        fs::write(path, text).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    written.with_context(|| path.display().to_string())
}

/// A daemon that is taken down when this goes, with its minder and what that runs.
struct Host {
    daemon: Child,
    run_dir: PathBuf,
    program: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(daemon) = i32::try_from(self.daemon.id()).ok().and_then(Process::find) {
            daemon.signal(Signal::SIGTERM);
        }
        if !within(DEADLINE, || !matches!(self.daemon.try_wait(), Ok(None))) {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        minders::end_minders(&self.run_dir, &self.program);
        // The folder goes next, and a minder that is still ending would find it gone.
        within(DEADLINE, || minders::minders(&self.run_dir, &self.program).is_empty());
    }
}

/// What is told of what is seen.
#[derive(Clone, Copy, PartialEq)]
enum Telling {
    Nothing,
    All,
}

/// Sees what the repositories are at, and tells.
struct Audience {
    events: Receiver<Event>,
    /// Where each host's log is, and the commit that its clone was seen at.
    hosts: BTreeMap<&'static str, (PathBuf, String)>,
    /// The commit that was pushed last, and when it came to the repository.
    pushed: Option<(String, Instant)>,
    _watcher: RecommendedWatcher,
}

/// What stands for the repository that all hosts pull from.
const ORIGIN: &str = "origin";

impl Audience {
    fn of(stage: &Stage, sender: Sender<Event>, events: Receiver<Event>) -> Result<Self> {
        let branches = |folder: &str| stage.path(folder).join("refs/heads");
        let mut folders = vec![(ORIGIN, branches("origin.git"), String::new())];
        folders.extend(HOSTS.map(|host| (host, branches(&format!("{host}/clone/.git")), String::new())));
        let watched: Vec<PathBuf> = folders.iter().map(|(_, folder, _)| folder.clone()).collect();
        // What moved is read where it is noticed, so that the time is right whatever the demo is doing.
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let when = Instant::now();
            let Ok(event) = event else { return };
            for (whose, folder, seen) in &mut folders {
                if !event.paths.iter().any(|path| path.starts_with(&*folder)) {
                    continue;
                }
                let Ok(commit) = fs::read_to_string(folder.join("main")) else { continue };
                if commit != *seen {
                    seen.clone_from(&commit);
                    let commit = commit.trim().to_owned();
                    // When nobody listens any more, the end has begun.
                    let _ = sender.send(Event::Moved(Move { whose, commit, when }));
                }
            }
        })?;
        for folder in &watched {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        let hosts = HOSTS.map(|host| (host, (stage.path(host).join("log"), String::new())));
        Ok(Self { events, hosts: hosts.into(), pushed: None, _watcher: watcher })
    }

    fn watch_until_all_are_at(&mut self, commit: &str, telling: Telling) -> Result<ControlFlow<()>> {
        let end = Instant::now() + DEADLINE;
        while self.hosts.values().any(|(_, at)| at != commit) {
            let Ok(event) = self.events.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                bail!(self.who_is_late(commit));
            };
            match event {
                Event::Moved(moved) => self.see(moved, telling),
                Event::Asked => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn watch_until_asked_to_end(&mut self) {
        while let Ok(Event::Moved(moved)) = self.events.recv() {
            self.see(moved, Telling::All);
        }
    }

    fn see(&mut self, moved: Move, telling: Telling) {
        let short = moved.commit.get(..7).unwrap_or(&moved.commit).to_owned();
        if let Some((_, at)) = self.hosts.get_mut(moved.whose) {
            at.clone_from(&moved.commit);
        } else {
            self.pushed = Some((moved.commit.clone(), moved.when));
        }
        if telling == Telling::Nothing {
            return;
        }
        match &self.pushed {
            Some(_) if moved.whose == ORIGIN => println!("  pushed      {short}"),
            Some((commit, since)) if *commit == moved.commit => {
                let after = moved.when.saturating_duration_since(*since).as_millis();
                println!("  {:<10}  {short}  {after:>4} ms after the push", moved.whose);
            }
            _ => (),
        }
    }

    fn who_is_late(&self, commit: &str) -> String {
        let mut text = format!("after {DEADLINE:?} not every host has pulled {commit}");
        for (host, (log, at)) in &self.hosts {
            if at != commit {
                let log = fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
                let lines: Vec<&str> = log.lines().collect();
                text += &format!("\n\nthe log of {host} ends with:\n");
                text += &lines[lines.len().saturating_sub(20)..].join("\n");
            }
        }
        text
    }
}
