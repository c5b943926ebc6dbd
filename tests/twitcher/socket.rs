//! Who may use the control socket, and what it takes from those who abuse it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output};
use std::thread;

use nix::unistd::{Gid, Uid};

use crate::harness::{
    DEADLINE, Daemon, Folder, Site, WatchFile, eventually, files, http, install, root_can, shared_chroot,
    twitcher,
};

/// A group that nobody is in, and users whom nobody knows.
const GROUP: u32 = 3_999_001;
const OTHER_GROUP: u32 = 3_999_002;
const USER: u32 = 3_999_003;

#[test]
fn members_of_the_group_may_use_the_socket_and_others_may_not_also_where_its_mode_was_loosened() {
    let site = Site::new("socket-group");
    let is_root = Uid::effective().is_root();
    // Only root can give the socket to any group.
    let group = if is_root { GROUP } else { Gid::effective().as_raw() };
    let daemon = site.builder().settings(&format!("[control]\ngroup = {group}\n")).start();
    daemon.wait_until_ready();
    let socket = daemon.run_dir().join("control.sock");
    let found = fs::metadata(&socket).expect("the socket");
    assert_eq!((found.mode() & 0o777, found.uid(), found.gid()), (0o660, Uid::effective().as_raw(), group));
    assert!(
        twitcher().arg("status").arg("--run-dir").arg(daemon.run_dir()).status().expect("status").success()
    );
    if !root_can("ask as another user") {
        return;
    }
    let program = site.folder.join("twitcher");
    install(&program);
    let ask = |gid: u32, groups: &str| -> Output {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={USER}"))
            .arg(format!("--regid={gid}"))
            .arg(format!("--groups={groups}"));
        command.arg(&program).args(["pause", "no-such", "--run-dir"]).arg(daemon.run_dir());
        command.output().expect("setpriv")
    };
    let (group, other) = (GROUP.to_string(), OTHER_GROUP.to_string());
    let member = "twitcher: there is no watch named 'no-such'\n";
    let stranger = format!("twitcher: the socket {} is not yours to use\n", socket.display());
    for (gid, groups) in [(GROUP, &other), (OTHER_GROUP, &group), (OTHER_GROUP, &format!("{other},{group}"))]
    {
        assert_eq!(String::from_utf8_lossy(&ask(gid, groups).stderr), member, "{gid} {groups}");
    }
    let refused = ask(OTHER_GROUP, &other);
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with(&stranger), "{refused:?}");
    // Who gets past the mode is looked at once more.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("another mode");
    assert_eq!(String::from_utf8_lossy(&ask(OTHER_GROUP, &group).stderr), member);
    for _ in 0..2 {
        let refused = ask(OTHER_GROUP, &other);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with(&stranger), "{refused:?}");
    }
    daemon.wait_for_log("refused somebody at the control socket");
    assert_eq!(daemon.log().matches("refused somebody").count(), 1, "{}", daemon.log());
    assert!(daemon.log().contains(&format!("uid={USER}")), "{}", daemon.log());
}

#[test]
fn a_group_that_there_is_not_is_told_at_start() {
    let folder = Folder::new();
    let settings = folder.join("settings.toml");
    files::write(&settings, "[control]\ngroup = \"no-such-group\"\n");
    let mut command = twitcher();
    command.args(["run", "--log-to-stderr", "--zkservers", "127.0.0.1:1", "--config"]).arg(&settings);
    for (option, name) in [("--run-dir", "run"), ("--state-dir", "state"), ("--config-path", "watches")] {
        command.arg(option).arg(folder.join(name));
    }
    let output = command.output().expect("twitcher");
    assert_eq!(output.status.code(), Some(3));
    let expected = format!(
        "{}: error: [control] group: no such group 'no-such-group'\n\
         help: make it, as with groupadd --system, or name another\n",
        settings.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert!(!folder.join("run").exists());
}

#[test]
fn p5_p8_a_thousand_clients_that_say_nothing_or_say_it_without_end_keep_nobody_waiting() {
    let site = Site::new("socket-crowd");
    site.client.create("/a", "1");
    let journal = site.journal("journal");
    let watch = WatchFile::watch("/a", &journal.append("$(cat)")).key("name", "\"a\"");
    let mut daemon = site.builder().watch("a.toml", watch).start();
    journal.expect(&["1"]);

    // Bodies and heads that never end, from clients that read what they are told meanwhile.
    let endless: Vec<_> = [
        ("POST /v1/reload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n", 413),
        ("GET /v1/status HTTP/1.1\r\nhost: x\r\n", "x-flood: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 431),
        (
            "GET /v1/status HTTP/1.1\r\nhost: x\r\nx-flood: ",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            431,
        ),
    ]
    .map(|(head, more, status)| {
        let mut stream = daemon.control();
        let answer = stream.try_clone().expect("a connection");
        let answer = thread::spawn(move || http::answer(answer).map(|answer| answer.status));
        thread::spawn(move || {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(more.as_bytes()).is_ok() {}
        });
        (answer, status)
    })
    .into();
    for (answer, status) in endless {
        assert_eq!(answer.join().expect("a client").expect("an answer"), status);
    }

    let crowd = http::crowd(1_000, || daemon.control());
    for number in 2..=10 {
        site.client.set("/a", number.to_string());
        journal.wait_for(number);
    }
    // Each has its turn once those before it were let go; none but root waits for it.
    let live = || http::ask(daemon.control(), "GET /livez").map(|answer| answer.status);
    eventually(DEADLINE, "an answer", || match live() {
        Ok(200) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(crowd);
    assert!(daemon.is_running());
    eventually(DEADLINE, "descriptors to be given back", || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("descriptors").count();
        if open < 100 { Ok(()) } else { Err(open) }
    });
}

#[test]
fn as_many_may_follow_as_leave_places_for_who_wants_an_answer_and_one_that_goes_makes_room() {
    let folder = Folder::new();
    let daemon = Daemon::builder(&folder, &shared_chroot("socket-followers")).start();
    daemon.wait_until_ready();
    let follow = || {
        let mut stream = daemon.control();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").expect("a request");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        (String::from_utf8_lossy(&status).into_owned(), stream)
    };
    let mut followers = Vec::new();
    for _ in 0..64 {
        let (status, stream) = follow();
        assert_eq!(status, "HTTP/1.1 200");
        followers.push(stream);
    }
    let refused =
        twitcher().args(["events", "-f", "--run-dir"]).arg(daemon.run_dir()).output().expect("events");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(said, "twitcher: 64 follow or wait already; try again\n");
    assert_eq!(daemon.ask("GET /v1/events?past").status, 200);
    assert_eq!(daemon.ask("GET /v1/status").status, 200);
    followers.pop();
    eventually(DEADLINE, "a place", || match &*follow().0 {
        "HTTP/1.1 200" => Ok(()),
        other => Err(other.to_owned()),
    });
}
