//! One of the hosts: a daemon with folders, a network and watch files of its own, and what was done to them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::chance::Chance;
use crate::child::monotonic_us;
use crate::harness::{Daemon, Folder, Proxy};
use crate::plan::{A_FILE, Watch};
use crate::runs::Runs;

/// What was done to a host that may be the reason for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A daemon was started.
    Started,
    /// Its minders were killed.
    MindersKilled,
    /// The definition of the watch of this name was changed.
    Redefined(String),
}

/// What is the matter with a daemon, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemonic {
    Running,
    Frozen(Instant),
    Dead(Instant),
}

#[derive(Debug)]
struct WatchFile {
    name: String,
    watches: Vec<Watch>,
    /// A part of the timeout of each watch, in the order of their names.
    millis: Vec<u64>,
    /// In which order they are in the file.
    order: Vec<usize>,
    broken_until: Option<Instant>,
}

pub struct Host {
    pub name: &'static str,
    pub daemon: Daemon,
    pub state: Daemonic,
    pub runs: Runs,
    /// What was done, and when in microseconds of the monotonic clock.
    pub done: Vec<(u64, Done)>,
    proxies: Vec<Proxy>,
    cut_until: Vec<Option<Instant>>,
    late_until: Option<Instant>,
    files: Vec<WatchFile>,
    program: PathBuf,
    folder: Folder,
}

impl Host {
    /// Starts a daemon that reaches each of the servers through a network of its own.
    pub fn start(name: &'static str, servers: &[String], chroot: &str, watches: &[Watch]) -> Self {
        let folder = Folder::new();
        let runs = Runs::new(&folder);
        let proxies: Vec<Proxy> = servers.iter().map(|address| Proxy::to(address)).collect();
        let addresses: Vec<String> = proxies.iter().map(Proxy::address).collect();
        let program = std::env::current_exe().expect("this program");
        let files: Vec<WatchFile> = (0..)
            .zip(watches.chunks(A_FILE))
            .map(|(number, watches)| WatchFile {
                name: format!("part-{number:02}.toml"),
                watches: watches.to_vec(),
                millis: vec![0; watches.len()],
                order: (0..watches.len()).collect(),
                broken_until: None,
            })
            .collect();
        let mut builder = Daemon::builder(&folder, &format!("{}{chroot}", addresses.join(",")))
            .argument("--verbose")
            .settings(&format!("[zookeeper]\nsession_timeout = \"2s\"\n[daemon]\nhostname = \"{name}\"\n"));
        for file in &files {
            builder = builder.watch(&file.name, file.text(&program, &folder));
        }
        let done = vec![(monotonic_us(), Done::Started)];
        Self {
            name,
            daemon: builder.start(),
            state: Daemonic::Running,
            runs,
            done,
            cut_until: proxies.iter().map(|_| None).collect(),
            proxies,
            late_until: None,
            files,
            program,
            folder,
        }
    }

    /// Ends what was to last until now.
    pub fn heal(&mut self, now: Instant) {
        match self.state {
            Daemonic::Frozen(until) if until <= now => {
                self.daemon.signal(Signal::SIGCONT);
                self.state = Daemonic::Running;
            }
            Daemonic::Dead(until) if until <= now => {
                self.note(Done::Started);
                self.daemon.start_again();
                self.state = Daemonic::Running;
            }
            Daemonic::Running | Daemonic::Frozen(_) | Daemonic::Dead(_) => {}
        }
        for (proxy, until) in self.proxies.iter().zip(&mut self.cut_until) {
            if until.take_if(|until| *until <= now).is_some() {
                proxy.heal();
            }
        }
        if self.late_until.take_if(|until| *until <= now).is_some() {
            self.proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
        }
        for at in 0..self.files.len() {
            if self.files[at].broken_until.take_if(|until| *until <= now).is_some() {
                self.write(at, true);
            }
        }
    }

