//! What a minder knows, and what it does when it hears of its children, their output, the daemon and the time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, Uid};

use crate::minder::census::{Aim, Census, Found, Look};
use crate::minder::cgroup::{self, Cgroups};
use crate::minder::life::{Action, Event, Life};
use crate::minder::peer::Peer;
use crate::minder::process::Process;
use crate::minder::processes;
use crate::minder::reap::{peek_dead, reap};
use crate::minder::records::{Left, Named, Record, Records};
use crate::minder::run::{Main, Run, wall_ms};
use crate::minder::script::Scripts;
use crate::minder::spawn::{self, Prepared, Surroundings};
use crate::run::protocol::{Ending, Executable, Minded, PROTOCOL, Report, Request, Start};
use crate::schedule::order::RunId;

/// How long the daemon that started it has to connect.
const FIRST_DAEMON: Duration = Duration::from_secs(30);

/// How often it is tried to remove the cgroups of runs that left processes behind.
const SWEEP: Duration = Duration::from_secs(30);

/// How many connections may have said nothing yet; of more, the oldest goes.
const MOST_STRANGERS: usize = 8;

/// How much is read at once, so that one that prints without end does not keep the others
/// waiting: as much as a pipe holds unless it was grown.
const READ_AT_ONCE: usize = 64 << 10;

/// What an epoll event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    Children,
    Census,
    /// A connection, by the number it was given.
    Peer(u64),
    Output(RunId),
    /// The main process of a run that is not this minder's child.
    Orphan(RunId),
}

impl Source {
    /// Mark what belongs to a run, whose id is the rest: ids are microseconds since 1970, far below them.
    const OUTPUT: u64 = 1 << 63;
    const ORPHAN: u64 = 1 << 62;

    fn token(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Children => 1,
            Self::Census => 2,
            Self::Peer(number) => number,
            Self::Output(run) => Self::OUTPUT | run.as_u64(),
            Self::Orphan(run) => Self::ORPHAN | run.as_u64(),
        }
    }

    fn of(token: u64) -> Self {
        match token {
            0 => Self::Listener,
            1 => Self::Children,
            2 => Self::Census,
            run if run & Self::OUTPUT != 0 => Self::Output(RunId::from_u64(run & !Self::OUTPUT)),
            run if run & Self::ORPHAN != 0 => Self::Orphan(RunId::from_u64(run & !Self::ORPHAN)),
            number => Self::Peer(number),
        }
    }

    fn event(self, flags: EpollFlags) -> EpollEvent {
        EpollEvent::new(flags, self.token())
    }
}

/// What there is to be heard.
#[derive(Debug)]
pub struct Events([EpollEvent; 256]);

impl Default for Events {
    fn default() -> Self {
        Self([EpollEvent::empty(); 256])
    }
}

impl Events {
    /// The first so many.
    #[must_use]
    pub fn first(&self, ready: usize) -> &[EpollEvent] {
        &self.0[..ready]
    }
}

/// A run whose process is being made.
#[derive(Debug)]
pub struct Making {
    record: Record,
    prepared: Prepared,
    /// When it was ordered.
    began: Instant,
}

impl Making {
    /// Its process.
    #[must_use]
    pub fn process(&self) -> Arc<Process> {
        Arc::clone(&self.prepared.process)
    }
}

/// What a minder works with.
#[derive(Debug)]
pub struct Around {
    /// What takes the place of what a child does not have.
    pub dev_null: OwnedFd,
    /// The binary that it runs.
    pub executable: Executable,
    /// This process.
    pub this: Named,
    /// What is left of runs on disk.
    pub records: Records,
    /// Where scripts are put.
    pub scripts: Scripts,
    /// Where each run gets a cgroup, if it does.
    pub cgroups: Option<Cgroups>,
}

