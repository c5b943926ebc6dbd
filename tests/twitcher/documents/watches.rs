//! The watch files under `examples`, each as a daemon runs it: its own paths and users put in the place of
//! those that a reader has, shorter times where one would be waited for, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, gethostname};

use super::{SOURCE, read, taken, write, write_with};
use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, eventually, shared_chroot, twitcher};

/// Those that a test below runs.
const RUN: &[&str] = &[
    "feature-flags.toml",
    "git-pull.toml",
    "haproxy-backends.toml",
    "nginx.toml",
    "release.toml",
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
            write(&copies.join(&name), &read(&path));
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
        write(&work.join("greeting"), text);
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
    daemon.wait_for_log("ready");
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
    write_with(&bin.join("nginx"), 0o755, &nginx);
    let zookeeper = shared_chroot("example-nginx");
    let client = Client::connect(&zookeeper);
    client.create_all("/web/upstreams", "broken\n");
    let watch = Example::of("nginx.toml").at("/etc/nginx/conf.d", &conf).finding(&bin);
    let daemon =
        Daemon::builder(&folder_in(&folder, "host"), &zookeeper).watch("nginx.toml", watch.0).start();
    let refused = |times| {
        eventually(DEADLINE, "a refusal", || {
            let log = daemon.log();
            if log.matches("outcome=exited(1)").count() == times { Ok(()) } else { Err(log) }
        });
    };
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
    write_with(&bin.join("haproxy"), 0o755, haproxy);
    write_with(&bin.join("systemctl"), 0o755, &format!("#!/bin/sh\n{}\n", reloads.append("$*")));
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
    eventually(DEADLINE, "a second refusal", || {
        let log = daemon.log();
        if log.matches("outcome=exited(1)").count() > 1 { Ok(()) } else { Err(log) }
    });
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
    write_with(&bin.join("curl"), 0o755, &curl);
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
    eventually(DEADLINE, "the second start to be ready", || {
        let log = daemon.log();
        if log.matches("ready: watching 1 znode").count() == 2 { Ok(()) } else { Err(log) }
    });
    client.set("/app/release", format!("{sum} https://dist.example/2\n"));
    let all = downloads.wait_for(4);
    assert_eq!(all[3..], ["https://dist.example/2"]);
}
