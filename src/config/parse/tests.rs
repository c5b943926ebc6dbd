//! Texts and the watches or the messages that they give.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nix::sys::signal::Signal;

use super::*;
use crate::config::keys;
use crate::config::settings::{Overrides, Settings};
use crate::config::spec::*;

fn specs(text: &str) -> Vec<Arc<WatchSpec>> {
    specs_with(text, &Defaults::default())
}

fn specs_with(text: &str, defaults: &Defaults) -> Vec<Arc<WatchSpec>> {
    let found = parse(Path::new("git.toml"), text.as_bytes(), defaults, "git").unwrap();
    found.into_iter().map(|placed| placed.spec).collect()
}

/// What `[defaults]` with these keys says.
fn defaults(keys: &str) -> Defaults {
    let text = format!("[defaults]\n{keys}");
    Settings::parse(Path::new("t.toml"), text.as_bytes(), Overrides::default()).unwrap().defaults
}

fn problems(text: &str) -> String {
    problems_with(text, &Defaults::default())
}

fn problems_with(text: &str, defaults: &Defaults) -> String {
    let found = parse(Path::new("git.toml"), text.as_bytes(), defaults, "git").unwrap_err();
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What is said of one key of a watch that is otherwise in order.
fn of_key(line: &str) -> String {
    problems(&format!("[[watch]]\nznode='/a'\ncommand='x'\n{line}"))
}

#[test]
fn two_lines_are_a_watch() {
    let all = specs("[[watch]]\nznode = '/git/head'\ncommand = ['git', 'pull']\n");
    let spec = &all[0];
    assert_eq!(spec.name.as_str(), "git");
    assert_eq!(&*spec.description, "git");
    assert_eq!(spec.command, Command::Argv(vec!["git".into(), "pull".into()]));
    assert_eq!(spec.run_mode, RunMode::Queue { notify_signal: None });
    assert_eq!(spec.run_on_load, RunOnLoad::Always);
    assert_eq!((spec.timeout, spec.kill_after), (None, Duration::from_secs(5)));
    assert!(spec.pipe_stdin && spec.enabled);
}

#[test]
fn later_tables_of_a_file_are_numbered() {
    let watch = "[[watch]]\nznode='/a'\ncommand='x'\n";
    let names: Vec<_> =
        specs(&format!("{watch}{watch}name='own'\n{watch}")).iter().map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["git", "own", "git-3"]);
}

#[test]
fn a_path_below_the_config_folder_is_a_name() {
    assert_eq!(base_name(Path::new("git.toml")), "git");
    assert_eq!(base_name(Path::new("web/nginx.conf.toml")), "web.nginx.conf");
}

#[test]
fn the_defaults_stand_for_what_a_watch_leaves_out() {
    let defaults =
        defaults("timeout='5m'\nrun_mode='PARALLEL'\nmax_parallel=3\nuid='git'\nenv={A='1',B='2'}");
    let text = "[[watch]]\nznode='/a'\ncommand='x'\nenv={B='3'}\n[[watch]]\nznode='/a'\ncommand='x'\nrun_mode='queue'\ntimeout=1";
    let found = parse(Path::new("a.toml"), text.as_bytes(), &defaults, "a").unwrap();
    let (first, second) = (&found[0].spec, &found[1].spec);
    assert_eq!(first.timeout, Some(Duration::from_secs(300)));
    assert_eq!(first.run_mode, RunMode::Parallel { max: 3 });
    assert_eq!(first.uid, Some(UserRef::Name("git".into())));
    assert_eq!(first.env.iter().map(|(k, v)| format!("{k}{v}")).collect::<String>(), "A1B3");
    assert_eq!(second.timeout, Some(Duration::from_secs(1)));
    assert_eq!(second.run_mode, RunMode::Queue { notify_signal: None });
}