/// The minder's whole state.
#[derive(Debug)]
pub struct Minder {
    around: Around,
    census: Census,
    epoll: Epoll,
    /// The number of the last connection.
    last_peer: u64,
    listener: UnixListener,
    signals: SignalFd,
    daemon: Option<(u64, Peer)>,
    /// The daemon gives its orders to another minder.
    retires: bool,
    /// Connections that have not said `Hello`.
    strangers: BTreeMap<u64, Peer>,
    /// What was said and is not carried out, with the connection that said it; `None`: it says no more.
    said: VecDeque<(u64, Option<(Request, Bytes)>)>,
    runs: BTreeMap<RunId, Run>,
    mains: HashMap<Pid, RunId>,
    /// Until when it stays without a daemon and without a run.
    patience: Instant,
    /// Whether the daemon was told that no records can be kept, since when none could.
    said_unrecorded: bool,
    /// When cgroups that could not be removed are tried again.
    sweep_at: Option<Instant>,
    /// What is read into. Here and not on a stack, of which each thread that takes the minder on has one.
    buffer: Box<[u8]>,
}

impl Minder {
    /// A minder that listens.
    ///
    /// # Errors
    /// When there is nothing to wait with.
    pub fn new(listener: UnixListener, signals: SignalFd, around: Around) -> io::Result<Self> {
        let minder = Self {
            around,
            census: Census::new()?,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            last_peer: Source::Census.token(),
            listener,
            signals,
            daemon: None,
            retires: false,
            strangers: BTreeMap::new(),
            said: VecDeque::new(),
            runs: BTreeMap::new(),
            mains: HashMap::new(),
            patience: Instant::now() + FIRST_DAEMON,
            said_unrecorded: false,
            // A minder that died may have left some.
            sweep_at: Some(Instant::now()),
            buffer: vec![0; READ_AT_ONCE].into(),
        };
        minder.epoll.add(&minder.listener, Source::Listener.event(EpollFlags::EPOLLIN))?;
        minder.epoll.add(&minder.signals, Source::Children.event(EpollFlags::EPOLLIN))?;
        minder.epoll.add(minder.census.ready(), Source::Census.event(EpollFlags::EPOLLIN))?;
        Ok(minder)
    }

