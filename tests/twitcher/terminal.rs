//! What is seen on a terminal: `status` in its width and with colours, and `status --watch` in its place.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;

use super::control::{ask, told, wait_for_state};
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Gate, Terminal, WatchFile, eventually, shared_chroot, twitcher,
};

const SIZE: (u16, u16) = (80, 24);
const USUAL: &[(&str, &str)] = &[("TERM", "xterm-256color")];
const SETTINGS: &str = "[daemon]\nhostname = \"web-1\"\n";

/// The program with these arguments, asking this daemon.
fn asking(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = twitcher();
    command.args(arguments).arg("--run-dir").arg(daemon.run_dir());
    command
}

/// So many watches, most of which wait for their znode; the last one by name has failed.
fn many(folder: &Folder, zookeeper: &str, watches: usize) -> Daemon {
    Client::connect(zookeeper).create("/failing", "1");
    let file = (1..watches).fold(WatchFile::from(String::new()), |file, number| {
        file.and(&format!("/{number}"), "true").key("name", format!("\"watch-{number:03}\""))
    });
    let file = file.and("/failing", "exit 3").key("name", "\"zz-failing\"");
    let daemon = Daemon::builder(folder, zookeeper).settings(SETTINGS).watch("all.toml", file).start();
    daemon.wait_for_log("outcome=exited(3)");
    wait_for_state(&daemon, "zz-failing", "watching");
    daemon
}

/// How often the whole was drawn.
fn draws(terminal: &mut Terminal) -> usize {
    terminal.written().windows(3).filter(|three| three == b"\x1b[H").count()
}

#[test]
fn status_is_drawn_in_place_in_any_size_and_over_a_restart_until_ctrl_c() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("terminal-watch"));
    let mut daemon = many(&folder, &zookeeper, 200);
    let mut terminal = Terminal::start(SIZE, &asking(&daemon, &["status", "--watch"]), USUAL);
    let is_drawn = |rows: &[String]| {
        let last = rows.last().expect("rows");
        rows[0].starts_with("web-1: twitcher ") && last.starts_with("… ") && last.ends_with(" more lines")
    };
    let rows = terminal.wait_for("a screen of watches", is_drawn);
    assert_eq!(rows.len(), 24);
    assert!(rows[2].starts_with("200 watches, 0 running"), "{rows:#?}");
    assert!(rows[4].starts_with("WATCH ") && rows[5].starts_with("zz-failing "), "{rows:#?}");
    // What is shown and what is not are all there is: three lines, a blank one, a head, and the watches.
    assert_eq!(rows[23], format!("… {} more lines", 205 - 23));
    eventually(DEADLINE, "three draws", || draws(&mut terminal) >= 3);
    terminal.wait_for("the same screen", is_drawn);
    assert_eq!(terminal.screen().scrollback_len(), 0, "it has scrolled");
    let written = String::from_utf8_lossy(terminal.written()).into_owned();
    assert!(!written.contains("\x1b[2J"), "it is cleared before it is drawn");

    terminal.resize(40, 10);
    let rows = terminal.wait_for("a screen of ten rows", |rows| rows.len() == 10 && is_drawn(rows));
    assert!(rows[0].starts_with("web-1: twitcher "), "{rows:#?}");
    terminal.resize(100, 30);
    terminal.wait_for("a screen of thirty rows", |rows| rows.len() == 30 && is_drawn(rows));

    assert_eq!(daemon.stop().code(), Some(0));
    let rows = terminal.wait_for("no daemon", |rows| rows[0].starts_with("no daemon at "));
    assert!(rows[2..].iter().all(String::is_empty), "something is left over: {rows:#?}");
    daemon.start_again();
    terminal.wait_for("the daemon again", is_drawn);

    terminal.type_in("\x03");
    assert_eq!(terminal.wait().signal(), Some(Signal::SIGINT as i32));
    let screen = terminal.screen();
    assert!(!screen.hide_cursor() && !screen.alternate_screen() && !screen.application_keypad());
    assert_eq!((screen.fgcolor(), screen.bold()), (vt100::Color::Default, false));
}

/// The cells in which a word stands, wherever it is first.
fn cell(terminal: &mut Terminal, word: &str) -> vt100::Cell {
    let rows = terminal.rows();
    let found = rows.iter().enumerate().find_map(|(row, text)| Some((row, text.find(word)?)));
    let (row, at) = found.unwrap_or_else(|| panic!("no {word} in {rows:#?}"));
    let column = rows[row][..at].chars().count();
    let cell =
        terminal.screen().cell(u16::try_from(row).expect("a row"), u16::try_from(column).expect("a column"));
    cell.expect("a cell").clone()
}

