//! `twitcher poke`, `get`, `ls`, `set` and `rm` against a real server.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use clap::{Args, Command, FromArgMatches};
use twitcher::cli::get::{GetArgs, get};
use twitcher::cli::ls::{LsArgs, ls};
use twitcher::cli::poke::{PokeArgs, poke};
use twitcher::cli::rm::{RmArgs, rm};
use twitcher::cli::set::{SetArgs, set};
use twitcher::cli::zookeeper::CommandError;
use twitcher::watch::client::Client;
use twitcher::watch::ensemble::Ensemble;
use twitcher::watch::failure::Failure;

use crate::harness::DEADLINE;
use crate::harness::zookeeper::{Server, shared_chroot};
use crate::watch::rig::{path, runtime};

fn parse<T: Args + FromArgMatches>(line: &[&str]) -> T {
    let found = T::augment_args(Command::new("twitcher")).no_binary_name(true).get_matches_from(line);
    T::from_arg_matches(&found).unwrap()
}

fn poked(servers: &str, line: &[&str], stdin: &[u8]) -> Result<String, CommandError> {
    let mut out = Vec::new();
    runtime().block_on(poke(&parse::<PokeArgs>(line), &Ensemble::plain(servers), stdin, &mut out))?;
    Ok(String::from_utf8(out).unwrap())
}

fn got(servers: &str, line: &[&str]) -> Result<Vec<u8>, CommandError> {
    let mut out = Vec::new();
    runtime().block_on(get(&parse::<GetArgs>(line), &Ensemble::plain(servers), &mut out))?;
    Ok(out)
}

#[test]
fn what_was_set_is_listed_and_can_be_removed() {
    let servers = shared_chroot("set");
    let ensemble = Ensemble::plain(&servers);
    let set = |line: &[&str], stdin: &[u8]| {
        runtime().block_on(set(&parse::<SetArgs>(line), &ensemble, stdin, &mut Vec::new()))
    };
    let list = |znode: &str| {
        let mut out = Vec::new();
        runtime().block_on(ls(&parse::<LsArgs>(&[znode]), &ensemble, &mut out))?;
        Ok::<_, CommandError>(String::from_utf8(out).unwrap())
    };
    let remove = |znode: &str| runtime().block_on(rm(&parse::<RmArgs>(&[znode]), &ensemble));
    set(&["--create", "/a/y", "-text"], b"").unwrap();
    set(&["--create", "/a/x", "-"], b"piped").unwrap();
    assert_eq!(got(&servers, &["/a/y"]).unwrap(), b"-text");
    assert_eq!(got(&servers, &["/a/x"]).unwrap(), b"piped");
    set(&["/a/x", ""], b"").unwrap();
    assert_eq!(got(&servers, &["/a/x"]).unwrap(), b"");
    assert_eq!(list("/a").unwrap(), "x\ny\n");
    assert_eq!(list("/a/x").unwrap(), "");

    let error = remove("/a").unwrap_err();
    let said = "/a has children\nhelp: delete them first; 'twitcher ls /a' names them";
    assert_eq!((&*error.to_string(), error.exit_code()), (said, 1));
    for znode in ["/a/x", "/a/y", "/a"] {
        remove(znode).unwrap();
    }
    for error in [remove("/a").unwrap_err(), list("/a").unwrap_err()] {
        assert_eq!((&*error.to_string(), error.exit_code()), ("no znode /a", 1));
    }
    assert_eq!(set(&["/a", "x"], b"").unwrap_err().exit_code(), 1);
}

#[test]
fn many_that_create_the_same_at_once_all_write() {
    let servers = shared_chroot("poke-race");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let servers = &servers;
            scope.spawn(move || {
                poked(servers, &["--create", "/a/b/c", "--data", &number.to_string()], b"").unwrap()
            });
        }
    });
    let (_, version) = runtime().block_on(async {
        let client = Client::connect(&Ensemble::plain(&servers), DEADLINE).await.unwrap();
        client.get(&path("/a/b/c")).await.unwrap()
    });
    assert_eq!(version.version, 7);
}

#[test]
fn a_server_that_does_not_answer_is_status_4_when_the_time_is_over() {
    let server = Server::start();
    server.freeze();
    let since = Instant::now();
    let error = poked(&server.address(), &["--timeout", "500ms", "/a"], b"").unwrap_err();
    // Less than where nothing is said of the time.
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("within 0.5 s"), "{error}");
    server.thaw();
    server.stop();
    let error = got(&server.address(), &["--timeout", "500ms", "/a"]).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("no server answers"), "{error}");
    let error = got("not:a:server", &["/a"]).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("not a list of ZooKeeper servers"), "{error}");
}

#[test]
fn a_server_that_comes_back_in_time_is_poked() {
    let server = Server::start();
    let address = server.address();
    server.stop();
    std::thread::scope(|scope| {
        let poking = scope.spawn(|| poked(&address, &["--timeout", "30s", "--create", "/a"], b""));
        server.start_again();
        poking.join().unwrap().unwrap();
    });
}

/// As it comes, a server takes requests of 1 MiB less one byte, with the path and what else is in them.
#[test]
fn contents_are_refused_when_they_are_longer_than_the_server_takes() {
    let servers = shared_chroot("poke-size");
    poked(&servers, &["--create", "/a", "--data", ""], b"").unwrap();
    let chroot = servers.split_once('/').unwrap().1.len() + 1;
    let most = 0xf_ffff - 20 - chroot - "/a".len();
    poked(&servers, &["/a", "-"], &vec![b'x'; most]).unwrap();
    assert_eq!(got(&servers, &["/a"]).unwrap().len(), most);
    let most_new = most - 27;
    poked(&servers, &["--create", "/b", "-"], &vec![b'x'; most_new]).unwrap();
    // It is not tried until the time is over, which is longer than a test waits for anything.
    for (line, length) in [
        (&["--timeout", "60s", "/a", "-"][..], most + 1),
        (&["--timeout", "60s", "--create", "/c", "-"][..], most_new + 1),
        (&["--timeout", "60s", "/a", "-"][..], 1 << 20),
    ] {
        let since = Instant::now();
        let error = poked(&servers, line, &vec![b'x'; length]).unwrap_err();
        match &error {
            CommandError::ZooKeeper(Failure::TooLong { length: told, .. }) => assert_eq!(*told, length),
            other => panic!("{other}"),
        }
        assert_eq!(error.exit_code(), 1);
        assert!(since.elapsed() < DEADLINE, "{:?}", since.elapsed());
    }
    let error = runtime()
        .block_on(poke(
            &parse::<PokeArgs>(&["/a", "-"]),
            &Ensemble::plain("127.0.0.1:1"),
            std::io::repeat(b'x'),
            std::io::sink(),
        ))
        .unwrap_err();
    assert!(matches!(error, CommandError::ZooKeeper(Failure::TooLong { .. })), "{error}");
}
