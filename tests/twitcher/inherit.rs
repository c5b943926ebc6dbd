//! What a child inherits from a daemon that was itself given everything that a child should not have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Uid, User};
use serde_json::{Map, Value, json};
use zookeeper_client::Stat;

use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, is_shown, root_can, shared_chroot,
};

/// The program that says what it has inherited, compiled once, where every user can execute it.
pub fn inherited() -> &'static Path {
    static PROGRAM: OnceLock<(Folder, PathBuf)> = OnceLock::new();
    let (_folder, program) = PROGRAM.get_or_init(|| {
        let folder = Folder::new();
        let program = folder.join("inherited");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inherited/inherited.c");
        // The compiler that cargo links with.
        let output = Command::new("cc").arg("-o").arg(&program).arg(source).output().expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (folder, program)
    });
    program
}

fn object(json: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// A daemon with all the dirt that this process may give it, and whatever systemd or an administrator could
/// have put into its environment.
///
/// With it, the state of the znode: it was written to once.
fn dirty_daemon(folder: &Path, watches: WatchFile) -> (Daemon, Stat) {
    let zookeeper = shared_chroot("inherited");
    let client = Client::connect(&zookeeper);
    client.create("/value", "before");
    let stat = client.set("/value", "the contents");
    let environment = [
        ("CREDENTIALS_DIRECTORY", "/run/credentials/twitcher.service"),
        ("INVOCATION_ID", "0123456789abcdef"),
        ("JOURNAL_STREAM", "8:1234"),
        ("LANG", "C.UTF-8"),
        ("LISTEN_FDNAMES", "control"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_PID", "1"),
        ("MAINPID", "1"),
        ("NOTIFY_SOCKET", "/nonexistent/notify"),
        ("SECRET", "of the daemon"),
        ("TWITCHER_LOG", "info"),
        ("TWITCHER_STATE_DIR", "/nonexistent/state"),
        ("WATCHDOG_PID", "1"),
        ("WATCHDOG_USEC", "30000000"),
    ];
    let wrapper = inherited().to_str().expect("a path of text");
    let daemon = Daemon::builder(folder, &zookeeper).wrapped_in(&[wrapper, "dirty"]);
    let daemon = environment
        .into_iter()
        .fold(daemon, |daemon, (name, value)| daemon.environment(name, value))
        .watch("dirty.toml", watches)
        .start();
    (daemon, stat)
}

/// What is not the same in each run: taken out of what a child has printed, and looked at by itself.
struct Own {
    pid: i64,
    parent: i64,
    environment: Vec<String>,
    limits: Map<String, Value>,
    cgroup: Value,
}

fn take_own(printed: &mut Map<String, Value>) -> Own {
    let mut take = |name: &str| printed.remove(name).unwrap_or_else(|| panic!("no {name}"));
    let mut environment: Vec<String> =
        serde_json::from_value(take("environment")).expect("a list of variables");
    environment.sort();
    let limits = serde_json::from_value(take("limits")).expect("limits by their names");
    let number = |value: Value| value.as_i64().expect("a number");
    Own {
        pid: number(take("pid")),
        parent: number(take("parent")),
        environment,
        limits,
        cgroup: take("cgroup"),
    }
}

/// What every child has, whatever its daemon has.
fn clean(user: &User, supplementary: &[u32], stdout: Value, is_root: bool) -> Value {
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let output = |number: u32| {
        let mut output = stdout.clone();
        output["number"] = json!(number);
        output
    };
    let stdin = json!({"number": 0, "file": "pipe", "access": "read", "append": false, "nonblocking": false});
    json!({
        "descriptors": [stdin, output(1), output(2)],
        "ignored": [],
        "caught": [],
        "blocked": [],
        "pending": [],
        "umask": "027",
        "directory": "/usr",
        "nice": 0,
        "scheduling policy": 0,
        "I/O priority": 0,
        "timer slack": 50_000,
        "OOM score adjustment": "0",
        "personality": 0,
        "signal at the parent's death": 0,
        "subreaper": 0,
        "dumpable": true,
        "users": [uid, uid, uid],
        "groups": [gid, gid, gid],
        "supplementary groups": supplementary,
        "some capability permitted": is_root,
        "some capability effective": is_root,
        "some capability inheritable": false,
        "some capability ambient": false,
        "no new privileges": false,
        "secure bits": 0,
        "leads its process group": true,
        "leads its session": true,
        "has a terminal": false,
        "has a key of another's": false,
    })
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

/// Limits are the service manager's to set for all that it starts, and are passed on, but for the one that a
/// daemon has raised for itself.
fn assert_limits(limits: &Map<String, Value>) {
    let expected = |resource| {
        let (soft, hard) = getrlimit(resource).expect("a limit");
        json!([soft, hard])
    };
    for (name, resource) in [
        ("AS", Resource::RLIMIT_AS),
        ("CORE", Resource::RLIMIT_CORE),
        ("CPU", Resource::RLIMIT_CPU),
        ("FSIZE", Resource::RLIMIT_FSIZE),
        ("MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("NPROC", Resource::RLIMIT_NPROC),
        ("STACK", Resource::RLIMIT_STACK),
    ] {
        assert_eq!(limits[name], expected(resource), "{name}");
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let hard = hard.min(8192);
    assert_eq!(limits["NOFILE"], json!([hard.min(1024), hard]));
}

fn assert_environment(own: &Own, user: &User, watch: &str, stat: &Stat) {
    let path = own.environment.iter().find(|variable| variable.starts_with("PATH=")).expect("a PATH");
    assert!(path[5..].split(':').any(|folder| folder == "/usr/bin"), "{path}");
    let own_id = own.environment.iter().find(|variable| variable.starts_with("TWITCHER_RUN_ID="));
    let expected = [
        "GREETING=hello".to_owned(),
        format!("HOME={}", user.dir.display()),
        "LANG=C.UTF-8".to_owned(),
        format!("LOGNAME={}", user.name),
        path.clone(),
        format!("SHELL={}", user.shell.display()),
        "TWITCHER_ATTEMPT=1".to_owned(),
        "TWITCHER_EVENT=loaded".to_owned(),
        format!("TWITCHER_MZXID={}", stat.mzxid),
        own_id.expect("an id").clone(),
        "TWITCHER_VERSION=1".to_owned(),
        format!("TWITCHER_WATCH={watch}"),
        "TWITCHER_ZNODE=/value".to_owned(),
        format!("USER={}", user.name),
    ];
    assert_eq!(own.environment, expected);
}

fn watch_that_prints() -> WatchFile {
    let program = inherited().to_str().expect("a path of text");
    WatchFile::program("/value", &[program, "print"])
        .key("name", "\"prints\"")
        .key("directory", "\"/usr\"")
        .key("umask", "\"027\"")
        .key("env", "{ GREETING = \"hello\" }")
}

fn own_user() -> User {
    User::from_uid(Uid::effective()).expect("the user database").expect("this process' user")
}

#[test]
fn the_dirt_that_a_daemon_is_started_with_is_dirt() {
    let mut command = Command::new(inherited());
    let output = command.arg("dirty").arg(inherited()).arg("print").output().expect("a dirty process");
    let printed = object(&String::from_utf8_lossy(&output.stdout)).expect("JSON");
    // All but SIGKILL and SIGSTOP, and those that the C library keeps to itself among them.
    let signals: Vec<i64> = (1..=64).filter(|number| ![9, 19].contains(number)).collect();
    assert_eq!(printed["ignored"], json!(signals));
    assert_eq!(printed["blocked"], json!(signals));
    let numbers: Vec<&Value> =
        printed["descriptors"].as_array().expect("a list").iter().map(|each| &each["number"]).collect();
    assert!(numbers.contains(&&json!(7)) && numbers.contains(&&json!(77)), "{numbers:?}");
    assert_eq!(printed["umask"], "067");
    assert_eq!(printed["directory"], "/proc");
    let own = rustix::process::getpriority_process(None).expect("the niceness of this process");
    assert_eq!(printed["nice"], (own + 5).min(19));
    assert_eq!(printed["scheduling policy"], 3);
    assert_eq!(printed["timer slack"], 1_234_567);
    assert_eq!(printed["OOM score adjustment"], "300");
    assert_eq!(printed["has a terminal"], true);
    let has_key = printed["has a key of another's"] == true;
    is_shown(has_key, "this kernel, or who runs this container, lets nobody have keys");
    if Uid::effective().is_root() {
        assert_eq!(printed["supplementary groups"], json!([1, 2, 3]));
        assert_eq!(printed["some capability inheritable"], true);
        assert_eq!(printed["some capability ambient"], true);
    }
}

#[test]
fn p7_a_child_of_a_dirty_daemon_inherits_nothing_of_it() {
    let folder = Folder::new();
    let (mut daemon, stat) = dirty_daemon(&folder, watch_that_prints());
    // As the log has it, a line of output after the other.
    let mut printed = eventually(DEADLINE, "what a child has inherited", || {
        let log = daemon.log();
        let line = |line: &str| Some(line.split_once("prints[")?.1.split_once("]| ")?.1.to_owned());
        let lines: Vec<String> = log.lines().filter_map(line).collect();
        let start = lines.iter().position(|line| line == "{").ok_or_else(|| log.clone())?;
        let end = lines.iter().position(|line| line == "}").ok_or_else(|| log.clone())?;
        object(&lines[start..=end].concat()).ok_or(log)
    });
    let own = take_own(&mut printed);
    let is_root = Uid::effective().is_root();
    let user = own_user();
    if !is_root {
        // What takes a privilege to be taken back stays.
        for name in ["nice", "OOM score adjustment", "scheduling policy", "I/O priority"] {
            printed.remove(name);
        }
    }
    let groups: Vec<u32> = if is_root {
        // Nobody has asked for others than the daemon's.
        vec![1, 2, 3]
    } else {
        nix::unistd::getgroups().expect("groups").into_iter().map(|group| group.as_raw()).collect()
    };
    let pipe = json!({"number": 1, "file": "pipe", "access": "write", "append": false, "nonblocking": false});
    let mut expected = clean(&user, &groups, pipe, is_root);
    expected.as_object_mut().expect("an object").retain(|name, _| printed.contains_key(name));
    snapbox::assert_data_eq!(pretty(&printed), pretty(&expected));
    assert_limits(&own.limits);
    assert_environment(&own, &user, "prints", &stat);
    assert_eq!(own.parent, i64::from(daemon.minder_pid()));
    assert!(own.pid > 0 && own.cgroup.is_string());

    // Nothing of it is in the way of the daemon either, nor held by the minder as long as a child runs.
    let minder = daemon.minder();
    let held = minder.descriptors();
    assert!(held.iter().all(|held| !held.contains("/dev/pts") && !held.contains("ptmx")), "{held:#?}");
    assert!(
        held.iter().all(|held| !held.starts_with("7 /dev/null") && !held.starts_with("77 ")),
        "{held:#?}"
    );
    assert_eq!(daemon.stop().code(), Some(0));
    eventually(DEADLINE, "the minder to end", || !minder.is_alive());
}

#[test]
fn p7_a_child_of_another_user_inherits_nothing_of_a_dirty_daemon() {
    if !root_can("run children as another user") {
        return;
    }
    let folder = Folder::new();
    let output = Journal::new(&folder, "output");
    let watch = watch_that_prints().key("uid", "\"nobody\"").key("output", format!("{:?}", output.path()));
    let (mut daemon, stat) = dirty_daemon(&folder, watch);
    let mut printed = eventually(DEADLINE, "what a child has inherited", || object(&output.lines().concat()));
    let own = take_own(&mut printed);
    let user = User::from_name("nobody").expect("the user database").expect("nobody");
    let name = std::ffi::CString::new(user.name.clone()).expect("a name");
    let groups = nix::unistd::getgrouplist(&name, user.gid).expect("groups");
    let groups: Vec<u32> = groups.into_iter().map(|group| group.as_raw()).collect();
    let file = json!({
        "number": 1, "file": output.path(), "access": "write", "append": true, "nonblocking": false
    });
    snapbox::assert_data_eq!(pretty(&printed), pretty(&clean(&user, &groups, file, false)));
    assert_limits(&own.limits);
    assert_environment(&own, &user, "prints", &stat);
    assert_eq!(daemon.stop().code(), Some(0));
}

/// `procenv(1)` looks by other means than the program above does.
#[test]
fn p7_procenv_finds_nothing_of_a_dirty_daemon_in_a_child() {
    let folder = Folder::new();
    let output = Journal::new(&folder, "output");
    let watch = WatchFile::program("/value", &["procenv", "--format=json"])
        .key("name", "\"prints\"")
        .key("directory", "\"/usr\"")
        .key("umask", "\"027\"")
        .key("output", format!("{:?}", output.path()));
    let (mut daemon, _) = dirty_daemon(&folder, watch);
    let printed = eventually(DEADLINE, "what procenv has found ('make deps' installs it)", || {
        object(&output.lines().concat()).ok_or_else(|| daemon.log())
    });

    let descriptors = printed["file descriptors"].as_array().expect("a list").iter();
    let numbers: Vec<&String> =
        descriptors.flat_map(|one| one.as_object().expect("an object").keys()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{}", pretty(&printed["file descriptors"]));

    let signals: Map<String, Value> = printed["signals"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|one| one.as_object().expect("an object").clone())
        .collect();
    assert!(signals.len() > 30, "{}", pretty(&signals));
    for (name, signal) in &signals {
        assert_eq!((&signal["blocked"], &signal["ignored"]), (&json!("no"), &json!("no")), "{name}");
    }

    let all = Value::Object(printed.clone());
    let at = |path: &str| all.pointer(&format!("/{path}")).cloned();
    let mut expected = vec![
        ("misc/umask", "0027"),
        ("misc/current directory (cwd)", "'/usr'"),
        ("misc/prctl/parent death signal", "disabled"),
        ("misc/prctl/no new privileges", "normal execve"),
        ("misc/prctl/timer slack", "50000ns"),
        ("misc/prctl/child subreaper", "no"),
        ("misc/prctl/dumpable", "yes"),
        ("misc/personality/type", "PER_LINUX"),
        ("misc/personality/flags", ""),
        ("process/has controlling terminal", "no"),
        ("limits/RLIMIT_NOFILE/soft/current", "1024"),
    ];
    if Uid::effective().is_root() {
        // What takes a privilege to be taken back.
        expected.extend([
            ("oom/oom_score_adj", "0"),
            ("cpu/scheduler/type", "SCHED_OTHER"),
            ("cpu/scheduler/priority/process", "0"),
            ("cpu/scheduler/I~1O priority/process/class", "IOPRIO_CLASS_NONE"),
        ]);
    }
    for (path, value) in expected {
        assert_eq!(at(path), Some(json!(value)), "{path}");
    }
    for path in ["process/session id (sid)", "process/process group id"] {
        assert!(at(path).is_some_and(|leads| leads.to_string().contains("leader=yes")), "{path}");
    }
    let names: Vec<&String> = printed["environment"].as_object().expect("an object").keys().collect();
    let own = |name: &&&String| ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"].contains(&name.as_str());
    let of_the_run = |name: &&&String| {
        let name = name.strip_prefix("TWITCHER_").unwrap_or_default();
        ["ATTEMPT", "EVENT", "MZXID", "RUN_ID", "VERSION", "WATCH", "ZNODE"].contains(&name)
    };
    let others: Vec<_> = names.iter().filter(|name| !own(name) && !of_the_run(name)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}