    /// Does what is due, and waits until there is something to be heard: so many events. `None`: there is neither a
    /// daemon nor a run, and no more to do.
    ///
    /// # Errors
    /// When waiting fails, for which there is no reason but a bug.
    pub fn end_turn(&mut self, events: &mut Events) -> io::Result<Option<usize>> {
        loop {
            self.do_what_is_due();
            if self.is_done(Instant::now()) {
                self.leave_ends();
                return Ok(None);
            }
            match self.epoll.wait(&mut events.0, self.timeout(Instant::now())) {
                // Only the time.
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(ready) => return Ok(Some(ready)),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Minds the time, and passes on what there is to be told.
    pub fn do_what_is_due(&mut self) {
        self.watch_time();
        self.pass_output_on();
        self.flush();
        self.forget();
    }

    /// Takes in what there is to be heard. What it is asked to do by that, `carry_out` does.
    pub fn hear(&mut self, event: &EpollEvent) {
        match Source::of(event.data()) {
            Source::Listener => self.accept(),
            Source::Children => self.hear_children(),
            Source::Census => self.hear_census(),
            Source::Peer(number) => self.hear_peer(number),
            Source::Output(run) => self.hear_output(run),
            Source::Orphan(run) => self.hear_orphan(run),
        }
    }

    /// What no daemon has taken note of is kept for one that comes later.
    fn leave_ends(&self) {
        for run in self.runs.values().filter(|run| !run.is_noted()) {
            if let Some(end) = run.end()
                && self.around.records.leave(end, &run.output).is_ok()
            {
                self.around.records.forget_started(run.id);
            }
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        match &self.daemon {
            Some((_, daemon)) => self.retires && self.runs.is_empty() && !daemon.has_outgoing(),
            None => self.minds_nothing() && now >= self.patience,
        }
    }

    /// Whether every run has ended and what those that they left behind print is no longer waited for.
    fn minds_nothing(&self) -> bool {
        self.runs.values().all(|run| run.end().is_some() && run.is_silent())
    }

    /// How long nothing happens by itself.
    fn timeout(&self, now: Instant) -> EpollTimeout {
        let mut next = self.runs.values().filter_map(|run| run.wake_at(now)).min();
        next = next.into_iter().chain(self.sweep_at).chain(self.census.wake_at(now)).min();
        if self.daemon.is_none() && self.minds_nothing() {
            next = next.into_iter().chain([self.patience]).min();
        }
        let Some(next) = next else { return EpollTimeout::NONE };
        // Rounded up: a moment too early would be waited for in a busy loop.
        let millis = next.saturating_duration_since(now).as_micros().div_ceil(1000);
        EpollTimeout::try_from(millis.min(60_000)).unwrap_or(EpollTimeout::ZERO)
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let allowed = getsockopt(&stream, PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == Uid::effective().as_raw());
            let Ok(peer) = Peer::new(stream) else { continue };
            if !allowed {
                continue;
            }
            self.last_peer += 1;
            if self.epoll.add(&peer, Source::Peer(self.last_peer).event(EpollFlags::EPOLLIN)).is_ok() {
                self.strangers.insert(self.last_peer, peer);
            }
            if self.strangers.len() > MOST_STRANGERS {
                self.strangers.pop_first();
            }
        }
    }

    fn hear_peer(&mut self, number: u64) {
        let from_daemon = self.daemon.as_ref().is_some_and(|(known, _)| *known == number);
        let heard = match &mut self.daemon {
            Some((_, peer)) if from_daemon => peer.read(&mut self.buffer),
            _ => match self.strangers.get_mut(&number) {
                Some(peer) => peer.read(&mut self.buffer),
                None => return,
            },
        };
        let Ok(said) = heard else {
            self.part_from(number);
            return;
        };
        self.said.extend(said.messages.into_iter().map(|message| (number, Some(message))));
        if said.is_all {
            self.said.push_back((number, None));
        }
    }

    /// Does what was asked of it, up to a process that has to be made; `None`: that was all.
    pub fn carry_out(&mut self) -> Option<Making> {
        // Also the last that a daemon has said before it died: the next one learns what came of it.
        while let Some((number, message)) = self.said.pop_front() {
            let Some((request, payload)) = message else {
                self.part_from(number);
                continue;
            };
            match request {
                Request::Hello { .. } => self.welcome(number),
                Request::Unknown => {}
                // Orders are taken from the daemon that was welcomed last, and from no other: what an
                // earlier one has sent and died of could start a run that this one knows nothing of.
                _ if self.daemon.as_ref().is_none_or(|(known, _)| *known != number) => {}
                Request::Start(start) => {
                    if let Some(making) = self.start(&start, &payload) {
                        return Some(making);
                    }
                }
                Request::Noted { run } => {
                    if let Some(run) = self.runs.get_mut(&run) {
                        if run.was_left() {
                            self.around.records.forget(run.id);
                        } else {
                            self.around.records.forget_started(run.id);
                        }
                        run.set_noted();
                    }
                }
                Request::End { run } => self.step(run, Event::EndAsked, Instant::now()),
                Request::Signal { run, signal } => {
                    if let (Some(run), Ok(signal)) = (self.runs.get(&run), Signal::try_from(signal)) {
                        run.signal_group(signal);
                    }
                }
                Request::Adopt => self.adopt(Instant::now()),
                Request::Retire => self.retires = true,
            }
        }
        None
    }

    fn part_from(&mut self, number: u64) {
        self.strangers.remove(&number);
        if self.daemon.as_ref().is_some_and(|(known, _)| *known == number) {
            self.daemon = None;
            self.patience = Instant::now();
        }
    }

    fn welcome(&mut self, number: u64) {
        let Some(mut peer) = self.strangers.remove(&number) else { return };
        let executable = self.around.executable.clone();
        peer.send_list(list(self.runs.values()), |runs, more| Report::Welcome {
            protocol: PROTOCOL,
            executable,
            runs,
            more,
        });
        self.daemon = Some((number, peer));
        self.retires = false;
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        runs.into_iter().for_each(|run| self.tell_end(run));
    }

    /// Tells the daemon, if there is one, that a run has ended, if it has: after what it has printed, as it happened.
    fn tell_end(&mut self, id: RunId) {
        if self.runs.get(&id).is_none_or(|run| run.end().is_none()) {
            return;
        }
        self.pass_on(id);
        if let Some(run) = self.runs.get(&id)
            && let Some(end) = run.end()
        {
            let (report, last) = (Report::Ended(Box::new(end.clone())), run.output.last());
            self.tell(&report, &last);
        }
    }

    fn tell(&mut self, report: &Report, payload: &[u8]) {
        if let Some((_, daemon)) = &mut self.daemon {
            daemon.send(report, payload);
        }
    }

    /// Prepares a run's process, if there can be one.
    fn start(&mut self, start: &Start, contents: &Bytes) -> Option<Making> {
        if self.runs.contains_key(&start.run) {
            self.tell(&Report::Trouble { message: format!("run {} was ordered twice", start.run) }, &[]);
            return None;
        }
        let began = Instant::now();
        let mut record = Record {
            run: start.run,
            about: start.about.clone(),
            minder: self.around.this,
            started_ms: wall_ms(),
            timeout_ms: start.timeout_ms,
            kill_after_ms: start.kill_after_ms,
            cgroup: None,
            script: None,
        };
        match self.prepare(start, contents, &mut record) {
            Ok(prepared) => Some(Making { record, prepared, began }),
            Err(why) => {
                self.take_up(Run::stillborn(record, why, began));
                None
            }
        }
    }

    fn prepare(&self, start: &Start, contents: &Bytes, record: &mut Record) -> Result<Prepared, String> {
        if let Some(text) = &start.script {
            let script = self.around.scripts.write(start.run, text, start.identity.as_ref());
            record.script = Some(script.map_err(|error| format!("cannot write its script: {error}"))?);
        }
        record.cgroup = self.around.cgroups.as_ref().and_then(|cgroups| cgroups.make(start.run));
        let own_record = self.around.records.prepare(record).map_err(|error| error.to_string())?;
        let surroundings = Surroundings {
            dev_null: self.around.dev_null.as_fd(),
            script: record.script.as_deref(),
            cgroup: record.cgroup.as_deref(),
            record: own_record,
        };
        spawn::prepare(start, contents, surroundings)
    }

    /// A run's process was made, or why it was not.
    pub fn made(&mut self, making: Making, made: Result<Pid, Errno>) {
        let Making { record, prepared: Prepared { process, output, failure }, began } = making;
        // With it goes the child's end of its output, so that this end tells when the last of it is closed.
        drop(process);
        self.take_up(match made {
            Ok(pid) => Run::alive(record, pid, output, failure, began),
            Err(errno) => Run::stillborn(record, spawn::explain(errno), began),
        });
    }

    fn take_up(&mut self, run: Run) {
        if let Some(pid) = run.pid() {
            self.mains.insert(pid, run.id);
            self.tell(&Report::Started { run: run.id, pid: pid.as_raw() }, &[]);
        }
        if let Some(pipe) = run.pipe() {
            let _ = self.epoll.add(pipe, Source::Output(run.id).event(EpollFlags::EPOLLIN));
        }
        if let Some(end) = run.end() {
            self.tell(&Report::Ended(Box::new(end.clone())), &[]);
        }
        self.runs.insert(run.id, run);
    }

    /// Goes on with what minders that are gone have left.
    fn adopt(&mut self, now: Instant) {
        let mut adopted = Vec::new();
        for left in self.around.records.left() {
            let run = match left {
                Left::Started(record, main) if !self.runs.contains_key(&record.run) => {
                    let _ = self.around.records.take_over(&record, main, self.around.this);
                    Run::orphan(record, main, now)
                }
                Left::Ended(end, output) if !self.runs.contains_key(&end.run) => Run::ended(end, output, now),
                Left::Started(..) | Left::Ended(..) => continue,
            };
            if let Some(Main::Orphan { handle, .. }) = run.main() {
                let _ = self.epoll.add(handle, Source::Orphan(run.id).event(EpollFlags::EPOLLIN));
            }
            adopted.push(run);
        }
        if let Some((_, daemon)) = &mut self.daemon {
            daemon.send_list(list(&adopted), |runs, more| Report::Adopted { runs, more });
        }
        for run in adopted {
            let id = run.id;
            self.runs.insert(id, run);
            self.tell_end(id);
        }
    }

    fn hear_orphan(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(Main::Orphan { handle, .. }) = run.main() else { return };
        // Stays readable: it would be heard of without end.
        let _ = self.epoll.delete(handle);
        self.step(id, Event::MainEnded(Ending::Lost), Instant::now());
    }

    fn hear_output(&mut self, id: RunId) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.read_output(&mut self.buffer);
        }
    }

    /// Main processes go through their life, and are reaped when it is over; what else is a child of this
    /// process came to it when its parent died, and is reaped at once.
    fn hear_children(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        let now = Instant::now();
        while let Some(dead) = peek_dead(None) {
            match self.mains.get(&dead.pid) {
                Some(&run) => {
                    self.step(run, Event::MainEnded(dead.how.into()), now);
                    if self.mains.contains_key(&dead.pid) {
                        // It stays a zombie for now, and would be the one that is seen first for ever.
                        return self.hear_each_child(now);
                    }
                }
                None => drop(reap(dead.pid)),
            }
        }
    }

    fn hear_each_child(&mut self, now: Instant) {
        let mains: Vec<(Pid, RunId)> = self.mains.iter().map(|(&pid, &run)| (pid, run)).collect();
        for (pid, run) in mains {
            let waits = self.runs.get_mut(&run).and_then(|run| Some(run.life()?.0.waits_for_survivors()));
            if waits == Some(false)
                && let Some(dead) = peek_dead(Some(pid))
            {
                self.step(run, Event::MainEnded(dead.how.into()), now);
            }
        }
        for child in processes::children() {
            if !self.mains.contains_key(&child) && peek_dead(Some(child)).is_some() {
                let _ = reap(child);
            }
        }
    }

    /// One step in the life of a run, and what follows from it.
    fn step(&mut self, id: RunId, event: Event, now: Instant) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some((life, kill_after)) = run.life() else { return };
        match life.step(now, kill_after, event) {
            Action::Nothing => {}
            Action::Terminate => self.signal(id, vec![Signal::SIGTERM, Signal::SIGCONT]),
            Action::ReportStuck => {
                let stuck = Report::Stuck { run: id, watch: run.watch().to_owned() };
                self.tell(&stuck, &[]);
            }
            Action::Kill => {
                self.signal(id, vec![Signal::SIGKILL]);
                if let Some(run) = self.runs.get_mut(&id) {
                    run.look_again_soon(now);
                }
            }
            Action::LookForSurvivors => self.look_for_survivors(id),
            Action::Finish(ending) => self.finish(id, ending, now),
            Action::KillAndFinish(ending) => {
                run.signal_group(Signal::SIGKILL);
                self.finish(id, ending, now);
            }
        }
    }