#[test]
fn all_problems_of_a_file_are_told_together_in_order() {
    let text = "\
[[watch]]
znode = 'git/head'
comand = 'git pull'
timeout = -5
umask = 22

[[watch]]
name = 'b b'
znode = '/b'
command = []
";
    snapbox::assert_data_eq!(
        problems(text),
        snapbox::str![[r#"
git.toml:2:9: error: a znode path must be absolute: start it with '/'
 2 | znode = 'git/head'
   |         ^^^^^^^^^^
git.toml:3:1: error: unknown key "comand" in [[watch]]
 3 | comand = 'git pull'
   | ^^^^^^
help: did you mean "command"?
git.toml:4:11: error: timeout must not be negative
 4 | timeout = -5
   |           ^^
git.toml:5:9: error: umask must be a text in quotes, not a whole number
 5 | umask = 22
   |         ^^
help: put it in quotes: umask = "022"
git.toml:8:8: error: ' ' cannot be in a watch name; letters, digits, '.', '_' and '-' can
 8 | name = 'b b'
   |        ^^^^^
git.toml:10:11: error: command must not be empty
 10 | command = []
    |           ^^
"#]]
    );
}

#[test]
fn a_slip_in_the_toml_has_a_place() {
    snapbox::assert_data_eq!(
        problems("[[watch]]\nznode = '/a\ncommand = 'x'\n"),
        snapbox::str![[r#"
git.toml:2:12: error: invalid literal string, expected `'`
 2 | znode = '/a
   |            ^
"#]]
    );
}

#[test]
fn a_key_given_twice_has_a_place() {
    snapbox::assert_data_eq!(
        of_key("znode = '/b'"),
        snapbox::str![[r#"
git.toml:4:1: error: duplicate key
 4 | znode = '/b'
   | ^^^^^
"#]]
    );
}

#[test]
fn a_watch_without_anything_is_told_what_it_needs() {
    snapbox::assert_data_eq!(
        problems("[[watch]]\n"),
        snapbox::str![[r#"
git.toml:1:1: error: this watch has no znode
 1 | [[watch]]
   | ^^^^^^^^^
help: add the path of the znode, such as znode = "/git/head"
git.toml:1:1: error: this watch has no command
 1 | [[watch]]
   | ^^^^^^^^^
help: add what to run, such as command = ["git", "pull"] or command = "make | logger"
"#]]
    );
}

#[test]
fn the_words_of_the_old_tool_are_told_todays() {
    snapbox::assert_data_eq!(
        problems(
            "[[watch]]\nznode='/a'\naction = 'x'\nwatch_type = \"WATCH_CHILDREN\"\n[[watch]]\nznode='/a'\ncommand='x'\nwatch_type = 'WATCH_DATA'"
        ),
        snapbox::str![[r#"
git.toml:3:1: error: unknown key "action" in [[watch]]
 3 | action = 'x'
   | ^^^^^^
help: it is called "command" now
git.toml:4:14: error: "WATCH_CHILDREN" is not a value of watch_type
 4 | watch_type = "WATCH_CHILDREN"
   |              ^^^^^^^^^^^^^^^^
help: it is called "children" now
git.toml:8:14: error: "WATCH_DATA" is not a value of watch_type
 8 | watch_type = 'WATCH_DATA'
   |              ^^^^^^^^^^^^
help: it is called "data" now
"#]]
    );
}

#[test]
fn a_script_stands_for_a_command_and_names_its_interpreter() {
    snapbox::assert_data_eq!(
        problems("[[watch]]\nznode='/a'\nscript='echo'"),
        snapbox::str![[r#"
git.toml:3:8: error: a script must begin with '#!' and the path of its interpreter
 3 | script='echo'
   |        ^^^^^^
help: begin it with a line such as #!/bin/sh or #!/usr/bin/env python3
"#]]
    );
    snapbox::assert_data_eq!(
        problems("[[watch]]\nznode='/a'\nscript='#!/bin/sh'\ncommand='x'"),
        snapbox::str![[r#"
git.toml:3:1: error: a watch has a command or a script, not both
 3 | script='#!/bin/sh'
   | ^^^^^^
help: leave one of them out
"#]]
    );
}

#[test]
fn a_word_that_is_not_one_of_the_allowed_is_told_which_are() {
    snapbox::assert_data_eq!(
        of_key("run_mode = 'QEUE'"),
        snapbox::str![[r#"
git.toml:4:12: error: "QEUE" is not a value of run_mode
 4 | run_mode = 'QEUE'
   |            ^^^^^^
help: did you mean "QUEUE"?
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("on_delete = 'whatever'"),
        snapbox::str![[r#"
git.toml:4:13: error: "whatever" is not a value of on_delete
 4 | on_delete = 'whatever'
   |             ^^^^^^^^^^
help: on_delete is "ignore" or "run"
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("output = 'file'"),
        snapbox::str![[r#"
git.toml:4:10: error: "file" is not a value of output
 4 | output = 'file'
   |          ^^^^^^
help: output is "log", "null" or an absolute path
"#]]
    );
}

#[test]
fn a_value_of_another_type_is_told_what_it_must_be() {
    snapbox::assert_data_eq!(
        of_key("pipe_stdin = 'yes'"),
        snapbox::str![[r#"
git.toml:4:14: error: pipe_stdin must be true or false, not a text
 4 | pipe_stdin = 'yes'
   |              ^^^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("env = { PORT = 80, 'A=B' = 'c' }"),
        snapbox::str![[r#"
git.toml:4:16: error: the value of PORT must be a text in quotes
 4 | env = { PORT = 80, 'A=B' = 'c' }
   |                ^^
help: put it in quotes
git.toml:4:20: error: "A=B" cannot be the name of an environment variable
 4 | env = { PORT = 80, 'A=B' = 'c' }
   |                    ^^^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("uid = 4294967295"),
        snapbox::str![[r#"
git.toml:4:7: error: uid must be from 0 to 4294967294
 4 | uid = 4294967295
   |       ^^^^^^^^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("gid = 'a b'"),
        snapbox::str![[r#"
git.toml:4:7: error: ' ' cannot be in the name of a group
 4 | gid = 'a b'
   |       ^^^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("directory = 'srv'"),
        snapbox::str![[r#"
git.toml:4:13: error: directory must be an absolute path: start it with '/'
 4 | directory = 'srv'
   |             ^^^^^
"#]]
    );
}

#[test]
fn a_duration_that_is_none_is_told_how_to_write_one() {
    snapbox::assert_data_eq!(
        of_key("timeout = '5 parsecs'"),
        snapbox::str![[r#"
git.toml:4:11: error: timeout: "5 parsecs" is not a duration
 4 | timeout = '5 parsecs'
   |           ^^^^^^^^^^^
help: write a number of seconds, or text such as "90s", "1m 30s", "500ms" or "2h"
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("timeout = 0"),
        snapbox::str![[r#"
git.toml:4:11: error: timeout must be more than 0
 4 | timeout = 0
   |           ^
help: leave timeout out for a run without one
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("kill_after = inf"),
        snapbox::str![[r#"
git.toml:4:14: error: kill_after must be a finite number of seconds
 4 | kill_after = inf
   |              ^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("kill_after = 99999999999999999999"),
        snapbox::str![[r#"
git.toml:4:14: error: kill_after must not be longer than ten years
 4 | kill_after = 99999999999999999999
   |              ^^^^^^^^^^^^^^^^^^^^
"#]]
    );
}

#[test]
fn max_parallel_alone_is_told_that_it_does_nothing() {
    snapbox::assert_data_eq!(
        of_key("max_parallel = 3"),
        snapbox::str![[r#"
git.toml:4:1: error: max_parallel has a meaning only with run_mode = "PARALLEL"
 4 | max_parallel = 3
   | ^^^^^^^^^^^^
help: set that too, or leave max_parallel out
"#]]
    );
}

#[test]
fn every_key_of_the_list_is_read() {
    for key in keys::WATCH.iter().filter(|key| !["name", "znode", "command", "script"].contains(key)) {
        // None of them takes a date, so that each has something to say of it.
        let said = of_key(&format!("{key} = 1979-05-27"));
        assert!(said.contains(&format!("git.toml:4:{}: error: {key} must be ", key.len() + 4)), "{said}");
    }
}

#[test]
fn pacing_and_what_follows_a_failure_are_read_from_a_watch_and_from_the_defaults() {
    let keys = "settle=2\nsplay='1m'\nmin_interval='10s'\nretries=3\nretry_delay='500ms'\nretry_max_delay=5\n\
                on_failure='stop'\nnotify_signal='usr1'\nrun_on_load='if-changed'";
    let all = |spec: &WatchSpec| {
        let seconds = Duration::from_secs;
        let pacing = Pacing { settle: seconds(2), splay: seconds(60), min_interval: seconds(10) };
        assert_eq!(spec.pacing, pacing);
        let retries = Retries { count: 3, delay: Duration::from_millis(500), max_delay: seconds(5) };
        assert_eq!(spec.retries, retries);
        assert_eq!(spec.on_failure, OnFailure::Stop);
        assert_eq!(spec.run_mode, RunMode::Queue { notify_signal: Some(Signal::SIGUSR1) });
        assert_eq!(spec.run_on_load, RunOnLoad::IfChanged);
    };
    let watch = "[[watch]]\nznode='/a'\ncommand='x'\n";
    all(&specs(&format!("{watch}{keys}"))[0]);
    let defaults = defaults(keys);
    all(&specs_with(watch, &defaults)[0]);
    let own =
        &specs_with(&format!("{watch}splay=0\nretries=0\nnotify_signal=1\non_failure='keep'"), &defaults)[0];
    assert_eq!((own.pacing.splay, own.retries.count), (Duration::ZERO, 0));
    assert_eq!(own.run_mode, RunMode::Queue { notify_signal: Some(Signal::SIGHUP) });
    assert_eq!(own.on_failure, OnFailure::Keep);
    // A default of another run mode is no reason to refuse a watch.
    let discard = &specs_with(&format!("{watch}run_mode='DISCARD'"), &defaults)[0];
    assert_eq!(discard.run_mode, RunMode::Discard);
}

#[test]
fn a_signal_may_be_a_name_or_a_number() {
    for value in ["'HUP'", "'SIGHUP'", "'sighup'", "'1'", "1", "0x1"] {
        let spec = &specs(&format!("[[watch]]\nznode='/a'\ncommand='x'\nnotify_signal={value}"))[0];
        assert_eq!(spec.run_mode, RunMode::Queue { notify_signal: Some(Signal::SIGHUP) }, "{value}");
    }
}

#[test]
fn what_is_no_signal_is_told_how_to_write_one() {
    snapbox::assert_data_eq!(
        of_key("notify_signal = 'SIGHPU'"),
        snapbox::str![[r#"
git.toml:4:17: error: notify_signal: "SIGHPU" is not a signal
 4 | notify_signal = 'SIGHPU'
   |                 ^^^^^^^^
help: did you mean "HUP"?
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("notify_signal = 'reload'"),
        snapbox::str![[r#"
git.toml:4:17: error: notify_signal: "reload" is not a signal
 4 | notify_signal = 'reload'
   |                 ^^^^^^^^
help: write it as "HUP", "SIGHUP" or 1
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("notify_signal = 0"),
        snapbox::str![[r#"
git.toml:4:17: error: notify_signal: 0 is not a signal
 4 | notify_signal = 0
   |                 ^
help: write it as "HUP", "SIGHUP" or 1
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("notify_signal = ['HUP']"),
        snapbox::str![[r#"
git.toml:4:17: error: notify_signal must be the name or the number of a signal, not a list
 4 | notify_signal = ['HUP']
   |                 ^^^^^^^
"#]]
    );
}

#[test]
fn a_signal_for_a_mode_that_sends_none_is_told_so() {
    snapbox::assert_data_eq!(
        of_key("run_mode = 'PARALLEL'\nnotify_signal = 'HUP'"),
        snapbox::str![[r#"
git.toml:5:1: error: notify_signal has a meaning only with run_mode = "QUEUE"
 5 | notify_signal = 'HUP'
   | ^^^^^^^^^^^^^
help: set that too, or leave notify_signal out
"#]]
    );
    // What the mode was meant to be is not known.
    snapbox::assert_data_eq!(
        of_key("run_mode = 'PARALEL'\nmax_parallel = 3\nnotify_signal = 'HUP'"),
        snapbox::str![[r#"
git.toml:4:12: error: "PARALEL" is not a value of run_mode
 4 | run_mode = 'PARALEL'
   |            ^^^^^^^^^
help: did you mean "PARALLEL"?
"#]]
    );
    let parallel = defaults("run_mode='PARALLEL'");
    let text = "[[watch]]\nznode='/a'\ncommand='x'\nnotify_signal = 'HUP'";
    snapbox::assert_data_eq!(
        problems_with(text, &parallel),
        snapbox::str![[r#"
git.toml:4:1: error: notify_signal has a meaning only with run_mode = "QUEUE"
 4 | notify_signal = 'HUP'
   | ^^^^^^^^^^^^^
help: set that too, or leave notify_signal out
"#]]
    );
}

#[test]
fn a_value_of_run_on_load_that_is_none_is_told_which_there_are() {
    snapbox::assert_data_eq!(
        of_key("run_on_load = 'if_change'"),
        snapbox::str![[r#"
git.toml:4:15: error: "if_change" is not a value of run_on_load
 4 | run_on_load = 'if_change'
   |               ^^^^^^^^^^^
help: did you mean "if-changed"?
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("run_on_load = 'False'"),
        snapbox::str![[r#"
git.toml:4:15: error: "False" is not a value of run_on_load
 4 | run_on_load = 'False'
   |               ^^^^^^^
help: did you mean false, without quotes?
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("run_on_load = 'sometimes'"),
        snapbox::str![[r#"
git.toml:4:15: error: "sometimes" is not a value of run_on_load
 4 | run_on_load = 'sometimes'
   |               ^^^^^^^^^^^
help: run_on_load is true, false or "if-changed"
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("run_on_load = 1"),
        snapbox::str![[r#"
git.toml:4:15: error: run_on_load must be true, false or "if-changed", not a whole number
 4 | run_on_load = 1
   |               ^
"#]]
    );
}

#[test]
fn pacing_that_is_wrong_is_told_what_would_be_right() {
    snapbox::assert_data_eq!(
        of_key("settle = '2 ticks'\nsplay = -1\nmin_interval = true\nretries = 1001\non_failure = 'stpo'"),
        snapbox::str![[r#"
git.toml:4:10: error: settle: "2 ticks" is not a duration
 4 | settle = '2 ticks'
   |          ^^^^^^^^^
help: write a number of seconds, or text such as "90s", "1m 30s", "500ms" or "2h"
git.toml:5:9: error: splay must not be negative
 5 | splay = -1
   |         ^^
git.toml:6:16: error: min_interval must be a duration, not true
 6 | min_interval = true
   |                ^^^^
git.toml:7:11: error: retries must be from 0 to 1000
 7 | retries = 1001
   |           ^^^^
git.toml:8:14: error: "stpo" is not a value of on_failure
 8 | on_failure = 'stpo'
   |              ^^^^^^
help: did you mean "stop"?
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("retries = '3'"),
        snapbox::str![[r#"
git.toml:4:11: error: retries must be a whole number, not a text
 4 | retries = '3'
   |           ^^^
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("on_failure = 'retry'"),
        snapbox::str![[r#"
git.toml:4:14: error: "retry" is not a value of on_failure
 4 | on_failure = 'retry'
   |              ^^^^^^^
help: on_failure is "keep" or "stop"
"#]]
    );
}

#[test]
fn a_retry_delay_that_is_more_than_its_bound_is_told_where_the_other_is_from() {
    snapbox::assert_data_eq!(
        of_key("retry_delay = '1m 30s'\nretry_max_delay = 10"),
        snapbox::str![[r#"
git.toml:5:19: error: retry_max_delay is 10s, less than retry_delay, which is 1m 30s
 5 | retry_max_delay = 10
   |                   ^^
help: set retry_max_delay to 1m 30s or more, or retry_delay to 10s or less
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("retry_delay = '5m'"),
        snapbox::str![[r#"
git.toml:4:15: error: retry_delay is 5m, more than retry_max_delay, which is 1m unless it is set
 4 | retry_delay = '5m'
   |               ^^^^
help: set retry_max_delay to 5m or more, or retry_delay to 1m or less
"#]]
    );
    snapbox::assert_data_eq!(
        of_key("retry_max_delay = '100ms'"),
        snapbox::str![[r#"
git.toml:4:19: error: retry_max_delay is 100ms, less than retry_delay, which is 1s unless it is set
 4 | retry_max_delay = '100ms'
   |                   ^^^^^^^
help: set retry_max_delay to 1s or more, or retry_delay to 100ms or less
"#]]
    );
    let text = "[[watch]]\nznode='/a'\ncommand='x'\nretry_max_delay = '20s'";
    snapbox::assert_data_eq!(
        problems_with(text, &defaults("retry_delay='30s'")),
        snapbox::str![[r#"
git.toml:4:19: error: retry_max_delay is 20s, less than retry_delay, which is 30s in [defaults]
 4 | retry_max_delay = '20s'
   |                   ^^^^^
help: set retry_max_delay to 30s or more, or retry_delay to 20s or less
"#]]
    );
    // One of the two is no duration: nothing can be said of both.
    snapbox::assert_data_eq!(
        of_key("retry_delay = 'soon'\nretry_max_delay = '100ms'"),
        snapbox::str![[r#"
git.toml:4:15: error: retry_delay: "soon" is not a duration
 4 | retry_delay = 'soon'
   |               ^^^^^^
help: write a number of seconds, or text such as "90s", "1m 30s", "500ms" or "2h"
"#]]
    );
    let equal = specs("[[watch]]\nznode='/a'\ncommand='x'\nretry_delay='1m'");
    assert_eq!(equal[0].retries.delay, equal[0].retries.max_delay);
}

#[test]
fn what_stands_outside_of_a_watch_is_told_where_it_belongs() {
    snapbox::assert_data_eq!(
        problems("znode = '/a'\n[watches]\n"),
        snapbox::str![[r#"
git.toml:1:1: error: the key "znode" stands outside of a [[watch]] table
 1 | znode = '/a'
   | ^^^^^
help: put [[watch]] above the keys of a watch
git.toml:2:2: error: unknown table [watches] in a watch file
 2 | [watches]
   |  ^^^^^^^
help: did you mean [[watch]]?
"#]]
    );
    snapbox::assert_data_eq!(
        problems("[watch]\nznode = '/a'\n"),
        snapbox::str![[r#"
git.toml:1:1: error: a watch is written with two brackets
 1 | [watch]
   | ^^^^^^^
help: write [[watch]]: a file may have several
"#]]
    );
    snapbox::assert_data_eq!(
        problems("watch = 5\n"),
        snapbox::str![[r#"
git.toml:1:9: error: watch must be a table [[watch]], not a whole number
 1 | watch = 5
   |         ^
"#]]
    );
}

#[test]
fn a_second_watch_with_the_same_name_is_refused() {
    let watch = "[[watch]]\nname = 'twin'\nznode = '/a'\ncommand = 'x'\n";
    snapbox::assert_data_eq!(
        problems(&format!("{watch}{watch}")),
        snapbox::str![[r#"
git.toml:6:8: error: a second watch with the name "twin"
 6 | name = 'twin'
   |        ^^^^^^
help: the first is on line 2: rename one of them
"#]]
    );
}

#[test]
fn a_file_whose_name_is_no_name_of_a_watch_is_told_so() {
    let text = "[[watch]]\nznode='/a'\ncommand='x'";
    let found = parse(Path::new("my git.toml"), text.as_bytes(), &Defaults::default(), "my git").unwrap_err();
    snapbox::assert_data_eq!(
        found[0].to_string(),
        snapbox::str![[r#"
my git.toml:1:1: error: the file's path gives this watch no name: ' ' cannot be in a watch name; letters, digits, '.', '_' and '-' can
 1 | [[watch]]
   | ^^^^^^^^^
help: add a name, such as name = "git-head", or rename the file
"#]]
    );
}

#[test]
fn no_text_makes_the_parser_panic() {
    let good = "[[watch]]\nznode = \"/grüße\"\ncommand = ['x', \"y\"]\nenv = { A = 'b' }\ntimeout = 1.5\n";
    for at in good.char_indices().map(|(at, _)| at) {
        for insert in ["", "\"", "[", "]]", "\n", "=", "\u{0}", "漢", "'''", "{", "0x", "-"] {
            let text = format!("{}{insert}{}", &good[..at], &good[at..]);
            for bytes in [text.as_bytes(), &text.as_bytes()[..at]] {
                if let Err(found) = parse(Path::new("a.toml"), bytes, &Defaults::default(), "a") {
                    assert!(!found.is_empty());
                    assert!(found.iter().all(|problem| !problem.to_string().is_empty()));
                }
            }
        }
    }
}
