//! Who updates the znodes, and remembers all that was ever tried to be written: what a run was given must be
//! among it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use zookeeper_client::{Acls, Client, CreateMode, Error};

use super::chance::Chance;
use super::child::token;
use super::plan::Kind;
use super::truth::Truth;

/// How long an answer is waited for before a new session is made.
const ANSWER: Duration = Duration::from_secs(5);

/// How many children of a queue are left when it is tidied up.
const KEPT: usize = 4;

/// What was ever tried to be written to a znode, by what a run would be given of it, and in which transaction
/// that happened where it is known.
#[derive(Debug, Default)]
pub struct Story(HashMap<u64, Option<i64>>);

impl Story {
    /// One in which each of these was written in that transaction.
    pub fn of(written: &[(u64, i64)]) -> Self {
        Self(written.iter().map(|&(token, zxid)| (token, Some(zxid))).collect())
    }

    /// Whether a run may have been given this in this transaction.
    pub fn has(&self, token: u64, zxid: i64) -> bool {
        self.0.get(&token).is_some_and(|known| known.is_none_or(|known| known == zxid))
    }
}

pub struct Writer {
    runtime: Runtime,
    servers: String,
    client: Option<Client>,
    chance: Chance,
    /// What is written next is unlike all that was.
    count: u64,
    pub stories: HashMap<String, Story>,
    pub acknowledged: usize,
    pub unknown: usize,
    /// The last write of each znode that the ensemble has acknowledged.
    written: HashMap<String, Written>,
    /// What it had acknowledged and has no more, a line each. A znode's version counts its writes: it is no higher after
    /// a write that came later. `truth` tells how that comes about; no daemon could know.
    pub taken_back: Vec<String>,
}

/// A write of contents.
#[derive(Debug, Clone, Copy)]
struct Written {
    czxid: i64,
    mzxid: i64,
    version: i32,
}

impl Writer {
    pub fn new(servers: &str, chance: Chance) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
        let (servers, stories) = (servers.to_owned(), HashMap::new());
        Self {
            runtime,
            servers,
            client: None,
            chance,
            count: 0,
            stories,
            acknowledged: 0,
            unknown: 0,
            written: HashMap::new(),
            taken_back: Vec::new(),
        }
    }

    /// Makes the znodes.
    pub fn create_all(&mut self, znodes: &[(String, Kind)]) {
        for (path, kind) in znodes {
            while !self.write(path, *kind) {}
        }
    }

    /// Changes what a watch of the znode would see, and says whether that is known to have happened.
    pub fn write(&mut self, path: &str, kind: Kind) -> bool {
        self.count += 1;
        let deletes = self.chance.one_in(4);
        let pick = self.chance.below(8);
        let mark = format!("{path} {}", self.count);
        let story = self.stories.entry(path.to_owned()).or_default();
        let mut written = None;
        let (servers, client) = (&self.servers, &mut self.client);
        let attempt = async {
            if client.is_none() {
                let connector = Client::connector().with_session_timeout(Duration::from_secs(4));
                *client = Some(connector.with_fail_eagerly().connect(servers).await?);
            }
            let client = client.as_ref().ok_or(Error::SessionExpired)?;
            match kind {
                Kind::Data => {
                    written = Some(write_data(client, path, &mark, story).await?);
                    Ok(())
                }
                Kind::Visitor if deletes => come_or_go(client, path, &mark, story).await,
                Kind::Visitor => write_data(client, path, &mark, story).await.map(drop),
                Kind::Parent => toggle_child(client, path, pick, story).await,
                Kind::Queue => add_child(client, path, &mark, story).await,
            }
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(ANSWER, attempt).await });
        let known = matches!(answer, Ok(Ok(())));
        if let Some(written) = written {
            let before = self.written.insert(path.to_owned(), written);
            if let Some(before) = before.filter(|before| before.czxid == written.czxid)
                && before.version >= written.version
            {
                self.taken_back
                    .push(format!("{path}: {before:?} was acknowledged, and {written:?} after it"));
            }
        }
        if known {
            self.acknowledged += 1;
        } else {
            self.unknown += 1;
            // Whatever it was, another session is not the worse for it.
            self.client = None;
        }
        known
    }

    /// Looks whether all that was acknowledged is there, on some server at least: `truth` knows of those that differ.
    pub fn compare(&mut self, truth: &Truth) {
        for (path, written) in &self.written {
            if let Some(zxid) = truth.zxids(path).max().filter(|zxid| *zxid < written.mzxid) {
                self.taken_back.push(format!(
                    "{path}: {written:?} was acknowledged, and no server has more than {zxid:#x}"
                ));
            }
        }
    }

    /// What this server has of each of the znodes, once it has caught up with its leader; `None`: that cannot be
    /// told now.
    pub fn look(&self, server: &str, znodes: &[(String, Kind)]) -> Option<Vec<Told>> {
        let look = async {
            let client = Client::connect(server).await?;
            client.sync("/").await?;
            let mut told = Vec::new();
            for (path, kind) in znodes {
                told.push(match kind {
                    Kind::Data | Kind::Visitor => {
                        let (contents, stat) = client.get_data(path).await?;
                        Told::of(&contents, stat.mzxid)
                    }
                    Kind::Parent => {
                        let (names, stat) = client.get_children(path).await?;
                        Told::of(lines(&names.into_iter().collect()).as_bytes(), stat.pzxid)
                    }
                    Kind::Queue => {
                        let newest = client.list_children(path).await?.into_iter().max().unwrap_or_default();
                        let (contents, stat) = client.get_data(&format!("{path}/{newest}")).await?;
                        Told::of(&contents, stat.mzxid)
                    }
                });
            }
            Ok(told)
        };
        let look = async { tokio::time::timeout(ANSWER, look).await };
        self.runtime.block_on(look).ok().and_then(|told: Result<Vec<Told>, Error>| told.ok())
    }
}

