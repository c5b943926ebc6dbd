//! A call of `RegisterWatch` as a `[[watch]]` table. Pure. What it makes is held to the parser, key by key, so
//! that nothing is printed that it would refuse.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value as Json;
use toml::Value;

use super::answer::Registered;
use crate::config::Defaults;
use crate::config::keys;
use crate::config::parse::parse;
use crate::config::spec::WatchName;

/// Keys without which it would be another watch, or one that runs as somebody else.
const ESSENTIAL: &[&str] = &["znode", "watch_type", "command", "script", "run_mode", "uid", "gid"];

/// A table, and comments.
#[derive(Debug)]
pub(super) struct Imported {
    /// Whole lines.
    pub(super) text: String,
    /// The table is a comment, too.
    pub(super) is_lost: bool,
}

/// The table for what was registered.
pub(super) fn import(registered: &Registered, name: &WatchName) -> Imported {
    let mut notes = registered.notes.clone();
    let mut lost = registered.lost.clone();
    let mut table = format!("[[watch]]\nname = \"{name}\"\n");
    for key in keys::WATCH {
        let Some(value) = registered.keys.get(*key).and_then(|value| changed(key, value, &mut notes)) else {
            continue;
        };
        let line = format!("{key} = {}\n", written(&value));
        match refusal(registered, key, &line) {
            None => table.push_str(&line),
            Some(why) if ESSENTIAL.contains(key) => {
                lost.get_or_insert(format!("{key}: {why}"));
                table.push_str(&line);
            }
            Some(why) => notes.push(format!("{} ({why})", line.trim_end())),
        }
    }
    if !registered.keys.contains_key("znode") {
        lost.get_or_insert_with(|| "it has no znode".to_owned());
    }
    let lost = lost.or_else(|| first_problem(&table));
    let mut text = String::new();
    for comment in &registered.comments {
        comment_on(&mut text, comment);
    }
    for note in &notes {
        comment_on(&mut text, &format!("Not carried over: {note}"));
    }
    if let Some(why) = &lost {
        comment_on(&mut text, &format!("This watch is not carried over: {why}"));
        for line in table.lines() {
            comment_on(&mut text, line);
        }
    } else {
        text.push_str(&table);
    }
    Imported { text, is_lost: lost.is_some() }
}

/// The value as it is today, or `None` where the key is to be left out.
fn changed(key: &str, value: &Json, notes: &mut Vec<String>) -> Option<Value> {
    match (key, value) {
        // Once it was any text; it is one line now.
        ("description", Json::String(text)) => {
            let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
            Some(Value::String(
                words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "),
            ))
        }
        ("timeout", Json::Number(number)) if number.as_f64() == Some(0.0) => {
            notes.push("timeout = 0 (a run has no limit, or one of more than 0)".to_owned());
            None
        }
        (_, Json::Bool(value)) => Some(Value::Boolean(*value)),
        (_, Json::String(text)) => Some(Value::String(text.clone())),
        (_, Json::Array(words)) => {
            let words = words.iter().map(|word| word.as_str().map(|word| Value::String(word.to_owned())));
            words.collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (_, Json::Number(number)) => match number.as_i64() {
            Some(integer) => Some(Value::Integer(integer)),
            None => number.as_f64().map(Value::Float),
        },
        (_, Json::Null | Json::Object(_)) => None,
    }
}

/// Why the parser would refuse the key, by itself but for the run mode, which another key may depend on.
fn refusal(registered: &Registered, key: &str, line: &str) -> Option<String> {
    let znode = if key == "znode" { "" } else { "znode = '/'\n" };
    let command = if ["command", "script"].contains(&key) { "" } else { "command = 'x'\n" };
    let mode = match registered.keys.get("run_mode") {
        Some(Json::String(mode)) if key == "notify_signal" => format!("run_mode = '{mode}'\n"),
        _ => String::new(),
    };
    first_problem(&format!("[[watch]]\n{znode}{command}{mode}{line}"))
}

fn first_problem(table: &str) -> Option<String> {
    let problems = parse(Path::new("imported"), table.as_bytes(), &Defaults::default(), "imported").err()?;
    problems.first().map(|problem| problem.message.clone())
}

/// A value as TOML. A text of several lines as it stands, where there is a way.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if is_literal(text) => format!("'''\n{text}'''"),
        other => other.to_string(),
    }
}