    /// Sends signals to all of a run: first it is found out what that is, since the end of one process takes away
    /// the signs of who came from it.
    fn signal(&mut self, id: RunId, signals: Vec<Signal>) {
        self.look(id, Aim::Signal(signals));
    }

    /// What was being forked while the others were killed is killed when it is found.
    fn look_for_survivors(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let is_killed = matches!(run.life(), Some((Life::Killed { .. }, _)));
        if run.begin_to_look() {
            self.look(id, Aim::Survivors(if is_killed { vec![Signal::SIGKILL] } else { Vec::new() }));
        }
    }

    fn look(&mut self, id: RunId, aim: Aim) {
        let Some(run) = self.runs.get(&id) else { return };
        let (main, started, strays) = match run.main() {
            // Only what came to this process when its parent died says nothing of where it came from.
            Some(Main::Child { pid, .. }) => {
                let known: HashSet<Pid> = self.mains.keys().copied().collect();
                (*pid, None, Some((self.around.this.pid, Arc::new(known))))
            }
            // Where the children of another minder went when it died depends on what was above it.
            Some(Main::Orphan { named, .. }) => (Pid::from_raw(named.pid), Some(named.start_time), None),
            None => return,
        };
        let cgroup = run.cgroup().cloned();
        self.census.look(Look { run: id, main, started, strays, cgroup, aim });
    }

