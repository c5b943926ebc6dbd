//! What the servers' logs of transactions have in the end. A transaction that a run was given and that most of them do
//! not have was taken back by the ensemble, as `truth` tells: no daemon could know.

use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::harness::Server;
use crate::host::Host;
use crate::plan::Watch;

/// In how many logs each transaction is.
pub struct Kept {
    logs: HashMap<i64, usize>,
    servers: usize,
}

impl Kept {
    pub fn read(servers: &[Server]) -> Self {
        let mut logs: HashMap<i64, usize> = HashMap::new();
        servers.iter().flat_map(Server::transactions).for_each(|zxid| *logs.entry(zxid).or_default() += 1);
        Self { logs, servers: servers.len() }
    }

    /// The znodes of which a run was given what the ensemble has taken back, and a line about each.
    pub fn taken_back(&self, hosts: &[Host], watches: &[Watch]) -> BTreeSet<(String, String)> {
        let mut taken_back = BTreeSet::new();
        for (host, watch) in hosts.iter().flat_map(|host| watches.iter().map(move |watch| (host, watch))) {
            let runs = host.runs.of.get(&watch.name).map_or(&[][..], Vec::as_slice);
            // A deletion has the zxid of what was there before.
            for run in runs.iter().filter(|run| run.event != "deleted") {
                let logs = self.logs.get(&run.zxid).copied().unwrap_or_default();
                if 2 * logs <= self.servers {
                    let (zxid, servers) = (run.zxid, self.servers);
                    let line = format!("transaction {zxid:#x} is in {logs} of {servers} logs, and was read");
                    taken_back.insert((watch.znode.clone(), line));
                }
            }
        }
        taken_back
    }
}
