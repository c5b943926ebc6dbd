//! The watch files under `examples`, each as a daemon runs it: its own paths and users put in the place of
//! those that a reader has, shorter times where one would be waited for, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, gethostname};

use super::{SOURCE, blocks, read, readme, taken};
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Gate, Journal, Site, eventually, files, shared_chroot, twitcher,
};

/// Those that a test below runs.
const RUN: &[&str] = &[
    "canary.toml",
    "cron.toml",
    "fan-out.toml",
    "feature-flags.toml",
    "git-pull.toml",
    "haproxy-backends.toml",
    "newest-config.toml",
    "nginx.toml",
    "release.toml",
    "restart.toml",
    "settings-by-host.toml",
];

#[test]
fn every_watch_file_under_examples_is_checked_and_run() {
    let copies = Folder::new();
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(SOURCE).join("examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            // A checkout may be writable by a group, which the daemon refuses.
            files::write(&copies.join(&name), read(&path));
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, RUN);
    taken(&twitcher().arg("check").arg(&*copies).output().expect("the program"), "the examples");
}

/// An example, with another path in the place of one that it names.
struct Example(String);

impl Example {
    fn of(name: &str) -> Self {
        let text = read(Path::new("examples").join(name));
        // Users that only the reader has. Root names itself instead; who is not root can name nobody.
        let uid = if Uid::effective().is_root() { "uid = \"root\"\n" } else { "" };
        let text = text.lines().map(|line| match line.strip_prefix("uid = ") {
            Some(_) => uid.to_owned(),
            None => format!("{line}\n"),
        });
        Self(text.collect())
    }

    fn at(self, path: &str, here: &Path) -> Self {
        assert!(self.0.contains(&format!("\"{path}\"")), "no {path} in {}", self.0);
        Self(self.0.replace(&format!("\"{path}\""), &format!("{here:?}")))
    }

    /// Gives a key that is a duration a shorter one.
    fn sooner(self, key: &str, time: &str) -> Self {
        let lines = self.0.lines().map(|line| match line.split_once(" = ") {
            Some((of, _)) if of == key => format!("{key} = {time:?}\n"),
            _ => format!("{line}\n"),
        });
        let text: String = lines.collect();
        assert!(text.contains(&format!("\n{key} = {time:?}\n")), "no {key} in {text}");
        Self(text)
    }

    /// Has commands looked for in this folder first.
    fn finding(self, bin: &Path) -> Self {
        self.variable("PATH", &format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
    }

    /// Adds a variable to the last watch's environment.
    fn variable(self, name: &str, value: &str) -> Self {
        let variable = format!("{name} = {value:?}");
        match self.0.split_once("\nenv = { ") {
            Some((before, after)) => Self(format!("{before}\nenv = {{ {variable}, {after}")),
            None => Self(format!("{}env = {{ {variable} }}\n", self.0)),
        }
    }
}

fn folder_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).expect("a folder");
    path
}

#[track_caller]
fn wait_for(path: &Path, text: &str) {
    eventually(DEADLINE, format!("{text:?} in {}", path.display()), || match fs::read_to_string(path) {
        Ok(found) if found.trim() == text => Ok(()),
        other => Err(other),
    });
}

#[test]
fn the_example_that_pulls_does() {
    let folder = Folder::new();
    let git = |at: &Path, words: &[&str]| {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(at);
        command.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]).args(words);
        taken(&command.output().expect("git"), &words.join(" "));
    };
    git(&folder, &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
    git(&folder, &["clone", "--quiet", "origin.git", "work"]);
    let work = folder.join("work");
    let push = |text: &str| {
        files::write(&work.join("greeting"), text);
        git(&work, &["add", "greeting"]);
        git(&work, &["commit", "--quiet", "--message", text]);
        git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
    };
    push("first");
    git(&folder, &["clone", "--quiet", "--branch=main", "origin.git", "app"]);
    let zookeeper = shared_chroot("example-git");
    let client = Client::connect(&zookeeper);
    let watch = Example::of("git-pull.toml")
        .at("/srv/app", &folder.join("app"))
        // Not the settings of whoever runs the tests.
        .variable("GIT_CONFIG_GLOBAL", "/dev/null");
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("git-pull.toml", watch.0).start();
    daemon.wait_until_ready();
    push("second");
    client.create_all("/git/head", "");
    wait_for(&folder.join("app/greeting"), "second");
    push("third");
    client.set("/git/head", "");
    wait_for(&folder.join("app/greeting"), "third");
}

