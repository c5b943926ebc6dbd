//! The loop that performs what `step` decides: it owns the watches, the places and the ids of runs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{debug, info};

use crate::config::spec::{WatchName, WatchSpec};
use crate::schedule::order::{Adopted, Ended, Order, RunIds};
use crate::schedule::places::Places;
use crate::schedule::step::{Decision, Input, Policy, Reason, Watch};
use crate::watch::update::{Notice, Update};

/// How many orders may wait to be taken before no more notices are read.
const ORDERS_AHEAD: usize = 256;

/// Turns updates and exits into orders, for all watches of the host.
#[derive(Debug)]
pub struct Scheduler {
    watches: HashMap<WatchName, Entry>,
    places: Places,
    ids: RunIds,
    orders: VecDeque<Order>,
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    /// `None` where only a run is left of it.
    spec: Option<Arc<WatchSpec>>,
}

impl Scheduler {
    /// A scheduler for a host with `max_running` places, on which the `adopted` runs go on already.
    #[must_use]
    pub fn new(max_running: usize, adopted: &[Adopted]) -> Self {
        let mut watches: HashMap<WatchName, Entry> = HashMap::new();
        for left in adopted {
            watches
                .entry(left.watch.clone())
                .and_modify(|entry| entry.watch.adopt(left.run))
                .or_insert_with(|| Entry { watch: Watch::adopted(left.run), spec: None });
        }
        Self {
            watches,
            places: Places::new(max_running, adopted.len()),
            ids: RunIds::after(adopted.iter().map(|left| left.run)),
            orders: VecDeque::new(),
        }
    }

    /// Works until both of its inputs are closed or nobody takes its orders any more.
    ///
    /// It never waits for its orders to be taken while it could hear of an exit, so that it and the taker
    /// of its orders cannot wait for each other.
    pub async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut ended: mpsc::Receiver<Ended>,
        orders: mpsc::Sender<Order>,
    ) {
        loop {
            tokio::select! {
                biased;
                Some(end) = ended.recv() => self.hear_end(&end, SystemTime::now()),
                place = orders.reserve(), if !self.orders.is_empty() => match place {
                    Ok(place) => if let Some(order) = self.orders.pop_front() { place.send(order) },
                    Err(_) => return,
                },
                Some(notice) = notices.recv(), if self.orders.len() < ORDERS_AHEAD => {
                    self.hear_notice(notice, SystemTime::now());
                }
                else => return,
            }
        }
    }

    fn hear_end(&mut self, end: &Ended, wall: SystemTime) {
        self.places.give_back();
        if let Some(entry) = self.watches.get_mut(&end.watch) {
            let _ = entry.watch.step(Input::Ended(end.run));
            self.settle(&end.watch);
        }
        self.fill_places(wall);
    }

    fn hear_notice(&mut self, notice: Notice, wall: SystemTime) {
        let name = match notice {
            Notice::Watched(spec) => {
                let name = spec.name.clone();
                let policy = Policy::from(&*spec);
                match self.watches.get_mut(&name) {
                    Some(entry) => {
                        let _ = entry.watch.step(Input::Defined(policy));
                        entry.spec = Some(spec);
                    }
                    None => {
                        let entry = Entry { watch: Watch::new(policy), spec: Some(spec) };
                        self.watches.insert(name.clone(), entry);
                    }
                }
                name
            }
            Notice::Missing(name) => {
                debug!(watch = %name, "the znode does not exist yet");
                name
            }
            Notice::Updated(name, update) => {
                self.hear_update(&name, update);
                name
            }
            Notice::Unwatched(name) => {
                if let Some(entry) = self.watches.get_mut(&name) {
                    let _ = entry.watch.step(Input::Undefined);
                    entry.spec = None;
                }
                name
            }
        };
        self.settle(&name);
        self.fill_places(wall);
    }

    fn hear_update(&mut self, name: &WatchName, update: Update) {
        let Some(entry) = self.watches.get_mut(name) else { return };
        let (event, zxid) = (update.event, update.version.mzxid);
        let zxid = format_args!("{zxid:#x}");
        match entry.watch.step(Input::Updated(update)) {
            Decision::Accepted { instead_of: Some(older) } => {
                let older = format_args!("{older:#x}");
                debug!(watch = %name, %event, zxid, older, "update takes the place of one that waits");
            }
            Decision::Dropped(Reason::Discarded) => {
                info!(watch = %name, %event, zxid, "update discarded: a run goes on and run_mode is DISCARD");
            }
            Decision::Dropped(Reason::OnLoad | Reason::OnDelete)
            | Decision::Accepted { instead_of: None }
            | Decision::Nothing
            | Decision::Start(_) => debug!(watch = %name, %event, zxid, "update"),
        }
    }

    /// After each step of a watch: it is put in the line, or forgotten, if that is what it came to.
    fn settle(&mut self, name: &WatchName) {
        let Some(entry) = self.watches.get(name) else { return };
        if entry.watch.wants_place() {
            self.places.want(name);
        } else if entry.watch.is_over() {
            self.watches.remove(name);
        }
    }

    fn fill_places(&mut self, wall: SystemTime) {
        while let Some(name) = self.places.next_turn() {
            let Some(entry) = self.watches.get_mut(&name) else { continue };
            let Some(spec) = entry.spec.clone() else { continue };
            let run = self.ids.next(wall);
            if let Decision::Start(update) = entry.watch.step(Input::Place(run)) {
                self.places.take();
                self.orders.push_back(Order::Start { run, spec, update, attempt: 1 });
            }
            self.settle(&name);
        }
    }
}
