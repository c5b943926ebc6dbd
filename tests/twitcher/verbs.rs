//! The subcommands that need no daemon: `check`, `poke`, `get`, and what they exit with.

use std::ffi::OsStr;
use std::fs::{self};
use std::io::Write;
use std::process::{Output, Stdio};

use jiff::{SignedDuration, Timestamp};
use nix::unistd::gethostname;

use crate::harness::zookeeper::port::Port;
use crate::harness::{Client, Folder, WatchFile, files, shared_chroot, twitcher};

/// Runs a subcommand with these bytes at its stdin.
fn run_with(zookeeper: &str, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut command = twitcher();
    command.env("TWITCHER_ZKSERVERS", zookeeper).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    // One that fails before it reads has closed the pipe.
    let _ = child.stdin.take().expect("its stdin").write_all(stdin);
    child.wait_with_output().expect("its output")
}

fn run(zookeeper: &str, arguments: &[&str]) -> Output {
    run_with(zookeeper, arguments, b"")
}

/// What it wrote to stderr, when it exited with this status and wrote nothing to stdout.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(output.stdout, b"");
    assert!(!error.is_empty());
    error
}

#[track_caller]
fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn whoever_has_read_enough_is_told_nothing_more() {
    let zookeeper = shared_chroot("read-enough");
    Client::connect(&zookeeper).create("/value", "contents");
    let folder = Folder::new();
    fs::write(folder.join("a.toml"), "[[watch]]\nznode = '/a'\ncommand = 'true'\ntimeout = 1\n")
        .expect("a file");
    let file = folder.join("a.toml").display().to_string();
    for arguments in [&["get", "/value"][..], &["ls", "/"], &["check", &file]] {
        let mut command = twitcher();
        command.env("TWITCHER_ZKSERVERS", &zookeeper).args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its output");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn poke_writes_the_time_and_the_host_when_it_is_given_nothing_else() {
    let zookeeper = shared_chroot("poke");
    let client = Client::connect(&zookeeper);
    client.create("/value", "before");
    // What is written has milliseconds.
    let before = Timestamp::now() - SignedDuration::from_millis(1);
    done(&run(&zookeeper, &["poke", "/value"]));
    let text = String::from_utf8(client.get("/value").expect("contents")).expect("text");
    let (time, host) = text.trim().split_once(' ').expect("two words");
    let time: Timestamp = time.parse().expect("a time");
    assert!(before <= time && time <= Timestamp::now(), "{text}");
    assert_eq!(host, gethostname().expect("a host name").to_string_lossy());
    let output = run(&zookeeper, &["poke", "-v", "/value"]);
    done(&output);
    assert!(output.stdout.starts_with(b"/value: wrote "), "{output:?}");
}

#[test]
fn poke_writes_the_data_the_file_or_the_stdin_that_it_is_given_byte_for_byte() {
    let zookeeper = shared_chroot("poke-bytes");
    let client = Client::connect(&zookeeper);
    client.create("/value", "before");
    let output = run(&zookeeper, &["poke", "/value", "--data", "some text"]);
    done(&output);
    assert_eq!(output.stdout, b"");
    assert_eq!(client.get("/value").as_deref(), Some(&b"some text"[..]));
    done(&run(&zookeeper, &["poke", "/value", "--data", ""]));
    assert_eq!(client.get("/value").as_deref(), Some(&b""[..]));
    let folder = Folder::new();
    let (file, bytes) = (folder.join("file"), b"\0\xff\r\nbytes\n\n");
    fs::write(&file, bytes).expect("a file");
    done(&run(&zookeeper, &["poke", "/value", "--file", &file.to_string_lossy()]));
    assert_eq!(client.get("/value").as_deref(), Some(&bytes[..]));
    done(&run_with(&zookeeper, &["poke", "/value", "-"], b"\0\xfe from stdin"));
    assert_eq!(client.get("/value").as_deref(), Some(&b"\0\xfe from stdin"[..]));
}

#[test]
fn poke_makes_a_znode_and_those_above_it_only_when_it_is_told_to() {
    let zookeeper = shared_chroot("poke-create");
    let client = Client::connect(&zookeeper);
    let error = refused(&run(&zookeeper, &["poke", "/git/head", "--data", "x"]), 1);
    let expected = "twitcher: no znode /git/head\nhelp: make it with 'twitcher poke --create /git/head'\n";
    assert_eq!(error, expected);
    assert!(!client.exists("/git"));
    done(&run(&zookeeper, &["poke", "/git/head", "--create", "--data", "x"]));
    assert_eq!(client.get("/git/head").as_deref(), Some(&b"x"[..]));
    assert_eq!(client.get("/git").as_deref(), Some(&b""[..]));
    // What is there already is poked as without it.
    done(&run(&zookeeper, &["poke", "/git/head", "--create", "--data", "y"]));
    assert_eq!(client.get("/git/head").as_deref(), Some(&b"y"[..]));
    done(&run(&zookeeper, &["poke", "/git/other", "--create", "--data", "z"]));
    assert_eq!(client.get("/git/other").as_deref(), Some(&b"z"[..]));
}

#[test]
fn poke_refuses_what_zookeeper_would_not_take() {
    let zookeeper = shared_chroot("poke-large");
    let client = Client::connect(&zookeeper);
    client.create("/value", "before");
    let output = run_with(&zookeeper, &["poke", "/value", "-"], &vec![b'x'; 1024 * 1024]);
    let error = refused(&output, 1);
    assert!(error.contains("1 MiB") || error.contains("1048576"), "{error}");
    assert_eq!(client.get("/value").as_deref(), Some(&b"before"[..]));
}

#[test]
fn get_writes_the_bytes_and_nothing_else() {
    let zookeeper = shared_chroot("get");
    let client = Client::connect(&zookeeper);
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    client.create("/value", &bytes);
    client.create("/empty", "");
    for (path, contents) in [("/value", &bytes[..]), ("/empty", b"")] {
        let output = run(&zookeeper, &["get", path]);
        done(&output);
        assert_eq!(output.stdout, contents);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn get_of_what_is_not_there_exits_with_1() {
    let error = refused(&run(&shared_chroot("get-nothing"), &["get", "/no/such"]), 1);
    assert_eq!(error, "twitcher: no znode /no/such\n");
}

#[test]
fn a_flag_beats_the_variable_and_the_variable_beats_the_file() {
    let (from_flag, from_variable, from_file) =
        (shared_chroot("flag"), shared_chroot("variable"), shared_chroot("file"));
    for zookeeper in [&from_flag, &from_variable, &from_file] {
        Client::connect(zookeeper).create("/whose", &zookeeper[zookeeper.find('/').expect("a chroot")..]);
    }
    let folder = Folder::new();
    let settings = folder.join("settings.toml");
    fs::write(&settings, format!("[zookeeper]\nservers = {from_file:?}\n")).expect("a settings file");
    let whose = |variable: Option<&str>, arguments: &[&str]| {
        let mut command = twitcher();
        command.env("TWITCHER_CONFIG", &settings);
        command.envs(variable.map(|value| ("TWITCHER_ZKSERVERS", value)));
        let output = command.args(["get", "/whose"]).args(arguments).output().expect("the program");
        done(&output);
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(whose(None, &[]).starts_with("/file-"));
    assert!(whose(Some(&from_variable), &[]).starts_with("/variable-"));
    assert!(whose(Some(&from_variable), &["--zkservers", &from_flag]).starts_with("/flag-"));
}

#[test]
fn a_wrong_use_exits_with_2() {
    let nowhere = "127.0.0.1:1";
    for arguments in [
        &["get"][..],
        &["poke"],
        &["no-such-command"],
        &["get", "/value", "--no-such-flag"],
        &["get", "not/absolute"],
        &["get", "/trailing/"],
        &["poke", "/value", "--data", "x", "--file", "y"],
        &["poke", "/value", "--data", "x", "-"],
    ] {
        refused(&run(nowhere, arguments), 2);
    }
}

#[test]
fn a_broken_settings_file_exits_with_3() {
    let folder = Folder::new();
    let settings = folder.join("settings.toml");
    fs::write(&settings, "[zookeeper]\nservers = 3\n").expect("a settings file");
    let output = twitcher().env("TWITCHER_CONFIG", &settings).args(["get", "/value"]).output();
    let error = refused(&output.expect("the program"), 3);
    assert!(error.contains("settings.toml:2"), "{error}");
}

#[test]
fn an_ensemble_that_cannot_be_reached_exits_with_4() {
    let port = Port::reserve();
    let address = port.address().to_string();
    for arguments in [&["get", "/value", "--timeout", "1"][..], &["poke", "/value", "--timeout", "1"]] {
        let error = refused(&run(&address, arguments), 4);
        assert!(error.contains(&address), "{error}");
    }
}

/// Runs `check` on a watch file with this text.
fn check(text: impl AsRef<str>, arguments: &[&str]) -> (Output, String) {
    let folder = Folder::new();
    let file = folder.join("value.toml");
    files::write(&file, text.as_ref());
    let output = twitcher().arg("check").args(arguments).arg(&file).output().expect("the program");
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8(said).expect("text"))
}

#[test]
fn check_exits_with_0_for_a_good_file() {
    let (output, said) = check(WatchFile::program("/value", &["true"]), &[]);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn check_explains_a_watch_with_every_default() {
    let (output, said) = check(WatchFile::program("/value", &["true"]), &["--explain"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for text in ["/value", "run_mode", "QUEUE", "kill_after", "5s", "umask", "022"] {
        assert!(said.contains(text), "no {text} in {said}");
    }
}

#[test]
fn check_says_where_a_file_is_wrong_and_what_would_be_right() {
    for (text, place, hint) in [
        (
            "[[watch]]\nznode = \"/value\"\ncommand = \"true\"\nrun_mod = \"QUEUE\"\n",
            "value.toml:4:1",
            "run_mode",
        ),
        (
            "[[watch]]\nznode = \"/value\"\ncommand = \"true\"\nrun_mode = \"QUEU\"\n",
            "value.toml:4:12",
            "QUEUE",
        ),
        ("[[watch]]\nznode = \"value\"\ncommand = \"true\"\n", "value.toml:2:9", "absolute"),
        ("[[watch]]\nznode = \"/value\"\n", "value.toml:1:1", "command"),
        ("[[watch]\n", "value.toml:1:", ""),
    ] {
        let (output, said) = check(text, &[]);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(place) && said.contains(hint) && said.contains('^'), "{said}");
    }
}

#[test]
fn check_warns_of_what_is_odd_and_exits_with_0_and_tells_a_program_the_same() {
    let watch = WatchFile::program("/value", &["no-such-command"]);
    let (output, said) = check(watch.as_ref(), &[]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("value.toml:3:11: warning: there is no command no-such-command"), "{said}");
    let (output, said) = check(watch, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let all: serde_json::Value = serde_json::from_str(&said).expect("JSON and nothing else");
    let warnings = all["warnings"].as_array().expect("a list").iter();
    let places: Vec<_> =
        warnings.map(|warning| (warning["line"].as_u64(), warning["column"].as_u64())).collect();
    assert!(places.contains(&(Some(3), Some(11))), "{said}");
}

#[test]
fn check_reads_a_folder_as_the_daemon_would() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        files::write(&path, text);
    };
    write("good.toml", WatchFile::program("/value", &["true"]).as_ref());
    write(".hidden.toml", "broken");
    write("value.txt", "broken");
    let check = || twitcher().args([OsStr::new("check"), folder.as_os_str()]).output().expect("the program");
    done(&check());
    write("twin.toml", WatchFile::program("/value", &["true"]).key("name", "\"good\"").as_ref());
    let output = check();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert!(said.contains("twin.toml") && said.contains("good"), "{said}");
}
