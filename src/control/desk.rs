//! Asks the parts of the daemon that know, and puts together what they answer.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tokio::sync::{mpsc, oneshot, watch};

use super::api::{
    Before, ConnectionState, FileProblem, Fired, FiredEnd, Killed, Problem, Reloaded, Runs, Status, Steered,
    Watch, ZooKeeper,
};
use super::describe::{Now, describe};
use super::route::Wait;
use super::scrape::{self, Scene, WatchScene};
use super::survey::Survey;
use crate::config::changes::Outdated;
use crate::config::loader::ReloadRequest;
use crate::config::problem::Problem as ConfigProblem;
use crate::config::spec::WatchName;
use crate::record::events::{EventId, Following, Subscription};
use crate::record::history::Output;
use crate::record::metrics::exposition::Exposition;
use crate::record::metrics::process;
use crate::record::reader::{LastRuns, Reader};
use crate::record::writer::LostLines;
use crate::schedule::ask::{self, Accepted, Ask, Awaited, NotRun, Stand};
use crate::schedule::order::{Outcome, RunId};
use crate::schedule::step::Gate;
use crate::watch::connection::Connection;
use crate::watch::hub::{self, Readings};
use crate::watch::subscriptions::ZnodeState;
use crate::watch::update::{FireId, Unfit};

/// What does not change as long as the daemon runs.
#[derive(Debug, Clone)]
pub struct About {
    /// What it calls this host.
    pub host: String,
    /// The connect string.
    pub servers: String,
    /// The folder of watch files.
    pub config_dir: PathBuf,
    /// Since when it runs.
    pub started: Timestamp,
}

/// What is wrong with the watch files.
#[derive(Debug, Default)]
pub struct Wrong {
    /// All of it, by file.
    pub problems: Vec<ConfigProblem>,
    /// The watches that go on under their last good definition for that.
    pub outdated: Outdated,
}

/// Where the parts are asked.
#[derive(Debug, Clone)]
pub struct Desk {
    /// What does not change.
    pub about: About,
    /// What watches.
    pub hub: mpsc::Sender<hub::Ask>,
    /// What decides.
    pub scheduler: mpsc::Sender<Ask>,
    /// What reads the config folder.
    pub loader: mpsc::Sender<ReloadRequest>,
    /// How things stand with ZooKeeper.
    pub readings: Readings,
    /// What is wrong with the watch files.
    pub wrong: watch::Receiver<Wrong>,
    /// What is known of runs.
    pub records: Reader,
    /// The number of the next run that somebody wants.
    pub next_fire: Arc<AtomicU64>,
    /// How every watch stands.
    pub scenes: Survey<Vec<WatchScene>>,
    /// How the daemon does, as Prometheus reads it.
    pub exposition: Survey<Bytes>,
    /// How many lines the log did not take.
    pub lost_lines: LostLines,
}

