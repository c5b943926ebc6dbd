//! The JSON Schema of a watch file, for editors that complete and check as one types. Pure.
//!
//! Made from what the parser itself goes by: the list of keys, the tables of words, the bounds and the
//! defaults. It is broader than the parser where JSON Schema has no words for a rule, such as one that
//! depends on `[defaults]`, and never narrower.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Defaults;
use super::duration;
use super::explain;
use super::keys;
use super::parse;
use super::values::{IF_CHANGED, LARGEST_ID};
use super::watch_table::{MOST_PARALLEL, MOST_RETRIES};
use super::words::{self, Words};

/// The schema, as the text of `etc/watch-file.schema.json`.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", schema())
}

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let defaults = defaults();
    let mut properties = Map::new();
    for key in keys::WATCH {
        let (mut about, value) = about(key);
        // Which of several kinds of value it is does not matter to what it says.
        if let Value::Object(of_value) = value {
            about.extend(of_value);
        }
        if let Some(default) = defaults.get(*key) {
            about.insert("default".into(), default.clone());
        }
        properties.insert((*key).into(), about.into());
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "twitcher watch file",
        "type": "object",
        "properties": {
            "watch": {
                "description": "What to run when a znode changes. A file may have several.",
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": properties,
                    "required": ["znode"],
                    "oneOf": [{ "required": ["command"] }, { "required": ["script"] }],
                    "additionalProperties": false,
                },
            },
        },
        "additionalProperties": false,
    })
}

/// What a watch has that says nothing else, of those keys that are the same for all watches.
fn defaults() -> Map<String, Value> {
    let shortest = b"[[watch]]\nznode = '/'\ncommand = 'x'\n";
    let watches = parse::parse(Path::new("x.toml"), shortest, &Defaults::default(), "x").unwrap_or_default();
    let definitions = watches.iter().flat_map(|placed| explain::definition(&placed.spec));
    let own = |key: &str| keys::WATCH_OWN.contains(&key) || key == "description";
    definitions
        .filter(|(key, _)| !own(key))
        .filter_map(|(key, value)| Some((key.to_owned(), serde_json::to_value(value).ok()?)))
        .collect()
}

