//! The program under test: daemons with folders of their own, and the other subcommands.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use zookeeper_client::Stat;

use super::http::{self, Answer};
use super::ledger::has_applied;
use super::minders::{end_minders, minders};
use super::process::Process;
use super::{DEADLINE, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_twitcher");

/// Makes a copy of the program. As with a package manager another file takes the place of the one that is there.
pub fn install(destination: &Path) {
    let new = destination.with_extension("new");
    fs::copy(PROGRAM, &new).expect("a copy of the program");
    fs::rename(new, destination).expect("a copy in its place");
}

/// The program, to be given arguments, with nothing of the tests' environment but the search path.
pub fn twitcher() -> Command {
    let mut command = Command::new(PROGRAM);
    clean(&mut command);
    command
}

/// The program, which heeds Ctrl-C although whoever has started the tests may not, as what a shell has started in the
/// background.
pub fn interruptible_twitcher() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", PROGRAM]);
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    command.env_clear();
    command.envs(["PATH", "RUST_BACKTRACE"].iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null());
}

/// How a daemon is to be started.
pub struct Builder {
    folder: PathBuf,
    program: PathBuf,
    servers: Vec<OsString>,
    log: Vec<OsString>,
    old_words: bool,
    settings: String,
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Builder {
    /// Adds to the daemon's settings file, which is empty otherwise.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self
    }

    /// Puts a watch file in place before the daemon starts.
    pub fn watch(self, file: &str, toml: impl AsRef<str>) -> Self {
        write_watch(&self.folder, file, toml.as_ref());
        self
    }

    /// Leaves it to the settings and the environment where ZooKeeper is.
    pub fn without_servers(mut self) -> Self {
        self.servers.clear();
        self
    }

    /// Has it log there, with these arguments, and not to stderr.
    pub fn logging(mut self, arguments: &[&str]) -> Self {
        self.log = arguments.iter().map(Into::into).collect();
        self
    }

    /// Writes the options as the twitcher of the 2010s had them.
    pub fn in_old_words(mut self) -> Self {
        self.old_words = true;
        self
    }

    /// Executes the program from this copy of it.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    /// Adds to the daemon's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has the daemon executed by another program, such as `setpriv`.
    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    /// Starts the daemon. It need not have come far when this returns.
    pub fn start(self) -> Daemon {
        fs::write(self.folder.join("twitcher.toml"), &self.settings).expect("the daemon's settings");
        let mut daemon = Daemon { builder: self, child: None, log_before: 0 };
        daemon.start_again();
        daemon
    }
}

/// A daemon, running or not. Its end is that of its minders and of their children.
pub struct Daemon {
    builder: Builder,
    child: Option<Child>,
    /// How much was logged before the last start, in bytes.
    log_before: usize,
}

impl Daemon {
    /// A daemon that keeps its files in this folder, which no other does, and finds ZooKeeper there.
    pub fn builder(folder: &Path, zkservers: &str) -> Builder {
        for name in ["watches", "state", "run"] {
            let path = folder.join(name);
            fs::create_dir(&path).expect("a folder for the daemon");
            // Whatever this process' umask is: the daemon refuses watches in a folder that others can write to.
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a folder for the daemon");
        }
        Builder {
            folder: folder.to_owned(),
            program: PROGRAM.into(),
            servers: vec!["--zkservers".into(), zkservers.into()],
            log: vec!["--log-to-stderr".into()],
            old_words: false,
            settings: String::new(),
            wrapper: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Starts a daemon that is not running, as it was started before. Its log goes on.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "this daemon runs already");
        let builder = &self.builder;
        let at = |name: &str| builder.folder.join(name).into_os_string();
        let mut options: Vec<OsString> = vec!["--config".into(), at("twitcher.toml")];
        options.extend(["--config-path".into(), at("watches")]);
        options.extend(["--state-dir".into(), at("state")]);
        options.extend(["--run-dir".into(), at("run")]);
        options.extend(builder.servers.iter().chain(&builder.log).cloned());
        if builder.old_words {
            for option in &mut options {
                let text = option.to_string_lossy();
                if let Some(word) = text.strip_prefix("--") {
                    *option = format!("--{}", word.replace('-', "_")).into();
                }
            }
        }
        let mut words: Vec<OsString> = builder.wrapper.clone();
        words.extend([builder.program.clone().into(), "run".into()]);
        words.extend(options);
        words.extend(builder.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        clean(&mut command);
        command.args(&words[1..]).envs(builder.environment.iter().map(|(name, value)| (name, value)));
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("the log");
        self.log_before = usize::try_from(log.metadata().expect("the log").len()).expect("its length");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the daemon");
        self.child = Some(child);
    }

    /// Puts a watch file in place in one step, as an editor or a configuration tool does.
    pub fn write_watch(&self, file: &str, toml: impl AsRef<str>) {
        write_watch(&self.builder.folder, file, toml.as_ref());
    }

    /// Writes a watch file where it is, so that the daemon may see it before it is whole.
    pub fn scribble_watch(&self, file: &str, text: impl AsRef<str>) {
        // Not fs::write, so that nothing is changed but the contents of a file that is there.
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).truncate(true).open(self.watches().join(file)).expect("a watch file");
        file.write_all(text.as_ref().as_bytes()).expect("a watch file");
    }

