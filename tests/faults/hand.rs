//! The hand that does the damage, at random and never twice in the same place at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::harness::Server;
use crate::host::{Daemonic, Host};

/// Longer than a session of the daemons lasts without a word from them.
const BEYOND_A_SESSION: (u64, u64) = (3000, 4500);

/// All that it does. Of those that are in one group, each is rare by itself.
const DEEDS: [&[&str]; 11] = [
    &["connections cut"],
    &["daemons frozen"],
    &["daemons killed"],
    &["followers frozen", "followers stopped", "leaders frozen", "leaders stopped"],
    &["hosts cut off"],
    &["hosts slowed down"],
    &["daemons killed with their minders", "minders killed"],
    &["timeouts changed"],
    &["watch files broken"],
    &["watch files reordered"],
    &["watch files touched"],
];

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serving {
    Well,
    Stopped(Instant),
    Frozen(Instant),
}

pub struct Hand<'a> {
    servers: &'a [Server; 3],
    /// Held while a server is harmed. Whoever holds it has no write on its way: what is on its way into an
    /// election is what ZooKeeper's servers may disagree about afterwards, as `truth` tells.
    quiet: &'a Mutex<()>,
    serving: [Serving; 3],
    chance: Chance,
    /// How many of each it has done.
    pub done: BTreeMap<&'static str, usize>,
}

impl<'a> Hand<'a> {
    pub fn new(servers: &'a [Server; 3], quiet: &'a Mutex<()>, chance: Chance) -> Self {
        Self { servers, quiet, serving: [Serving::Well; 3], chance, done: BTreeMap::new() }
    }

