//! What is in a child's environment, and what is not.

use std::collections::BTreeMap;

use nix::unistd::{Uid, User};

use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, shared_chroot};

/// The environment that `env` prints, once there is all of it that is named.
fn environment(output: &Journal, names: &[&str]) -> BTreeMap<String, String> {
    eventually(DEADLINE, "an environment", || {
        let variables: BTreeMap<String, String> = output
            .lines()
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if names.iter().all(|&name| variables.contains_key(name)) { Ok(variables) } else { Err(variables) }
    })
}

#[test]
fn p7_a_childs_environment_is_that_of_its_user_and_of_its_update_and_nothing_of_the_daemons() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("environment");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let stat = client.set("/value", "1");
    let output = Journal::new(&folder, "output");
    let user = if Uid::effective().is_root() { "nobody".into() } else { Uid::effective().to_string() };
    let user =
        User::from_name(&user).ok().flatten().or_else(|| User::from_uid(Uid::effective()).ok().flatten());
    let user = user.expect("a user in the user database");
    let watch = WatchFile::program("/value", &["env"])
        .key("name", "\"the-watch\"")
        .key("uid", user.uid)
        .key("output", format!("{:?}", output.path()))
        .key("env", "{ GREETING = \"good day\" }");
    let _daemon = Daemon::builder(&folder, &zookeeper)
        .environment("LANG", "C.UTF-8")
        .environment("SECRET", "of the daemon")
        .environment("TWITCHER_LOG", "info")
        .environment("NOTIFY_SOCKET", "/nonexistent")
        .watch("value.toml", watch)
        .start();
    let names = [
        "GREETING",
        "HOME",
        "LANG",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TWITCHER_ATTEMPT",
        "TWITCHER_EVENT",
        "TWITCHER_MZXID",
        "TWITCHER_RUN_ID",
        "TWITCHER_VERSION",
        "TWITCHER_WATCH",
        "TWITCHER_ZNODE",
        "USER",
    ];
    let variables = environment(&output, &names);
    assert_eq!(variables.keys().map(String::as_str).collect::<Vec<_>>(), names);
    let is = |name: &str, value: &str| assert_eq!(variables[name], value, "{name}");
    is("GREETING", "good day");
    is("HOME", &user.dir.to_string_lossy());
    is("LANG", "C.UTF-8");
    is("LOGNAME", &user.name);
    is("SHELL", &user.shell.to_string_lossy());
    is("TWITCHER_ATTEMPT", "1");
    is("TWITCHER_EVENT", "loaded");
    is("TWITCHER_MZXID", &stat.mzxid.to_string());
    is("TWITCHER_VERSION", "1");
    is("TWITCHER_WATCH", "the-watch");
    is("TWITCHER_ZNODE", "/value");
    is("USER", &user.name);
    assert!(variables["PATH"].split(':').any(|folder| folder == "/usr/bin"), "{}", variables["PATH"]);
    assert!(!variables["TWITCHER_RUN_ID"].is_empty());
}

#[test]
fn each_run_has_an_id_of_its_own_and_the_zxid_and_version_of_its_update() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("run-id");
    let client = Client::connect(&zookeeper);
    let mut stats = vec![client.create("/value", "0")];
    let runs = Journal::new(&folder, "runs");
    let watch = WatchFile::watch(
        "/value",
        &runs.append("$TWITCHER_EVENT $TWITCHER_MZXID $TWITCHER_VERSION $TWITCHER_RUN_ID"),
    );
    let mut daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    runs.wait_for(1);
    for count in 2..=4 {
        stats.push(client.set("/value", "again"));
        runs.wait_for(count);
    }
    // An id is not used again after a restart either.
    assert_eq!(daemon.stop().code(), Some(0));
    daemon.start_again();
    let lines = runs.wait_for(5);
    let mut ids = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let stat = stats[number.min(3)];
        let event = if number == 0 || number == 4 { "loaded" } else { "changed" };
        let (update, id) = line.rsplit_once(' ').expect("words");
        assert_eq!(update, format!("{event} {} {}", stat.mzxid, stat.version));
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{lines:#?}");
}

#[test]
fn a_file_has_a_watch_for_each_table_and_they_are_numbered_from_the_second() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("names");
    Client::connect(&zookeeper).create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let command = runs.append("$TWITCHER_WATCH");
    let watches = WatchFile::watch("/value", &command).and("/value", &command).and("/value", &command);
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("web/site.toml", watches).start();
    let mut names = runs.wait_for(3);
    names.sort();
    assert_eq!(names, ["web.site", "web.site-2", "web.site-3"]);
}