    fn hear_census(&mut self) {
        let now = Instant::now();
        for Found { run: id, aim, is_any } in self.census.found() {
            match aim {
                Aim::Signal(signals) => {
                    let Some(run) = self.runs.get(&id) else { continue };
                    for signal in signals {
                        // Those of the group get it twice, which no standard signal can tell from once.
                        run.signal_group(signal);
                        if signal == Signal::SIGKILL {
                            run.cgroup().into_iter().for_each(|cgroup| cgroup::kill(cgroup));
                        }
                    }
                }
                Aim::Survivors(signals) => {
                    let Some(run) = self.runs.get_mut(&id) else { continue };
                    run.end_of_look();
                    if !is_any {
                        self.step(id, Event::Empty, now);
                        continue;
                    }
                    run.look_again_later(now);
                    if !signals.is_empty() {
                        run.signal_group(Signal::SIGKILL);
                        run.cgroup().into_iter().for_each(|cgroup| cgroup::kill(cgroup));
                    }
                }
            }
        }
    }

    fn watch_over_census(&mut self, now: Instant) {
        let message = match self.census.watch_over(now) {
            None => return,
            Some(Ok(pid)) => format!(
                "process {pid} does not let itself be looked at in /proc, as one that waits for a file server; if it belongs to a run that is ended, it may be left"
            ),
            Some(Err(error)) => format!("cannot look for the processes of runs: {error}; trying again"),
        };
        self.tell(&Report::Trouble { message }, &[]);
    }