fn is_literal(text: &str) -> bool {
    let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.contains('\n') && !text.contains("'''") && !text.ends_with('\'') && text.chars().all(is_plain)
}

/// Adds lines that are comments, whatever is in the text.
fn comment_on(to: &mut String, text: &str) {
    if text.is_empty() {
        to.push_str("#\n");
    }
    for line in text.split(['\n', '\r']) {
        let shown: String =
            line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
        let _ = writeln!(to, "{}", format!("# {shown}").trim_end());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::spec::{Command, WatchSpec};

    fn registered(keys: Json) -> Registered {
        let all = json!({ "line": 1, "comments": [], "keys": keys, "notes": [], "lost": null });
        serde_json::from_value(all).unwrap()
    }

    fn imported(keys: Json) -> Imported {
        import(&registered(keys), &WatchName::try_from("git").unwrap())
    }

    fn read(text: &str) -> Vec<Arc<WatchSpec>> {
        let watches = parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a").unwrap();
        watches.into_iter().map(|placed| placed.spec).collect()
    }

    #[test]
    fn what_the_parser_would_refuse_is_told_and_left_out() {
        let keys = json!({
            "znode": "/a", "command": "x", "timeout": -5, "notify_signal": 1,
            "run_mode": "DISCARD", "description": "two\nlines",
        });
        snapbox::assert_data_eq!(
            imported(keys).text,
            snapbox::str![[r##"
# Not carried over: notify_signal = 1 (notify_signal has a meaning only with run_mode = "QUEUE")
# Not carried over: timeout = -5 (timeout must not be negative)
[[watch]]
name = "git"
description = "two lines"
znode = "/a"
command = "x"
run_mode = "DISCARD"

"##]]
        );
    }

    #[test]
    fn a_watch_that_cannot_be_is_a_comment_as_a_whole() {
        for keys in [
            json!({ "znode": "a", "command": "x" }),
            json!({ "command": "x" }),
            json!({ "znode": "/a", "command": [] }),
            json!({ "znode": "/a" }),
            json!({ "znode": "/a", "command": "x", "uid": "a b" }),
        ] {
            let imported = imported(keys);
            assert!(imported.is_lost && read(&imported.text).is_empty(), "{}", imported.text);
        }
        snapbox::assert_data_eq!(
            imported(json!({ "znode": "/a/", "script": "#!/bin/sh\necho\n" })).text,
            snapbox::str![[r##"
# This watch is not carried over: znode: a znode path must not end in '/'
# [[watch]]
# name = "git"
# znode = "/a/"
# script = '''
# #!/bin/sh
# echo
# '''

"##]]
        );
    }

    proptest! {
        #[test]
        fn whatever_is_registered_the_parser_takes_what_is_printed(
            znode in "/[a-z\\PC]{0,4}|\\PC{0,4}", script in "#!/bin/sh\n\\PC*|(.|\n){0,20}",
            description in "(.|\n|\r){0,10}", comment in "(.|\n|\r){0,10}", timeout in any::<f64>(),
            number in any::<i64>(), user in ".{0,5}",
        ) {
            let mut given = registered(json!({
                "znode": znode, "script": script, "description": description, "timeout": timeout,
                "uid": number, "gid": user, "notify_signal": number,
            }));
            given.comments = vec![comment.clone()];
            given.notes = vec![comment];
            let imported = import(&given, &WatchName::try_from("git").unwrap());
            let read = read(&imported.text);
            prop_assert_eq!(read.len(), usize::from(!imported.is_lost));
            if let Some(spec) = read.first() {
                prop_assert_eq!(&spec.command, &Command::Script((&*script).try_into().unwrap()));
            }
        }
    }
}
