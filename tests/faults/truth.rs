//! What there is at the end of a round, as each of the servers has it: a daemon reads from one of them and has
//! no way to know better.
//!
//! They should all have the same. But ZooKeeper 3.8.0 can lose a transaction on one server in an election, or while
//! it comes back (ZOOKEEPER-4646, -4712 and -4785 are ways to that), and the others have it for good. It was seen
//! once in three runs of two minutes in which a server could be harmed at any moment: of 36 znodes, four lists of
//! children were different in the end. Daemons with sessions just made read two lists under one `pzxid`, and one
//! that had read a `pzxid` of 0xb00000069 read 0xa00000006 with its next session. It is rare: it did not come in
//! 240 harms to servers without daemons. So no server is harmed while another one comes back or has not yet written all
//! to its log, nor while a write is on its way. On a machine that was busy with other things it was seen all the same,
//! before the logs were looked into: all that had happened under one leader was gone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::harness::zookeeper::eventually::within;
use crate::harness::{DEADLINE, eventually};
use crate::plan::Kind;
use crate::writer::{Told, Writer};

/// How long servers may take to come to agree that serve under one leader and have been told to catch up with it.
const TO_AGREE: Duration = Duration::from_secs(5);

/// What the servers have of each znode, in the order of the servers.
pub struct Truth(BTreeMap<String, Vec<Told>>);

impl Truth {
    /// Asks each of the servers, until they agree or it is plain that they will not.
    pub fn find(writer: &Writer, servers: &[String], znodes: &[(String, Kind)]) -> Self {
        let mut truth = Self::ask(writer, servers, znodes);
        within(TO_AGREE, || {
            let agree = truth.disputed().next().is_none();
            if !agree {
                truth = Self::ask(writer, servers, znodes);
            }
            agree
        });
        truth
    }

    fn ask(writer: &Writer, servers: &[String], znodes: &[(String, Kind)]) -> Self {
        let mut truth: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for server in servers {
            let told = eventually(DEADLINE, "what is there", || writer.look(server, znodes));
            for ((path, _), told) in znodes.iter().zip(told) {
                truth.entry(path.clone()).or_default().push(told);
            }
        }
        Self(truth)
    }

    /// Whether a server has this of a znode.
    pub fn has(&self, znode: &str, token: u64) -> bool {
        self.0.get(znode).is_some_and(|told| told.iter().any(|told| told.token == token))
    }

    /// The zxids that the servers have of a znode.
    pub fn zxids(&self, znode: &str) -> impl Iterator<Item = i64> {
        self.0.get(znode).into_iter().flatten().map(|told| told.zxid)
    }

    /// The znodes that the servers disagree about.
    pub fn disputed(&self) -> impl Iterator<Item = &str> {
        let differ = |told: &[Told]| told.iter().any(|one| one.token != told[0].token);
        self.0.iter().filter(move |(_, told)| differ(told)).map(|(path, _)| path.as_str())
    }

    /// What each of the servers has of the znodes that they disagree about, a line for each znode.
    pub fn account(&self) -> String {
        let mut account = String::new();
        for path in self.disputed() {
            writeln!(
                account,
                "{path}: {}",
                self.0[path].iter().map(Told::to_string).collect::<Vec<_>>().join(" | ")
            )
            .expect("text");
        }
        account
    }
}