impl Desk {
    /// The daemon, and every watch.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn status(&self) -> Result<Status, Problem> {
        let watches = self.watches().await?;
        Ok(Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.about.host.clone(),
            pid: std::process::id(),
            started: self.about.started,
            zookeeper: self.zookeeper(),
            running: watches.iter().map(|watch| watch.running.len()).sum(),
            problems: self.wrong.borrow().problems.iter().map(file_problem).collect(),
            watches,
        })
    }

    fn zookeeper(&self) -> ZooKeeper {
        let (state, since, session) = match *self.readings.connection.borrow() {
            Connection::Connecting { since } => (ConnectionState::Connecting, since, None),
            Connection::Connected { since, session } => {
                (ConnectionState::Connected, since, Some(format!("{session:#x}")))
            }
            Connection::Disconnected { since } => (ConnectionState::Disconnected, since, None),
        };
        let trouble = self.readings.trouble.borrow().clone();
        ZooKeeper { servers: self.about.servers.clone(), state, since, session, trouble }
    }

    /// Every watch, by name.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn watches(&self) -> Result<Vec<Watch>, Problem> {
        Ok(self.scenes().await?.iter().map(|one| one.watch.clone()).collect())
    }

    /// How the daemon does, or did at most so long ago, in Prometheus' text format.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn metrics(&self, age: Duration) -> Result<Bytes, Problem> {
        let desk = self.clone();
        let text = self.exposition.answer(age, async move { desk.expose().await.ok() }).await;
        text.map(|text| Bytes::clone(&text)).ok_or_else(stopping)
    }

    async fn expose(&self) -> Result<Bytes, Problem> {
        let watches = self.scenes().await?;
        let updates = self.ask(&self.scheduler, Ask::Tally).await?;
        let runs = self.records.metrics().await.ok_or_else(stopping)?;
        let broken: HashSet<_> =
            self.wrong.borrow().problems.iter().map(|problem| problem.file.clone()).collect();
        let scene = Scene {
            release: env!("CARGO_PKG_VERSION"),
            is_connected: matches!(*self.readings.connection.borrow(), Connection::Connected { .. }),
            reconnects: *self.readings.reconnects.borrow(),
            broken_files: broken.len(),
            loads: self.readings.looked.borrow().batches,
            watches,
            updates,
            runs,
            lost_lines: self.lost_lines.count(),
        };
        let mut exposition = Exposition::default();
        scrape::describe(&scene, &mut exposition);
        process::add(&mut exposition, scrape::seconds(self.about.started));
        Ok(exposition.finish().into())
    }

    async fn scenes(&self) -> Result<Arc<Vec<WatchScene>>, Problem> {
        let desk = self.clone();
        let look = async move { desk.look_at_all().await.ok() };
        self.scenes.answer(Duration::ZERO, look).await.ok_or_else(stopping)
    }

    async fn look_at_all(&self) -> Result<Vec<WatchScene>, Problem> {
        let stands = self.ask(&self.scheduler, Ask::Watches).await?;
        let mut znodes = self.ask(&self.hub, hub::Ask::Znodes).await?;
        let mut last = self.records.last_runs().await.ok_or_else(stopping)?;
        let now = Now::read();
        let scene = |stand: &Stand| {
            let last = last.remove(&stand.name).unwrap_or_default();
            self.scene(stand, znodes.remove(&stand.name), last, now)
        };
        let mut watches: Vec<WatchScene> = stands.iter().filter_map(scene).collect();
        watches.sort_by(|one, other| one.watch.name.cmp(&other.watch.name));
        Ok(watches)
    }

    /// How a watch stands; `None` where only a run is left of it.
    fn scene(
        &self,
        stand: &Stand,
        znode: Option<ZnodeState>,
        last: LastRuns,
        now: Now,
    ) -> Option<WatchScene> {
        let znode = znode.unwrap_or(ZnodeState::Unknown);
        let connection = *self.readings.connection.borrow();
        let runs = last.tally;
        let outdated = self.wrong.borrow().outdated.get(&stand.name).map(|problem| self.outdated(problem));
        let watch = describe(stand, stand.spec.as_deref()?, znode, connection, last, outdated, now);
        Some(WatchScene { watch, updates: stand.updates, runs })
    }

    fn outdated(&self, problem: &ConfigProblem) -> String {
        let below = problem.file.strip_prefix(&self.about.config_dir).unwrap_or(&problem.file);
        let problem = ConfigProblem { file: below.to_owned(), ..problem.clone() };
        format!("file broken: {}: {}", problem.location(), problem.message)
    }

    /// One watch.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn watch(&self, name: &WatchName) -> Result<Watch, Problem> {
        let none = || Problem::no_watch(name.as_str());
        let stand = self.ask(&self.scheduler, |reply| Ask::Watch(name.clone(), reply)).await?;
        let stand = stand.ok_or_else(none)?;
        let znode = self.ask(&self.hub, |reply| hub::Ask::Znode(name.clone(), reply)).await?;
        let last = self.records.last_runs_of(name).await.ok_or_else(stopping)?;
        self.scene(&stand, znode, last, Now::read()).map(|scene| scene.watch).ok_or_else(none)
    }

    /// The runs of a watch, also of one that is no longer defined.
    ///
    /// # Errors
    /// When there is none of that name, and never was within memory.
    pub async fn runs(&self, name: &WatchName) -> Result<Runs, Problem> {
        let runs = self.records.runs(name).await.ok_or_else(stopping)?;
        if runs.is_empty() {
            self.watch(name).await?;
        }
        Ok(Runs { runs })
    }

    /// What a run has printed, and what happens from then on.
    ///
    /// # Errors
    /// When nothing is kept of it.
    pub async fn follow_run(&self, run: RunId) -> Result<(Output, Subscription), Problem> {
        let (output, live) = self.records.follow_output(run).await.ok_or_else(stopping)?;
        let detail = || format!("nothing is kept of what run {run} has printed");
        Ok((output.ok_or_else(|| Problem::new(404, "no output", detail()))?, live))
    }

    /// What has happened since this event, as far as it is kept, and what happens from then on: in what has happened
    /// only what is about one of `watches`, unless that is none.
    ///
    /// # Errors
    /// When there is no watch of a name, and nothing has happened to one.
    pub async fn follow(&self, after: Option<u64>, watches: &[WatchName]) -> Result<Following, Problem> {
        let mut following = self.records.follow(after.map(EventId::from_u64)).await.ok_or_else(stopping)?;
        following.past.retain(|event| event.what.is_of_interest(watches));
        let told: HashSet<&WatchName> =
            following.past.iter().filter_map(|event| event.what.watch()).collect();
        let others: HashSet<&WatchName> = watches.iter().filter(|name| !told.contains(name)).collect();
        if others.len() > 1 {
            // As one question, however many they are.
            let scenes = self.scenes().await?;
            let known: HashSet<&str> = scenes.iter().map(|scene| scene.watch.name.as_str()).collect();
            let unknown = others.into_iter().find(|name| !known.contains(name.as_str()));
            return unknown.map_or(Ok(following), |name| Err(Problem::no_watch(name.as_str())));
        }
        for name in others {
            self.watch(name).await?;
        }
        Ok(following)
    }

    /// What the last run of a watch has printed, and what happens from then on; with `follow` also of one that has not
    /// run.
    ///
    /// # Errors
    /// When there is none of that name, or nothing to be told.
    pub async fn follow_output(
        &self,
        name: &WatchName,
        follow: bool,
    ) -> Result<(Option<Output>, Subscription), Problem> {
        let (output, live) = self.records.follow_watch(name).await.ok_or_else(stopping)?;
        if output.is_none() {
            self.watch(name).await?;
        }
        if output.is_none() && !follow {
            let detail = format!("nothing is kept of what a run of '{name}' has printed");
            return Err(Problem::new(404, "no output", detail));
        }
        Ok((output, live))
    }

    /// Has a watch run now, and waits for its start or its end if it is told to.
    ///
    /// # Errors
    /// When there will be no run, and why.
    pub async fn fire(&self, name: &WatchName, wait: Wait, by: Uid) -> Result<Fired, Problem> {
        let zookeeper = self.zookeeper();
        if zookeeper.state != ConnectionState::Connected {
            let detail = format!(
                "no connection with ZooKeeper since {:.0}: what the run is to be given cannot be read",
                zookeeper.since
            );
            return Err(Problem::new(503, "not connected", detail));
        }
        let fire = FireId(self.next_fire.fetch_add(1, Ordering::Relaxed));
        let (accepted, answer) = oneshot::channel();
        let (started, start) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        // In this order: what is not awaited when it comes is not run. The hub has a place for it before: else what is
        // awaited would be so for ever where who asks goes between the two.
        let awaited = Ask::Await(fire, Awaited { by, accepted, started, ended });
        let at_hub = self.hub.reserve().await.map_err(|_| stopping())?;
        self.scheduler.send(awaited).await.map_err(|_| stopping())?;
        at_hub.send(hub::Ask::Fire(name.clone(), fire));
        let Accepted { gate, run } = match answer.await.map_err(|_| stopping())? {
            Ok(accepted) => accepted,
            Err(why) => return Err(not_run(name, why)),
        };
        let reason = match gate {
            Gate::Open if run.is_none() && wait == Wait::No => Some("it waits for its turn".to_owned()),
            Gate::Open => None,
            Gate::Paused => Some("the watch is paused; it is run when it is resumed".to_owned()),
            Gate::Stopped => Some("a failure has stopped the watch; it is run when it is resumed".to_owned()),
        };
        // Nobody knows when one that is paused is resumed.
        let removed = |_| {
            Problem::new(
                410,
                "no longer defined",
                format!("'{name}' was removed or disabled before it was run"),
            )
        };
        let (run, end) = match wait {
            Wait::End if gate == Gate::Open => {
                let (run, outcome) = end.await.map_err(removed)?;
                (Some(run), Some(fired_end(&outcome)))
            }
            Wait::Start if gate == Gate::Open => (Some(start.await.map_err(removed)?), None),
            Wait::No | Wait::Start | Wait::End => (run, None),
        };
        Ok(Fired { is_open: gate == Gate::Open, reason, run: run.map(|run| run.to_string()), end })
    }

    /// Keeps a watch from running.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn pause(&self, name: &WatchName, by: Uid) -> Result<Steered, Problem> {
        self.steer(name, |reply| Ask::Pause(name.clone(), by, reply)).await
    }

    /// Lets a watch run again.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn resume(&self, name: &WatchName, by: Uid) -> Result<Steered, Problem> {
        self.steer(name, |reply| Ask::Resume(name.clone(), by, reply)).await
    }

    async fn steer(
        &self,
        name: &WatchName,
        ask: impl FnOnce(oneshot::Sender<Option<ask::Steered>>) -> Ask,
    ) -> Result<Steered, Problem> {
        let steered = self.ask(&self.scheduler, ask).await?;
        let ask::Steered { before, now } = steered.ok_or_else(|| Problem::no_watch(name.as_str()))?;
        Ok(Steered {
            watch: name.to_string(),
            changed: before != now.gate,
            before: match before {
                Gate::Open => Before::Open,
                Gate::Paused => Before::Paused,
                Gate::Stopped => Before::Stopped,
            },
            running: now.running.iter().map(ToString::to_string).collect(),
            waiting: now.waiting,
        })
    }

    /// Ends the runs of a watch, or sends them a signal.
    ///
    /// # Errors
    /// When there is none of that name, or nothing runs.
    pub async fn kill(&self, name: &WatchName, signal: Option<Signal>, by: Uid) -> Result<Killed, Problem> {
        let runs = self.ask(&self.scheduler, |reply| Ask::Kill(name.clone(), signal, by, reply)).await?;
        let runs = runs.ok_or_else(|| Problem::no_watch(name.as_str()))?;
        if runs.is_empty() {
            return Err(Problem::new(409, "nothing runs", format!("no run of '{name}' goes on")));
        }
        Ok(Killed { runs: runs.iter().map(ToString::to_string).collect() })
    }

    /// Has the config folder looked at, now.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn reload(&self) -> Result<Reloaded, Problem> {
        let summary = self.ask(&self.loader, |reply| ReloadRequest { reply }).await?;
        let names = |names: &[WatchName]| names.iter().map(ToString::to_string).collect();
        Ok(Reloaded {
            added: names(&summary.added),
            redefined: names(&summary.redefined),
            removed: names(&summary.removed),
            watches: summary.watches,
            files: summary.files,
            problems: summary.problems.iter().map(file_problem).collect(),
        })
    }

    /// Whether all that is watched was looked at.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readings.looked.borrow().is_complete()
    }

    async fn ask<Q, A>(
        &self,
        part: &mpsc::Sender<Q>,
        question: impl FnOnce(oneshot::Sender<A>) -> Q,
    ) -> Result<A, Problem> {
        let (reply, answer) = oneshot::channel();
        part.send(question(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

fn stopping() -> Problem {
    Problem::new(503, "stopping", "the daemon is stopping")
}

fn not_run(name: &WatchName, why: NotRun) -> Problem {
    match why {
        NotRun::Discarded => {
            Problem::new(409, "discarded", format!("a run of '{name}' goes on, and its run_mode is DISCARD"))
        }
        NotRun::Unfit(Unfit::Missing) => Problem::new(
            409,
            "no znode",
            format!("the znode of '{name}' does not exist: there is nothing to run it with"),
        ),
        NotRun::Unfit(Unfit::Unreadable) => Problem::new(
            409,
            "no access",
            format!("the ACL of the znode of '{name}' does not let the daemon read it"),
        ),
        NotRun::Unfit(Unfit::Unwatched) => {
            Problem::new(404, "no such watch", format!("there is no watch named '{name}' that is enabled"))
        }
    }
}

fn fired_end(outcome: &Outcome) -> FiredEnd {
    let exit_status = match outcome {
        Outcome::Exited(status) => u8::try_from(*status).unwrap_or(u8::MAX),
        Outcome::Signaled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        Outcome::TimedOut => 124,
        Outcome::SpawnFailed(_) | Outcome::Lost => 125,
    };
    FiredEnd { outcome: outcome.to_string(), exit_status }
}

fn file_problem(problem: &ConfigProblem) -> FileProblem {
    FileProblem {
        file: problem.file.display().to_string(),
        line: problem.place.as_ref().map(|place| place.line),
        column: problem.place.as_ref().map(|place| place.column),
        message: problem.message.clone(),
        help: problem.help.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::record::reader::{Request, reader};
    use crate::schedule::step::Standing;
    use crate::watch::hub::reports;
    use crate::watch::update::Beat;

    struct Rig {
        desk: Desk,
        scheduler: mpsc::Receiver<Ask>,
        hub: mpsc::Receiver<hub::Ask>,
        journal: mpsc::Receiver<Request>,
    }

    /// The parts are played by the test. Of the reports nothing is known but that there is no connection.
    fn rig() -> Rig {
        let ((scheduler_in, scheduler), (hub_in, hub)) = (mpsc::channel(1), mpsc::channel(1));
        let (records, journal) = reader();
        let (host, servers, started) = (String::new(), String::new(), Timestamp::UNIX_EPOCH);
        let desk = Desk {
            about: About { host, servers, config_dir: "/".into(), started },
            hub: hub_in,
            scheduler: scheduler_in,
            loader: mpsc::channel(1).0,
            readings: reports().1,
            wrong: watch::channel(Wrong::default()).1,
            records,
            next_fire: Arc::default(),
            scenes: Survey::default(),
            exposition: Survey::default(),
            lost_lines: LostLines::default(),
        };
        Rig { desk, scheduler, hub, journal }
    }

    #[tokio::test]
    async fn a_question_about_one_watch_is_put_to_each_part_about_that_one_alone() {
        let Rig { desk, mut scheduler, mut hub, mut journal } = rig();
        let name: WatchName = "a".try_into().unwrap();
        let parts = async {
            let Some(Ask::Watch(asked, reply)) = scheduler.recv().await else { panic!("all of them") };
            let text = b"[[watch]]\nznode = '/a'\ncommand = 'true'";
            let spec = crate::config::parse::parse("a.toml".as_ref(), text, &Default::default(), "a");
            let spec = Some(spec.unwrap().remove(0).spec);
            let standing = Standing { gate: Gate::Open, running: vec![], waiting: 0, hindrance: None };
            reply.send(Some(Stand { name: asked, spec, standing, updates: 0 })).unwrap();
            let Some(hub::Ask::Znode(_, reply)) = hub.recv().await else { panic!("all of them") };
            reply.send(Some(ZnodeState::Unreadable)).unwrap();
            let Some(Request::LastRunsOf(_, reply)) = journal.recv().await else { panic!("all of them") };
            reply.send(LastRuns::default()).unwrap();
            // Of one that there is not, nobody else is asked.
            let Some(Ask::Watch(_, reply)) = scheduler.recv().await else { panic!("all of them") };
            drop(reply.send(None));
        };
        let asking = async {
            let found = desk.watch(&name).await.unwrap();
            assert_eq!((&*found.name, found.state), ("a", crate::control::api::State::Unreadable));
            assert_eq!(desk.watch(&name).await.unwrap_err().title, "no such watch");
        };
        tokio::join!(parts, asking);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_before_the_hub_was_asked_for_a_run_leaves_nobody_waiting_for_it() {
        let Rig { mut desk, mut scheduler, hub, journal: _ } = rig();
        let since = Timestamp::UNIX_EPOCH;
        desk.readings.connection = watch::channel(Connection::Connected { since, session: 1 }).1;
        // It has no time for more.
        desk.hub.try_send(hub::Ask::Beat(Beat::default())).unwrap();
        let name = "a".try_into().unwrap();
        let firing = desk.fire(&name, Wait::No, Uid::from_raw(7));
        assert!(timeout(Duration::from_secs(1), firing).await.is_err());
        assert!(scheduler.try_recv().is_err());
        drop(hub);
    }
}