/// What a key is for, and which values it may have.
fn about(key: &str) -> (Map<String, Value>, Value) {
    let (description, value) = match key {
        "name" => ("What the watch is called on this host", pattern("^[A-Za-z0-9._-]{1,255}$")),
        "description" => ("One line for people", pattern(r"^[^\u0000-\u001f\u007f-\u009f]*$")),
        "znode" => ("The absolute path of the znode, which need not exist", pattern("^/([^/]+(/[^/]+)*)?$")),
        "watch_type" => ("What of the znode is watched", word(words::WATCH_TYPE)),
        "command" => (
            "What to run: a text for /bin/sh, or a list of a program and its arguments",
            json!({ "anyOf": [
                pattern(r"\S"),
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ] }),
        ),
        "script" => ("What to run, with a #! line of its own", pattern(r"^#![ \t]*/")),
        "pipe_stdin" => ("Whether what is watched is at the command's standard input", boolean()),
        "run_on_load" => (
            "Whether to run for what the znode holds when the watch is first seen",
            json!({ "anyOf": [boolean(), any_case(&[IF_CHANGED])] }),
        ),
        "run_mode" => ("What an update does while a run goes on", word(words::RUN_MODE)),
        "max_parallel" => ("With PARALLEL only: so many runs at once", number(1, MOST_PARALLEL)),
        "notify_signal" => (
            "With QUEUE only: sent to the running process group when an update comes in",
            json!({ "anyOf": [{ "type": "string" }, number(1, 31)] }),
        ),
        "uid" => ("The user to run as, with its groups", name_or_id()),
        "gid" => ("The group to run as", name_or_id()),
        "timeout" => ("SIGTERM to all of the run's processes after this long", longer_than_nothing()),
        "kill_after" => ("SIGKILL so long after that", span()),
        "directory" => ("The working directory", pattern("^/")),
        "umask" => ("The file mode creation mask, octal", pattern("^0?[0-7]{3}$")),
        "env" => (
            "Added to the command's environment",
            json!({
                "type": "object",
                "propertyNames": pattern("^[^=]+$"),
                "additionalProperties": { "type": "string" },
            }),
        ),
        "output" => (
            "Where standard output and error go: the log, nowhere, or the end of a file",
            json!({ "anyOf": [{ "enum": ["log", "null"] }, pattern("^/")] }),
        ),
        "on_delete" => ("What to do when the znode goes away", word(words::ON_DELETE)),
        "settle" => ("Wait until no update has come for this long, and run once", span()),
        "splay" => ("Wait for a part of this that is this host's own", span()),
        "min_interval" => ("At least this long between two starts", span()),
        "retries" => ("After a run that failed, try again so often", number(0, MOST_RETRIES)),
        "retry_delay" => ("How long to wait before the first retry; it doubles", span()),
        "retry_max_delay" => ("How long to wait before a retry at the most", span()),
        "on_failure" => ("What to do when the last attempt failed", word(words::ON_FAILURE)),
        "enabled" => ("false: read and checked, not watched", boolean()),
        _ => ("", json!({})),
    };
    let description = (!description.is_empty()).then(|| ("description".to_owned(), description.into()));
    (description.into_iter().collect(), value)
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn number(least: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

/// A duration: a number of seconds, or a text that has a number in it.
fn span() -> Value {
    json!({ "anyOf": [
        { "type": "number", "minimum": 0, "maximum": duration::LONGEST.as_secs() },
        { "type": "string", "pattern": "[0-9]", "examples": ["30s", "5m", "1m 30s", "500ms", "2h"] },
    ] })
}

fn longer_than_nothing() -> Value {
    let mut span = span();
    let seconds = &mut span["anyOf"][0];
    seconds["exclusiveMinimum"] = seconds["minimum"].take();
    if let Some(seconds) = seconds.as_object_mut() {
        seconds.remove("minimum");
    }
    span
}

fn name_or_id() -> Value {
    json!({ "anyOf": [pattern(r"^[^\s:,/+-][^\s:,/]*$"), number(0, LARGEST_ID)] })
}

/// One of the words. An editor offers them as they are; the parser takes them in any case.
fn word<T>(words: Words<T>) -> Value {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    any_case(&words)
}

fn any_case(words: &[&str]) -> Value {
    let both = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    let patterns: Vec<String> = words.iter().map(|word| word.chars().map(both).collect()).collect();
    json!({ "anyOf": [{ "enum": words }, pattern(&format!("^({})$", patterns.join("|")))] })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jsonschema::Validator;
    use proptest::prelude::*;

    use super::*;

    fn validator() -> Validator {
        jsonschema::draft7::options().build(&schema()).unwrap()
    }

    /// What the schema says of a text, and whether the parser takes it.
    fn both(validator: &Validator, text: &str) -> (bool, bool) {
        let parsed = parse::parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a");
        // JSON has no infinite numbers, and an editor reads them as it likes.
        let value =
            toml::from_str::<toml::Table>(text).ok().and_then(|table| serde_json::to_value(table).ok());
        (value.is_some_and(|value| validator.is_valid(&value)), parsed.is_ok())
    }

    #[test]
    fn the_schema_under_etc_is_the_one_that_is_made() {
        // SNAPSHOTS=overwrite writes it.
        snapbox::assert_data_eq!(text(), snapbox::file!["../../etc/watch-file.schema.json"].raw());
    }

    #[test]
    fn every_key_is_explained() {
        for key in keys::WATCH {
            assert!(about(key).0.contains_key("description"), "{key}");
        }
        assert_eq!(schema()["properties"]["watch"]["items"]["properties"]["kill_after"]["default"], "5s");
    }

    #[test]
    fn what_the_parser_refuses_for_one_value_is_refused() {
        let validator = validator();
        let watch = "[[watch]]\nznode = '/a'\ncommand = 'x'\n";
        assert_eq!(both(&validator, watch), (true, true));
        for line in [
            "comand = 'y'",
            "script = '#!/bin/sh'",
            "name = 'a b'",
            "watch_type = 'WATCH_DATA'",
            "pipe_stdin = 'yes'",
            "run_on_load = 'sometimes'",
            "run_mode = 'QEUE'",
            "run_mode = 'PARALLEL'\nmax_parallel = 0",
            "run_mode = 'PARALLEL'\nmax_parallel = 10001",
            "notify_signal = 64",
            "uid = 4294967295",
            "gid = 'a b'",
            "timeout = 0",
            "timeout = -5",
            "timeout = 'soon'",
            "directory = 'srv'",
            "umask = 22",
            "umask = '8'",
            "env = { A = 1 }",
            "env = { '' = 'x' }",
            "output = 'file'",
            "on_delete = 'stop'",
            "retries = 1001",
            "on_failure = true",
            "enabled = 1",
        ] {
            assert_eq!(both(&validator, &format!("{watch}{line}\n")), (false, false), "{line}");
        }
        for text in [
            "[[watch]]\nznode = 'a'\ncommand = 'x'\n",
            "[[watch]]\nznode = '/a/'\ncommand = 'x'\n",
            "[[watch]]\nznode = '/a//b'\ncommand = 'x'\n",
            "[[watch]]\ncommand = 'x'\n",
            "[[watch]]\nznode = '/a'\n",
            "[[watch]]\nznode = '/a'\ncommand = []\n",
            "[[watch]]\nznode = '/a'\ncommand = ' '\n",
            "[[watch]]\nznode = '/a'\nscript = 'make'\n",
            "[watch]\nznode = '/a'\ncommand = 'x'\n",
            "znode = '/a'\n",
        ] {
            assert_eq!(both(&validator, text), (false, false), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_parser_takes_is_taken(key in prop::sample::select(keys::WATCH), value in value()) {
            let validator = validator();
            let watch = match key {
                "znode" => format!("[[watch]]\ncommand = 'x'\nznode = {value}\n"),
                "command" | "script" => format!("[[watch]]\nznode = '/a'\n{key} = {value}\n"),
                "max_parallel" => {
                    format!("[[watch]]\nznode = '/a'\ncommand = 'x'\nrun_mode = 'PARALLEL'\n{key} = {value}\n")
                }
                _ => format!("[[watch]]\nznode = '/a'\ncommand = 'x'\n{key} = {value}\n"),
            };
            let (valid, parsed) = both(&validator, &watch);
            prop_assert!(valid || !parsed, "{watch}");
        }
    }

    /// Values that some key takes, and others that are nearly so.
    fn value() -> impl Strategy<Value = String> {
        const WORDS: &[&str] = &[
            "data",
            "Children",
            "newest-child",
            "queue",
            "DISCARD",
            "Parallel",
            "if-changed",
            "IF-CHANGED",
            "log",
            "null",
            "/var/log/x",
            "ignore",
            "RUN",
            "keep",
            "Stop",
            "HUP",
            "sigusr1",
            "15",
            "git",
            "www-data",
            "1000",
            "022",
            "0077",
            "/",
            "/a/b",
            "#!/bin/sh",
            "#! /usr/bin/env x",
            "a line",
            "grüße",
            "",
        ];
        const SPANS: &[&str] =
            &["0", "0.5", "90", "90s", " 5s ", "1m 30s", "500ms", "2 hours", "1h30m", "0s"];
        prop_oneof![
            prop::sample::select(WORDS).prop_map(|word| format!("{word:?}")),
            prop::sample::select(SPANS).prop_map(|span| format!("{span:?}")),
            "[ -~]{0,12}".prop_map(|text| format!("{text:?}")),
            (-2i64..5_000_000_000).prop_map(|number| number.to_string()),
            (0i64..20).prop_map(|number| number.to_string()),
            (-1.0f64..1e9).prop_map(|number| format!("{number:.3}")),
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("['x', 'y z']".to_owned()),
            Just("{ A = 'b', 'C.d' = '' }".to_owned()),
        ]
    }
}
