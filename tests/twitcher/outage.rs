//! A ZooKeeper that goes away, stops in its tracks, or comes late.

use nix::sys::signal::Signal;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, Proxy, Server, WatchFile, eventually};

/// Two watches, one of a znode that is to change and one of a znode that is not.
struct Watched {
    server: Server,
    chroot: String,
    changes: Journal,
    stays: Journal,
    daemon: Daemon,
    _folder: Folder,
}

impl Watched {
    fn new(session_timeout: &str) -> Self {
        let server = Server::start();
        let zookeeper = server.chroot("outage");
        Self::by_way_of(&zookeeper, server, &zookeeper, session_timeout)
    }

    /// The same with a network between the daemon and the server.
    fn behind_a_proxy(session_timeout: &str) -> (Proxy, Self) {
        let server = Server::start();
        let zookeeper = server.chroot("outage");
        let (proxy, through) = Proxy::before(&zookeeper);
        (proxy, Self::by_way_of(&through, server, &zookeeper, session_timeout))
    }

    fn by_way_of(through: &str, server: Server, zookeeper: &str, session_timeout: &str) -> Self {
        let chroot = zookeeper[server.address().len()..].to_owned();
        let client = Client::connect(zookeeper);
        client.create("/changes", "0");
        client.create("/stays", "0");
        let folder = Folder::new();
        let (changes, stays) = (Journal::new(&folder, "changes"), Journal::new(&folder, "stays"));
        let daemon = Daemon::builder(&folder, through)
            .settings(&format!("[zookeeper]\nsession_timeout = \"{session_timeout}\"\n"))
            .watch("both.toml", in_parallel(&changes, &stays))
            .start();
        changes.expect(&["loaded 0"]);
        stays.expect(&["loaded 0"]);
        Self { server, chroot, changes, stays, daemon, _folder: folder }
    }

    fn set(&self, value: &str) {
        self.set_at(&self.server.address(), value);
    }

    fn set_at(&self, address: &str, value: &str) {
        Client::connect(&format!("{address}{}", self.chroot)).set("/changes", value);
    }

    /// A last update of each, so that a run without a reason would be seen before its run, and the end.
    fn nothing_else_was_run(mut self, changes: &[&str]) {
        // It is connected again, so that what it would have run for that was asked for before the last.
        for path in ["/changes", "/stays"] {
            self.server.wait_until_watched(&format!("{}{path}", self.chroot));
        }
        self.set("last");
        Client::connect(&format!("{}{}", self.server.address(), self.chroot)).set("/stays", "last");
        self.changes.expect(&[changes, &["changed last"]].concat());
        self.stays.expect(&["loaded 0", "changed last"]);
        assert!(self.daemon.is_running());
    }
}

/// Parallel, so that a run that nobody asked for is not hidden behind one that was.
fn in_parallel(changes: &Journal, stays: &Journal) -> WatchFile {
    let line = "$TWITCHER_EVENT $(cat)";
    WatchFile::watch("/changes", &changes.append(line))
        .key("run_mode", "\"PARALLEL\"")
        .and("/stays", &stays.append(line))
        .key("run_mode", "\"PARALLEL\"")
}

#[test]
fn p1_p3_p8_an_update_made_while_the_ensemble_was_away_is_run_once_and_nothing_else_is() {
    let test = Watched::new("1s");
    test.server.stop();
    // Its session has expired when somebody else gets to the data.
    test.server.elsewhere(|address| test.set_at(address, "meanwhile"));
    test.server.start_again();
    test.changes.expect(&["loaded 0", "changed meanwhile"]);
    test.nothing_else_was_run(&["loaded 0", "changed meanwhile"]);
}

#[test]
fn p3_an_ensemble_that_was_away_for_longer_than_a_session_and_changed_nothing_runs_nothing() {
    let test = Watched::new("1s");
    test.server.stop();
    test.server.elsewhere(|_| ());
    test.server.start_again();
    test.nothing_else_was_run(&["loaded 0"]);
}

#[test]
fn p3_a_server_that_is_started_again_at_once_runs_nothing() {
    let test = Watched::new("10s");
    test.server.stop();
    test.server.start_again();
    test.nothing_else_was_run(&["loaded 0"]);
}

#[test]
fn p1_an_update_made_while_the_network_was_cut_is_run_once_when_the_session_is_still_there() {
    let (proxy, test) = Watched::behind_a_proxy("20s");
    proxy.cut();
    test.set("meanwhile");
    proxy.heal();
    test.changes.expect(&["loaded 0", "changed meanwhile"]);
    test.nothing_else_was_run(&["loaded 0", "changed meanwhile"]);
}

#[test]
fn p1_an_update_made_while_the_network_was_cut_is_run_once_when_the_session_has_expired() {
    let (proxy, test) = Watched::behind_a_proxy("1s");
    proxy.cut();
    test.server.wait_until_no_session_is_left();
    test.set("meanwhile");
    proxy.heal();
    test.changes.expect(&["loaded 0", "changed meanwhile"]);
    test.nothing_else_was_run(&["loaded 0", "changed meanwhile"]);
}