#[test]
fn colours_are_for_terminals_that_want_them_and_where_somebody_should_look() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("terminal-colours"));
    let client = Client::connect(&zookeeper);
    for znode in ["/idle", "/running", "/stopped"] {
        client.create(znode, "1");
    }
    let gate = Gate::new(&folder, "gate");
    let file = WatchFile::watch("/idle", "true").key("name", "\"idle\"");
    let file = file.and("/running", &gate.pass()).key("name", "\"runs\"");
    let file = file.and("/stopped", "exit 3").key("name", "\"ill\"").key("on_failure", "\"stop\"");
    let daemon = Daemon::builder(&folder, &zookeeper).settings(SETTINGS).watch("all.toml", file).start();
    daemon.wait_for_log("outcome=exited(0)");
    wait_for_state(&daemon, "runs", "running");
    wait_for_state(&daemon, "ill", "stopped");
    wait_for_state(&daemon, "idle", "watching");

    let mut terminal = Terminal::start(SIZE, &asking(&daemon, &["status"]), USUAL);
    assert_eq!(terminal.wait().code(), Some(0));
    let (red, green, usual) = (vt100::Color::Idx(1), vt100::Color::Idx(2), vt100::Color::Default);
    for (word, colour, bold) in [
        ("stopped ", red, false),
        ("exited(3)", red, false),
        ("running   -", green, true),
        ("watching", usual, false),
        ("exited(0)", usual, false),
        ("idle", usual, false),
    ] {
        let cell = cell(&mut terminal, word);
        assert_eq!((cell.fgcolor(), cell.bold()), (colour, bold), "{word}");
    }
    let painted = terminal.rows();

    for environment in [&[("TERM", "xterm"), ("NO_COLOR", "1")][..], &[("TERM", "dumb")], &[]] {
        let mut terminal = Terminal::start(SIZE, &asking(&daemon, &["status"]), environment);
        assert_eq!(terminal.wait().code(), Some(0));
        assert!(!terminal.written().contains(&b'\x1b'), "{environment:?}");
        // The same but for how long ago things were.
        let words =
            |rows: &[String]| rows.iter().map(|row| row.split_whitespace().count()).collect::<Vec<_>>();
        assert_eq!(words(&terminal.rows()), words(&painted));
    }
    assert!(!told(&daemon, &["status"]).contains('\x1b'));
    let piped = asking(&daemon, &["status"]).env("CLICOLOR_FORCE", "1").env("TERM", "xterm").output();
    assert!(!piped.expect("twitcher").stdout.contains(&b'\x1b'));
    gate.open();
}

#[test]
fn no_row_is_wider_than_the_terminal_and_a_pipe_gets_a_line_for_each_watch() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("terminal-width"));
    let long = "a-name-that-goes-on-and-on.and-on.and-on.and-on.and-on.and-on.and-on";
    Client::connect(&zookeeper).create("/ünïcödé-世界", "1");
    let file =
        WatchFile::program("/ünïcödé-世界", &["/no/such/prögram/世界/of/a/long/path/that/does/not/end"]);
    let file = file.key("name", format!("{long:?}")).key("description", "\"世界\"");
    let file = file.and("/missing", "true").key("name", "\"missing\"");
    let daemon = Daemon::builder(&folder, &zookeeper).settings(SETTINGS).watch("all.toml", file).start();
    daemon.wait_for_log("spawn-failed");
    wait_for_state(&daemon, long, "watching");
    let width = |line: &str| line.chars().filter_map(unicode_width::UnicodeWidthChar::width).sum::<usize>();
    for arguments in [&["status"][..], &["history", long]] {
        for columns in [80, 60] {
            let mut terminal = Terminal::start((columns, 50), &asking(&daemon, arguments), &[]);
            assert_eq!(terminal.wait().code(), Some(0));
            let text = String::from_utf8(terminal.written().to_vec()).expect("text");
            // What is above the table of `status` names servers and files, however long they are.
            let table = text.split_once("\r\n\r\n").map_or(&*text, |(_, table)| table);
            assert!(table.lines().count() > 2, "{text}");
            let too_wide: Vec<&str> = table.lines().filter(|line| width(line) > columns.into()).collect();
            assert!(too_wide.is_empty(), "{too_wide:#?}");
        }
    }
    let text = told(&daemon, &["status"]);
    let table: Vec<&str> = text.split_once("\n\n").expect("a table").1.lines().collect();
    assert_eq!(table.len(), 3, "{text}");
    assert!(table[1].starts_with(long) && table[1].contains("does/not/end"), "{text}");
}

#[test]
fn broken_files_leave_a_terminal_some_room_for_the_watches() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("terminal-broken"));
    let builder = Daemon::builder(&folder, &zookeeper).settings(SETTINGS);
    let builder = builder.watch("good.toml", WatchFile::watch("/missing", "true").key("name", "\"good\""));
    let builder = (0..200).fold(builder, |builder, number| {
        builder.watch(&format!("broken-{number:03}.toml"), "[[watch]]\nznode = 5\ncommand = 'x'\n")
    });
    let daemon = builder.start();
    wait_for_state(&daemon, "good", "missing");
    let mut terminal = Terminal::start(SIZE, &asking(&daemon, &["status", "--watch"]), USUAL);
    let rows = terminal.wait_for("the watch", |rows| rows.iter().any(|row| row.starts_with("good ")));
    assert_eq!(rows.iter().filter(|row| row.starts_with("BROKEN ")).count(), 7, "{rows:#?}");
    assert!(rows.contains(&"BROKEN and 194 more: 'twitcher reload' names all".to_owned()), "{rows:#?}");
    let piped = told(&daemon, &["status"]);
    assert_eq!(piped.lines().filter(|line| line.starts_with("BROKEN ")).count(), 200);
    assert_eq!(ask(&daemon, &["reload"]).status.code(), Some(3));
}