    /// Adds to a watch file where it is.
    pub fn append_to_watch(&self, file: &str, text: impl AsRef<str>) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).open(self.watches().join(file)).expect("a watch file");
        file.write_all(text.as_ref().as_bytes()).expect("a watch file");
    }

    /// Takes a watch file out of the config folder.
    pub fn remove_watch(&self, file: &str) {
        fs::remove_file(self.watches().join(file)).expect("the watch file to go");
    }

    /// The folder that all of its files are in.
    pub fn folder(&self) -> &Path {
        &self.builder.folder
    }

    /// The config folder.
    pub fn watches(&self) -> PathBuf {
        self.builder.folder.join("watches")
    }

    /// The run folder.
    pub fn run_dir(&self) -> PathBuf {
        self.builder.folder.join("run")
    }

    /// The state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.builder.folder.join("state")
    }

    /// What the daemon has logged since it was first started.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).expect("the daemon's log")).into_owned()
    }

    /// Waits for a text in the log.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        eventually(DEADLINE, format!("{text:?} in the daemon's log"), || {
            let log = self.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    /// Waits until a text is in the log so often.
    #[track_caller]
    pub fn wait_for_log_times(&self, text: &str, times: usize) {
        eventually(DEADLINE, format!("{text:?} in the daemon's log, {times} times"), || {
            let log = self.log();
            if log.matches(text).count() >= times { Ok(()) } else { Err(log) }
        });
    }

    /// Waits until the daemon that was started last has looked at all that is watched.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually(DEADLINE, "the daemon to be ready", || {
            let log = fs::read(self.log_path()).expect("the daemon's log");
            let log = String::from_utf8_lossy(&log[self.log_before..]).into_owned();
            if log.contains("ready: watching ") { Ok(()) } else { Err(log) }
        });
    }

    /// Waits until what this watch last ended well with, as it is on disk, is this state of its znode.
    #[track_caller]
    pub fn wait_until_applied(&self, watch: &str, stat: &Stat) {
        let ledger = self.state_dir().join("ledger.json");
        eventually(DEADLINE, format!("{watch} in the ledger"), || has_applied(&ledger, watch, stat));
    }

    /// A connection with its control socket, on which a read fails that waits for too long; or why there is none.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.run_dir().join("control.sock"))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// A connection with its control socket.
    #[track_caller]
    pub fn control(&self) -> UnixStream {
        self.connect().expect("the control socket")
    }

    /// What its control socket answers, as to `GET /livez`.
    #[track_caller]
    pub fn ask(&self, request: &str) -> Answer {
        http::ask(self.control(), request).expect("an answer")
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().expect("a running daemon").id()).expect("a pid")
    }

    /// The running daemon.
    pub fn process(&self) -> Process {
        Process::find(self.pid()).expect("a running daemon")
    }

    /// The pid of the daemon's one minder, once there is one.
    pub fn minder_pid(&self) -> i32 {
        self.minder().pid()
    }

    /// The daemon's one minder, once there is one.
    #[track_caller]
    pub fn minder(&self) -> Process {
        eventually(DEADLINE, "one minder", || match self.minders()[..] {
            [minder] => Ok(minder),
            ref others => Err(others.to_vec()),
        })
    }

    /// Every minder that listens in this daemon's run folder.
    pub fn minders(&self) -> Vec<Process> {
        minders(&self.run_dir(), &self.builder.program)
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Asks the daemon to stop, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends the daemon without a warning. Its minder stays.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("a running daemon");
        child.kill().expect("a child to kill");
        child.wait().expect("a child to reap");
    }

    /// Waits until the daemon has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a running daemon");
        let status = eventually(DEADLINE, "the daemon to end", || child.try_wait().expect("a child"));
        self.child = None;
        status
    }

    /// Whether the daemon has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("a child").is_none())
    }

    fn log_path(&self) -> PathBuf {
        self.builder.folder.join("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        end_minders(&self.run_dir(), &self.builder.program);
        if thread::panicking() {
            eprintln!("--- log of the daemon in {}\n{}---", self.builder.folder.display(), self.log());
        }
    }
}

fn write_watch(folder: &Path, file: &str, toml: &str) {
    let draft = folder.join("draft");
    fs::write(&draft, toml).expect("a draft of a watch file");
    fs::set_permissions(&draft, Permissions::from_mode(0o644)).expect("a draft of a watch file");
    let path = folder.join("watches").join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for watch files");
    fs::rename(&draft, path).expect("a watch file in its place");
}