    /// Does damage for so long. Some of it lasts beyond that.
    ///
    /// # Errors
    /// When a daemon has ended by itself.
    pub fn harm(&mut self, hosts: &mut [Host], time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.heal(hosts, Instant::now());
            if let Some(host) = hosts.iter_mut().find_map(|host| (!host.is_well()).then_some(host.name)) {
                return Err(format!("the daemon of {host} has ended by itself"));
            }
            if let Some(what) = self.strike(hosts) {
                *self.done.entry(what).or_default() += 1;
            }
            // The pauses of the hand.
            thread::sleep(Duration::from_millis(self.chance.between(50, 450)));
        }
        Ok(())
    }

    /// Has everybody be in trouble when this returns, each in a way of their own: what is written now has to
    /// be found out about later.
    pub fn leave_in_trouble(&mut self, hosts: &mut [Host]) {
        // As good as for ever: healing is asked for.
        let until = Instant::now() + Duration::from_secs(3600);
        let first = self.chance.below(hosts.len());
        let count = hosts.len();
        let mut note = |what, done| {
            if done {
                *self.done.entry(what).or_default() += 1;
            }
        };
        note("daemons killed", hosts[first].kill_daemon(until));
        note("hosts cut off", hosts[(first + 1) % count].cut(None, until));
        note("daemons frozen", hosts[(first + 2) % count].freeze(until));
    }

    /// What it has never done, group by group.
    pub fn left_out(&self) -> Vec<&'static [&'static str]> {
        let is_left_out = |group: &&[&str]| !group.iter().any(|deed| self.done.contains_key(deed));
        DEEDS.into_iter().filter(is_left_out).collect()
    }

    /// Ends all damage.
    pub fn heal_all(&mut self, hosts: &mut [Host]) {
        self.heal(hosts, Instant::now() + Duration::from_secs(7200));
        Server::wait_until_they_agree(self.servers);
    }

    /// Ends the trouble of the ensemble and leaves the hosts in theirs.
    pub fn heal_servers(&mut self) {
        self.heal(&mut [], Instant::now() + Duration::from_secs(7200));
        Server::wait_until_they_agree(self.servers);
    }

    fn heal(&mut self, hosts: &mut [Host], now: Instant) {
        for (server, serving) in self.servers.iter().zip(&mut self.serving) {
            match *serving {
                Serving::Stopped(until) if until <= now => server.launch(),
                Serving::Frozen(until) if until <= now => server.thaw(),
                Serving::Well | Serving::Stopped(_) | Serving::Frozen(_) => continue,
            }
            *serving = Serving::Well;
        }
        hosts.iter_mut().for_each(|host| host.heal(now));
    }

    /// One deed; `None` where what it was to be done to is in trouble already.
    fn strike(&mut self, hosts: &mut [Host]) -> Option<&'static str> {
        let now = Instant::now();
        let chance = &mut self.chance;
        let mut until = |(from, to)| now + Duration::from_millis(chance.between(from, to));
        let (short, long, beyond) = (until((200, 2000)), until((1000, 4000)), until(BEYOND_A_SESSION));
        let which = chance.below(hosts.len());
        let host = &mut hosts[which];
        let (what, done) = match chance.below(48) {
            0..=3 => return self.harm_a_server(long),
            4..=6 => ("hosts cut off", host.cut(None, if chance.one_in(3) { beyond } else { short })),
            7..=9 => ("connections cut", host.cut(Some(chance.below(3)), short)),
            10..=12 => {
                ("hosts slowed down", host.delay(Duration::from_millis(chance.between(20, 400)), long))
            }
            13..=15 => ("daemons frozen", host.freeze(beyond)),
            16..=20 => ("daemons killed", host.kill_daemon(short)),
            21..=25 => ("minders killed", host.kill_minders() > 0),
            26..=27 => {
                let killed = !matches!(host.state, Daemonic::Dead(_)) && host.kill_minders() > 0;
                ("daemons killed with their minders", killed && host.kill_daemon(short))
            }
            28..=32 => ("watch files touched", host.touch(chance)),
            33..=37 => ("watch files reordered", host.reorder(chance)),
            38..=42 => ("timeouts changed", host.redefine(chance)),
            _ => ("watch files broken", host.break_file(chance, short)),
        };
        done.then_some(what)
    }

    /// The ensemble loses one server at a time, and now and then another one with it, which leaves nobody
    /// who could serve.
    fn harm_a_server(&mut self, until: Instant) -> Option<&'static str> {
        let in_trouble = self.serving.iter().filter(|serving| **serving != Serving::Well).count();
        if in_trouble > 1 || (in_trouble == 1 && !self.chance.one_in(4)) {
            return None;
        }
        let modes = [0, 1, 2].map(|at: usize| match self.serving[at] {
            Serving::Well => Some(self.servers[at].mode()),
            Serving::Stopped(_) | Serving::Frozen(_) => None,
        });
        if modes.contains(&Some(None)) {
            // One that is on its way to serve still takes in what it has missed.
            return None;
        }
        let leader = modes.iter().position(|mode| *mode == Some(Some("leader".to_owned())));
        let at = leader.filter(|_| self.chance.one_in(2)).unwrap_or_else(|| self.chance.below(3));
        if self.serving[at] != Serving::Well {
            return None;
        }
        let leads = leader == Some(at);
        let _quiet = self.quiet.lock().expect("a writer that has not failed");
        // One that serves may have promised to keep what it has not written yet (ZOOKEEPER-4646).
        let well = [0, 1, 2].into_iter().filter(|&at| self.serving[at] == Serving::Well);
        let logged: BTreeSet<Option<i64>> = well.map(|at| self.servers[at].last_transaction()).collect();
        if logged.len() > 1 {
            return None;
        }
        if self.chance.one_in(3) {
            self.servers[at].freeze();
            self.serving[at] = Serving::Frozen(until);
            Some(if leads { "leaders frozen" } else { "followers frozen" })
        } else {
            self.servers[at].stop();
            self.serving[at] = Serving::Stopped(until);
            Some(if leads { "leaders stopped" } else { "followers stopped" })
        }
    }
}