    /// Nothing but the records tells who comes after this process what goes on: the daemon's people should
    /// know where there are none.
    fn tell_if_unrecorded(&mut self, id: RunId) {
        let trouble = if self.around.records.has_started(id) { None } else { self.around.records.trouble() };
        let is_news = trouble.is_some() && !self.said_unrecorded;
        self.said_unrecorded = trouble.is_some();
        if let Some(trouble) = trouble.filter(|_| is_news) {
            let message = format!(
                "cannot keep a record of runs {trouble}; should this minder be killed, what runs is lost sight of"
            );
            self.tell(&Report::Trouble { message }, &[]);
        }
    }

    fn finish(&mut self, id: RunId, ending: Ending, now: Instant) {
        self.tell_if_unrecorded(id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let usage = match run.main() {
            Some(Main::Child { pid, .. }) => {
                self.mains.remove(pid);
                reap(*pid)
            }
            Some(Main::Orphan { .. }) | None => None,
        };
        if run.cgroup().is_some_and(|cgroup| std::fs::remove_dir(cgroup).is_err()) {
            self.sweep_at = Some(now + SWEEP);
        }
        // Its record stays until the daemon has taken note of its end: should this process die before, a run
        // without a record is one that never came to execute anything, and is started again.
        run.finish(ending, usage, now, &mut self.buffer);
        self.tell_end(id);
    }

    fn watch_time(&mut self) {
        let now = Instant::now();
        if self.sweep_at.is_some_and(|at| at <= now) {
            let left = self.around.cgroups.as_ref().is_some_and(Cgroups::sweep);
            self.sweep_at = left.then(|| now + SWEEP);
        }
        self.watch_over_census(now);
        let due = |run: &Run| run.wake_at(now).is_some_and(|at| at <= now);
        let due: Vec<RunId> = self.runs.values().filter(|run| due(run)).map(|run| run.id).collect();
        for id in due {
            self.step(id, Event::Time, now);
            if let Some(run) = self.runs.get_mut(&id) {
                run.stop_listening_if_late(now);
            }
        }
    }

    fn pass_output_on(&mut self) {
        let ids: Vec<RunId> =
            self.runs.values().filter(|run| !run.output.is_settled()).map(|run| run.id).collect();
        for id in ids {
            self.pass_on(id);
        }
    }

    fn pass_on(&mut self, id: RunId) {
        let (Some((_, daemon)), Some(run)) = (&mut self.daemon, self.runs.get_mut(&id)) else { return };
        let over = run.is_silent() && run.end().is_some();
        loop {
            let room = daemon.room_for_output();
            if room == 0 {
                return;
            }
            let lines =
                if over { run.output.take_rest() } else { run.output.take_lines(Instant::now(), room) };
            let Some(lines) = lines else { return };
            let output = Report::Output { run: id, watch: run.watch().to_owned(), dropped: lines.dropped };
            daemon.send(&output, &lines.bytes);
        }
    }

    fn flush(&mut self) {
        let Some((number, daemon)) = &mut self.daemon else { return };
        if daemon.flush() {
            let more = if daemon.has_outgoing() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let mut event = Source::Peer(*number).event(EpollFlags::EPOLLIN | more);
            let _ = self.epoll.modify(&*daemon, &mut event);
        }
    }

    fn forget(&mut self) {
        self.runs.retain(|_, run| !run.is_over());
    }
}

/// The runs as they are told, first those that go on: the daemon of an earlier release hears no more than fits into one
/// message.
fn list<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<Minded> {
    let (ended, going_on): (Vec<&Run>, Vec<&Run>) = runs.into_iter().partition(|run| run.end().is_some());
    going_on.into_iter().chain(ended).map(Run::minded).collect()
}