#[test]
fn p3_a_network_that_is_cut_again_and_again_runs_nothing() {
    let (proxy, test) = Watched::behind_a_proxy("2s");
    for _ in 0..5 {
        proxy.cut();
        proxy.heal();
        test.server.wait_until_watched(&format!("{}/changes", test.chroot));
    }
    test.nothing_else_was_run(&["loaded 0"]);
}

#[test]
fn p3_a_session_that_expired_while_the_daemon_was_stopped_in_its_tracks_runs_nothing() {
    let test = Watched::new("1s");
    test.daemon.signal(Signal::SIGSTOP);
    test.server.wait_until_no_session_is_left();
    test.daemon.signal(Signal::SIGCONT);
    test.nothing_else_was_run(&["loaded 0"]);
}

#[test]
fn p1_an_update_made_while_the_daemon_was_stopped_in_its_tracks_is_run_once() {
    let test = Watched::new("1s");
    test.daemon.signal(Signal::SIGSTOP);
    test.server.wait_until_no_session_is_left();
    test.set("meanwhile");
    test.daemon.signal(Signal::SIGCONT);
    test.changes.expect(&["loaded 0", "changed meanwhile"]);
    test.nothing_else_was_run(&["loaded 0", "changed meanwhile"]);
}

#[test]
fn p1_p3_a_server_that_stops_in_its_tracks_is_followed_when_it_goes_on() {
    let test = Watched::new("1s");
    let connections = || test.server.four_letter("cons").lines().filter(|line| line.contains("sid=")).count();
    eventually(DEADLINE, "the daemon's connection alone", || connections() == 1);
    test.server.freeze();
    // It is silent for longer than a client has patience with it.
    test.daemon.wait_for_log("lost the connection to ZooKeeper");
    test.server.thaw();
    test.set("afterwards");
    test.changes.expect(&["loaded 0", "changed afterwards"]);
    test.nothing_else_was_run(&["loaded 0", "changed afterwards"]);
}

#[test]
fn p1_p3_an_election_runs_nothing_and_the_update_after_it_is_run_once() {
    let servers = Server::start_ensemble();
    let addresses = servers.each_ref().map(Server::address);
    let chroot = servers[0].chroot("election")[addresses[0].len()..].to_owned();
    let client = Client::connect(&format!("{}{chroot}", addresses[0]));
    client.create("/changes", "0");
    client.create("/stays", "0");
    let folder = Folder::new();
    let (changes, stays) = (Journal::new(&folder, "changes"), Journal::new(&folder, "stays"));
    let mut daemon = Daemon::builder(&folder, &format!("{}{chroot}", addresses.join(",")))
        .watch("both.toml", in_parallel(&changes, &stays))
        .start();
    changes.expect(&["loaded 0"]);
    stays.expect(&["loaded 0"]);
    drop(client);
    // What one of them has promised and not yet written it may come out of an election without.
    eventually(DEADLINE, "all to have written the same", || {
        let [first, rest @ ..] = servers.each_ref().map(Server::last_transaction);
        rest == [first, first]
    });

    let leader = servers.iter().position(|server| server.mode().as_deref() == Some("leader"));
    let leader = leader.expect("a leader");
    servers[leader].stop();
    daemon.wait_for_log("lost the connection to ZooKeeper");
    let left = [&servers[(leader + 1) % 3], &servers[(leader + 2) % 3]];
    Server::wait_until_they_agree(left);
    let watched = |path: &str| {
        let line = format!("{chroot}{path}");
        eventually(DEADLINE, format!("a watch of {line}"), || {
            left.iter().any(|server| server.four_letter("wchp").lines().any(|watch| watch == line))
        });
    };
    watched("/changes");
    watched("/stays");
    let client = Client::connect(&format!("{}{chroot}", left.map(Server::address).join(",")));
    client.set("/changes", "afterwards");
    changes.expect(&["loaded 0", "changed afterwards"]);
    // Before these, whatever was run without a reason would have been.
    client.set("/changes", "last");
    client.set("/stays", "last");
    changes.expect(&["loaded 0", "changed afterwards", "changed last"]);
    stays.expect(&["loaded 0", "changed last"]);
    assert!(daemon.is_running());
}

#[test]
fn p8_a_daemon_that_starts_before_its_ensemble_waits_for_it() {
    let server = Server::start();
    let zookeeper = server.chroot("late");
    Client::connect(&zookeeper).create("/value", "0");
    server.stop();
    let folder = Folder::new();
    let runs = Journal::new(&folder, "runs");
    let mut daemon = Daemon::builder(&folder, &zookeeper)
        .settings("[zookeeper]\nsession_timeout = \"1s\"\n")
        .watch("value.toml", WatchFile::watch("/value", &runs.append("$TWITCHER_EVENT $(cat)")))
        .start();
    // It has tried in vain.
    daemon.wait_for_log("cannot reach ZooKeeper");
    assert!(daemon.is_running());
    server.start_again();
    runs.expect(&["loaded 0"]);
}