    /// Whether the daemon is there unless it was killed.
    pub fn is_well(&mut self) -> bool {
        matches!(self.state, Daemonic::Dead(_)) || self.daemon.is_running()
    }

    /// Cuts the connections to one server, or to all. False: there is nothing left to be cut.
    pub fn cut(&mut self, only: Option<usize>, until: Instant) -> bool {
        let mut done = false;
        for (at, proxy) in self.proxies.iter().enumerate() {
            if only.is_none_or(|only| only == at) && self.cut_until[at].is_none() {
                proxy.cut();
                self.cut_until[at] = Some(until);
                done = true;
            }
        }
        done
    }

    pub fn delay(&mut self, late: Duration, until: Instant) -> bool {
        self.proxies.iter().for_each(|proxy| proxy.delay(late));
        self.late_until.replace(until).is_none()
    }

    pub fn freeze(&mut self, until: Instant) -> bool {
        if self.state != Daemonic::Running {
            return false;
        }
        self.daemon.signal(Signal::SIGSTOP);
        self.state = Daemonic::Frozen(until);
        true
    }

    pub fn kill_daemon(&mut self, until: Instant) -> bool {
        if matches!(self.state, Daemonic::Dead(_)) {
            return false;
        }
        self.daemon.kill();
        self.state = Daemonic::Dead(until);
        true
    }

    /// How many there were to be killed.
    pub fn kill_minders(&mut self) -> usize {
        let minders = self.daemon.minders();
        // Before, since what follows may follow at once.
        self.note(Done::MindersKilled);
        minders.iter().for_each(|minder| minder.signal(Signal::SIGKILL));
        minders.len()
    }

    /// Writes a file as it is.
    pub fn touch(&mut self, chance: &mut Chance) -> bool {
        let at = chance.below(self.files.len());
        self.write(at, chance.one_in(2))
    }

    /// Writes the tables of a file in another order.
    pub fn reorder(&mut self, chance: &mut Chance) -> bool {
        let at = chance.below(self.files.len());
        chance.shuffle(&mut self.files[at].order);
        self.write(at, chance.one_in(2))
    }

    /// Changes the timeout of one watch.
    pub fn redefine(&mut self, chance: &mut Chance) -> bool {
        let at = chance.below(self.files.len());
        let file = &mut self.files[at];
        let which = chance.below(file.watches.len());
        file.millis[which] = chance.between(1, 200);
        let name = file.watches[which].name.clone();
        self.note(Done::Redefined(name));
        self.write(at, true);
        true
    }

    /// Leaves a file in a state in which nobody can read it.
    pub fn break_file(&mut self, chance: &mut Chance, until: Instant) -> bool {
        let at = chance.below(self.files.len());
        let text = self.files[at].text(&self.program, &self.folder);
        let end = chance.below(text.len());
        self.daemon.scribble_watch(&self.files[at].name, format!("{}\n[[watch", &text[..end]));
        self.files[at].broken_until.replace(until).is_none()
    }

    /// Writes a file that is not broken, in one step or where it is.
    fn write(&mut self, at: usize, in_one_step: bool) -> bool {
        let file = &self.files[at];
        if file.broken_until.is_some() {
            return false;
        }
        let text = file.text(&self.program, &self.folder);
        if in_one_step {
            self.daemon.write_watch(&file.name, text);
        } else {
            // In this way only what changes nothing: what the daemon may see before it is whole could lack a
            // table, and that would be a change of its own.
            self.daemon.append_to_watch(&file.name, "# touched\n");
        }
        true
    }

    fn note(&mut self, done: Done) {
        self.done.push((monotonic_us(), done));
    }
}

impl WatchFile {
    fn text(&self, program: &std::path::Path, folder: &std::path::Path) -> String {
        let table = |&at: &usize| self.watches[at].table(program, folder, self.millis[at]);
        self.order.iter().map(table).collect()
    }
}