#[test]
fn the_example_that_keeps_a_file_does() {
    let folder = Folder::new();
    let app = folder_in(&folder, "app");
    let zookeeper = shared_chroot("example-flags");
    let client = Client::connect(&zookeeper);
    client.create_all("/app/flags", r#"{"dark": true}"#);
    let watch = Example::of("feature-flags.toml").at("/srv/app", &app);
    let _daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("flags.toml", watch.0).start();
    wait_for(&app.join("flags.json"), r#"{"dark": true}"#);
    client.set("/app/flags", r#"{"dark": false}"#);
    wait_for(&app.join("flags.json"), r#"{"dark": false}"#);
}

#[test]
fn the_example_for_nginx_keeps_only_what_nginx_takes() {
    let folder = Folder::new();
    let (bin, conf) = (folder_in(&folder, "bin"), folder_in(&folder, "conf.d"));
    let reloads = Journal::new(&folder, "reloads");
    // As nginx: -t says by its status whether the configuration is right, -s reload puts it to use.
    let nginx = format!(
        "#!/bin/sh\ncase \"$*\" in\n'-t -q') ! grep -qs broken *.conf ;;\n'-s reload') cat *.conf >>{} ;;\n*) exit 2 ;;\nesac\n",
        reloads.path().display()
    );
    files::executable(&bin.join("nginx"), &nginx);
    let zookeeper = shared_chroot("example-nginx");
    let client = Client::connect(&zookeeper);
    client.create_all("/web/upstreams", "broken\n");
    let watch = Example::of("nginx.toml").at("/etc/nginx/conf.d", &conf).finding(&bin);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("nginx.toml", watch.0).start();
    let refused = |times| daemon.wait_for_log_times("outcome=exited(1)", times);
    let file = conf.join("upstreams.conf");
    refused(1);
    assert!(!file.exists(), "what nginx refuses has no place where nothing was before");
    client.set("/web/upstreams", "first\n");
    reloads.expect(&["first"]);
    client.set("/web/upstreams", "broken\n");
    refused(2);
    wait_for(&file, "first");
    client.set("/web/upstreams", "second\n");
    reloads.expect(&["first", "second"]);
    wait_for(&file, "second");
}

#[test]
fn the_example_in_python_picks_this_hosts_part() {
    let folder = Folder::new();
    let app = folder_in(&folder, "app");
    let zookeeper = shared_chroot("example-python");
    let client = Client::connect(&zookeeper);
    client.create_all("/app/settings", r#"{"default": {"workers": 4}}"#);
    let watch = Example::of("settings-by-host.toml").at("/srv/app", &app);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("settings.toml", watch.0).start();
    let file = app.join("settings.json");
    wait_for(&file, "{\n  \"workers\": 4\n}");
    daemon.wait_for_log("workers: 4 after write number 0");
    client.set("/app/settings", "no JSON");
    daemon.wait_for_log("run failed");
    wait_for(&file, "{\n  \"workers\": 4\n}");
    let host = gethostname().expect("a name").into_string().expect("text");
    client.set("/app/settings", format!(r#"{{"default": {{"workers": 4}}, "{host}": {{"workers": 16}}}}"#));
    wait_for(&file, "{\n  \"workers\": 16\n}");
}

#[test]
fn the_example_for_haproxy_has_a_server_for_each_child() {
    let folder = Folder::new();
    let (bin, conf) = (folder_in(&folder, "bin"), folder_in(&folder, "haproxy"));
    let reloads = Journal::new(&folder, "reloads");
    // As haproxy -c: it says by its status whether the files are right.
    let haproxy =
        "#!/bin/sh\n[ \"$*\" = '-c -q -f haproxy.cfg -f backends.cfg.new' ] && ! grep -q broken \"$6\"\n";
    files::executable(&bin.join("haproxy"), haproxy);
    files::executable(&bin.join("systemctl"), format!("#!/bin/sh\n{}\n", reloads.append("$*")));
    let zookeeper = shared_chroot("example-haproxy");
    let client = Client::connect(&zookeeper);
    client.create_all("/web/servers/10.0.0.2:80", "");
    client.create("/web/servers/10.0.0.1:80", "");
    client.create("/web/servers/no server", "");
    let watch = Example::of("haproxy-backends.toml").at("/etc/haproxy", &conf).finding(&bin);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("haproxy.toml", watch.0).start();
    let file = conf.join("backends.cfg");
    let [first, second] =
        ["10.0.0.1:80", "10.0.0.2:80"].map(|name| format!("    server {name} {name} check"));
    wait_for(&file, &format!("backend web\n{first}\n{second}"));
    daemon.wait_for_log("not a server: no server");
    client.delete("/web/servers/10.0.0.1:80");
    wait_for(&file, &format!("backend web\n{second}"));
    reloads.expect(&["reload haproxy", "reload haproxy"]);
    // What haproxy refuses is not put in place, and neither is an empty list.
    client.create("/web/servers/broken", "");
    daemon.wait_for_log("outcome=exited(1)");
    for name in ["10.0.0.2:80", "no server", "broken"] {
        client.delete(&format!("/web/servers/{name}"));
    }
    daemon.wait_for_log_times("outcome=exited(1)", 2);
    wait_for(&file, &format!("backend web\n{second}"));
    client.create("/web/servers/10.0.0.1:80", "");
    wait_for(&file, &format!("backend web\n{first}"));
    reloads.expect(&["reload haproxy"; 3]);
}

#[test]
fn the_example_that_downloads_tries_again_and_does_not_after_a_restart() {
    let folder = Folder::new();
    let (bin, app) = (folder_in(&folder, "bin"), folder_in(&folder, "app"));
    let downloads = Journal::new(&folder, "downloads");
    // As curl: the first time there is no answer, the second half of one.
    let curl = format!(
        "#!/bin/sh\nset -e\n[ \"$5 $7\" = '--output --url' ]\n{}\ncase $(wc -l <{}) in\n1) exit 7 ;;\n2) printf rel ;;\n*) printf release ;;\nesac >\"$6\"\n",
        downloads.append("$8"),
        downloads.path().display()
    );
    files::executable(&bin.join("curl"), &curl);
    let zookeeper = shared_chroot("example-release");
    let client = Client::connect(&zookeeper);
    // Of the text "release".
    let sum = "a4d451ec23463726f72c43d64c710968f6b602cd653b4de8adee1b556240a829";
    client.create_all("/app/release", format!("{sum} https://dist.example/1"));
    let watch = Example::of("release.toml")
        .at("/srv/app", &app)
        .sooner("splay", "1s")
        .sooner("retry_delay", "100ms")
        .finding(&bin);
    let mut daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("release.toml", watch.0).start();
    wait_for(&app.join("app.tar.gz"), "release");
    downloads.expect(&["https://dist.example/1"; 3]);
    daemon.wait_for_log("run ended outcome=exited(0)");
    daemon.stop();
    daemon.start_again();
    daemon.wait_until_ready();
    client.set("/app/release", format!("{sum} https://dist.example/2\n"));
    let all = downloads.wait_for(4);
    assert_eq!(all[3..], ["https://dist.example/2"]);
}

#[test]
fn the_example_that_restarts_a_unit_does_when_it_is_asked_to() {
    let folder = Folder::new();
    let bin = folder_in(&folder, "bin");
    let calls = Journal::new(&folder, "calls");
    files::executable(&bin.join("systemctl"), format!("#!/bin/sh\n{}\n", calls.append("$*")));
    let zookeeper = shared_chroot("example-restart");
    let client = Client::connect(&zookeeper);
    client.create_all("/web/restart", "before");
    let watch = Example::of("restart.toml").sooner("settle", "100ms").sooner("splay", "100ms").finding(&bin);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("restart.toml", watch.0).start();
    // What was there before is looked at first, and restarts nothing.
    daemon.wait_until_ready();
    client.set("/web/restart", "");
    let call = "--no-ask-password try-restart app.service";
    calls.expect(&[call]);
    daemon.wait_for_log("run ended outcome=exited(0)");
    client.set("/web/restart", "");
    calls.expect(&[call; 2]);
}

#[test]
fn the_example_that_does_a_job_when_a_clock_elsewhere_says_so_drops_what_comes_meanwhile() {
    let folder = Folder::new();
    let (bin, jobs) = (folder_in(&folder, "bin"), folder_in(&folder, "nightly"));
    let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
    // As run-parts: executes what is in the folder.
    files::executable(&bin.join("run-parts"), "#!/bin/sh\n[ \"$1\" = --report ] && exec \"$2/job\"\n");
    let job = [runs.append("start"), gate.pass(), runs.append("end")].join("\n");
    files::executable(&jobs.join("job"), format!("#!/bin/sh\n{job}\n"));
    let zookeeper = shared_chroot("example-cron");
    let client = Client::connect(&zookeeper);
    client.create_all("/cron/nightly", "yesterday");
    let watch = Example::of("cron.toml").at("/etc/twitcher/nightly", &jobs).finding(&bin);
    let daemon = Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("cron.toml", watch.0).start();
    daemon.wait_until_ready();
    client.set("/cron/nightly", "today");
    runs.expect(&["start"]);
    client.set("/cron/nightly", "today, by another clock");
    daemon.wait_for_log("update is not run: a run goes on and run_mode is DISCARD");
    gate.let_through(1);
    daemon.wait_for_log("run ended outcome=exited(0)");
    client.set("/cron/nightly", "tomorrow");
    runs.expect(&["start", "end", "start"]);
    gate.open();
    runs.expect(&["start", "end", "start", "end"]);
}

#[test]
fn the_example_of_a_canary_stops_at_the_first_host_that_fails() {
    let site = Site::new("example-canary");
    site.client.create_all("/app/version", "1.0\n");
    let deployed = site.journal("deployed");
    let mut daemons = Vec::new();
    // The first host's own part is made short, the second's is made to wait for what becomes of the first.
    let gate = site.gate("gate");
    for (host, before) in [("first", String::new()), ("second", gate.pass())] {
        let home = folder_in(&site.folder, host);
        let bin = folder_in(&home, "bin");
        let deploy = format!("#!/bin/sh\n{}\n", deployed.append(&format!("{host} $1")));
        files::executable(&bin.join("deploy"), &deploy);
        // As an application that is well unless its version ends in -bad.
        let curl = format!("#!/bin/sh\n! tail -n 1 {} | grep -q -- -bad\n", deployed.path().display());
        files::executable(&bin.join("curl"), &curl);
        // The real one, told where the servers of this test are.
        let twitcher = format!(
            "#!/bin/sh\n{before}\nexec env TWITCHER_ZKSERVERS={} {} \"$@\"\n",
            site.zookeeper,
            env!("CARGO_BIN_EXE_twitcher")
        );
        files::executable(&bin.join("twitcher"), &twitcher);
        let watch = Example::of("canary.toml").sooner("splay", "10ms").finding(&bin);
        daemons.push(
            Daemon::builder(&folder_in(&home, "host"), &site.zookeeper).watch("canary.toml", watch.0).start(),
        );
    }
    deployed.expect(&["first 1.0"]);
    gate.let_through(1);
    deployed.expect(&["first 1.0", "second 1.0"]);
    site.client.set("/app/version", "2.0-bad");
    let stopped = || site.client.exists("/app/stopped").then(|| site.client.get("/app/stopped"));
    eventually(DEADLINE, "the first host to stop the release", || stopped().flatten().ok_or("nothing"));
    gate.let_through(1);
    daemons[1].wait_for_log("2.0-bad is stopped");
    // What is stopped is that release, and no later one.
    site.client.set("/app/version", "2.1");
    eventually(DEADLINE, "the first host", || deployed.lines().contains(&"first 2.1".to_owned()));
    gate.open();
    deployed.expect(&["first 1.0", "second 1.0", "first 2.0-bad", "first 2.1", "second 2.1"]);
}

#[test]
fn the_example_that_fans_out_has_no_message_wait_for_another() {
    let folder = Folder::new();
    let bin = folder_in(&folder, "bin");
    let (said, gate) = (Journal::new(&folder, "said"), Gate::new(&folder, "gate"));
    // As curl to a room that takes its time.
    let curl = format!(
        "#!/bin/sh\ntext=$(cat)\n{}\n{}\n{}\n",
        said.append("$text"),
        gate.pass(),
        said.append("done")
    );
    files::executable(&bin.join("curl"), &curl);
    let zookeeper = shared_chroot("example-fan-out");
    let client = Client::connect(&zookeeper);
    client.create_all("/chat/announce", "old news");
    let watch = Example::of("fan-out.toml").finding(&bin);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("fan-out.toml", watch.0).start();
    daemon.wait_until_ready();
    for (number, text) in ["one", "two", "three"].iter().enumerate() {
        client.set("/chat/announce", text);
        said.wait_for(number + 1);
    }
    gate.open();
    said.expect(&["one", "two", "three", "done", "done", "done"]);
}

#[test]
fn the_example_of_numbered_versions_keeps_the_newest() {
    let folder = Folder::new();
    let app = folder_in(&folder, "app");
    let zookeeper = shared_chroot("example-newest");
    let client = Client::connect(&zookeeper);
    client.create_all("/app/versions/v-0000000001", "one");
    client.create("/app/versions/v-0000000002", "two");
    let watch = Example::of("newest-config.toml").at("/srv/app", &app);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("newest.toml", watch.0).start();
    wait_for(&app.join("app.conf"), "two");
    client.create("/app/versions/v-0000000003", "three");
    wait_for(&app.join("app.conf"), "three");
    daemon.wait_for_log("app.conf is v-0000000003");
}

#[test]
fn the_schema_takes_every_watch_file_that_is_given_to_newcomers() {
    let schema = serde_json::from_str(&read("etc/watch-file.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut texts: Vec<(String, String)> =
        blocks(&readme(), "toml").into_iter().map(|block| ("README.md".to_owned(), block)).collect();
    for folder in ["examples", "etc/twitcher.d"] {
        for entry in fs::read_dir(Path::new(SOURCE).join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            texts.push((path.display().to_string(), read(&path)));
        }
    }
    let texts: Vec<_> = texts
        .iter()
        .filter(|(_, text)| text.contains("\n[[watch]]") || text.starts_with("[[watch]]"))
        .collect();
    for (name, text) in &texts {
        let watches: toml::Table = text.parse().expect(name);
        let watches = serde_json::to_value(watches).expect(name);
        let errors: Vec<String> = validator.iter_errors(&watches).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
    assert!(texts.len() > 12, "{}", texts.len());
}