/// What a run would be given of a znode, as one server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub token: u64,
    pub zxid: i64,
    contents: String,
}

impl Told {
    fn of(contents: &[u8], zxid: i64) -> Self {
        Self { token: token(contents), zxid, contents: String::from_utf8_lossy(contents).into_owned() }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} {:?}", self.zxid, self.contents)
    }
}

async fn write_data(client: &Client, path: &str, mark: &str, story: &mut Story) -> Result<Written, Error> {
    let contents = mark.as_bytes();
    story.0.insert(token(contents), None);
    let stat = match client.set_data(path, contents, None).await {
        Err(Error::NoNode) => {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.create(path, contents, &options).await?.0
        }
        written => written?,
    };
    story.0.insert(token(contents), Some(stat.mzxid));
    Ok(Written { czxid: stat.czxid, mzxid: stat.mzxid, version: stat.version })
}

async fn come_or_go(client: &Client, path: &str, mark: &str, story: &mut Story) -> Result<(), Error> {
    match client.delete(path, None).await {
        Ok(()) | Err(Error::NoNode) => {}
        Err(error) => return Err(error),
    }
    // Now and then it is gone for as long as it takes to write elsewhere.
    if mark.ends_with(['1', '2', '3']) {
        return Ok(());
    }
    write_data(client, path, mark, story).await.map(drop)
}

async fn toggle_child(client: &Client, path: &str, pick: usize, story: &mut Story) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    match client.create(path, b"", &options).await {
        Ok(_) | Err(Error::NodeExists) => {}
        Err(error) => return Err(error),
    }
    client.sync(path).await?;
    let mut names: BTreeSet<String> = client.list_children(path).await?.into_iter().collect();
    // The first state is one as well.
    story.0.insert(token(lines(&names).as_bytes()), None);
    let name = format!("child-{pick}");
    let child = format!("{path}/{name}");
    let is_there = names.remove(&name);
    if !is_there {
        names.insert(name);
    }
    story.0.entry(token(lines(&names).as_bytes())).or_insert(None);
    if is_there {
        client.delete(&child, None).await?;
    } else {
        client.create(&child, b"", &options).await?;
    }
    Ok(())
}

async fn add_child(client: &Client, path: &str, mark: &str, story: &mut Story) -> Result<(), Error> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    match client.create(path, b"", &options).await {
        Ok(_) | Err(Error::NodeExists) => {}
        Err(error) => return Err(error),
    }
    story.0.insert(token(mark.as_bytes()), None);
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let (stat, _) = client.create(&format!("{path}/item-"), mark.as_bytes(), &sequential).await?;
    story.0.insert(token(mark.as_bytes()), Some(stat.mzxid));
    let names: BTreeSet<String> = client.list_children(path).await?.into_iter().collect();
    for name in names.iter().take(names.len().saturating_sub(KEPT)) {
        client.delete(&format!("{path}/{name}"), None).await?;
    }
    Ok(())
}

fn lines(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}
