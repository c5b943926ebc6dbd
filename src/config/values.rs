//! The values of a watch that have rules of their own: command, user, environment and the like. Each
//! function reads one and reports what is wrong with it.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use toml::de::DeValue;

use super::keys;
use super::reader::{Reader, Value};
use super::spec::{
    Command, GroupRef, Output, RunOnLoad, Script, Umask, UserRef, WatchName, WatchType, ZnodePath, signal,
};
use super::words;

/// The largest id: the one above it is what `chown(2)` takes for "leave it".
pub(super) const LARGEST_ID: u32 = u32::MAX - 1;

/// The one value of `run_on_load` that is a word.
pub(super) const IF_CHANGED: &str = "if-changed";

pub(super) fn name(r: &mut Reader<'_>, value: &Value<'_>) -> Option<WatchName> {
    let text = r.text("name", value)?;
    WatchName::try_from(&*text).map_err(|error| r.report(value.span(), error.to_string())).ok()
}

pub(super) fn description(r: &mut Reader<'_>, value: &Value<'_>) -> Option<String> {
    let text = r.text("description", value)?;
    if text.contains(char::is_control) {
        r.report(value.span(), "description must be one line without control characters");
        return None;
    }
    Some(text)
}

pub(super) fn znode(r: &mut Reader<'_>, value: &Value<'_>) -> Option<ZnodePath> {
    let Some(text) = value.get_ref().as_str() else {
        r.wrong_type("znode", value, "a path in quotes");
        return None;
    };
    ZnodePath::try_from(text).map_err(|error| r.report(value.span(), error.to_string())).ok()
}

pub(super) fn watch_type(r: &mut Reader<'_>, value: &Value<'_>) -> Option<WatchType> {
    match value.get_ref().as_str() {
        Some(old @ ("WATCH_DATA" | "WATCH_CHILDREN")) => {
            let word = if old == "WATCH_DATA" { "data" } else { "children" };
            let message = format!("{old:?} is not a value of watch_type");
            r.report_with_help(value.span(), message, format!("it is called {word:?} now"));
            None
        }
        Some(_) | None => r.word("watch_type", value, words::WATCH_TYPE),
    }
}

pub(super) fn command(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Command> {
    match value.get_ref() {
        DeValue::String(_) => {
            let text = r.text("command", value)?;
            if text.trim().is_empty() {
                r.report(value.span(), "command must not be empty");
                return None;
            }
            Some(Command::Shell(text))
        }
        DeValue::Array(items) => {
            let argv: Vec<Option<String>> =
                items.iter().map(|item| r.text("an argument of command", item)).collect();
            match argv.first() {
                None => r.report(value.span(), "command must not be empty"),
                Some(Some(program)) if program.is_empty() => {
                    r.report(items[0].span(), "the program of command must not be empty");
                    return None;
                }
                Some(_) => {}
            }
            argv.into_iter().collect::<Option<Vec<_>>>().filter(|argv| !argv.is_empty()).map(Command::Argv)
        }
        _ => {
            r.wrong_type("command", value, "a text for /bin/sh or a list of a program and its arguments");
            None
        }
    }
}

pub(super) fn script(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Command> {
    let text = r.text("script", value)?;
    match Script::try_from(text.as_str()) {
        Ok(script) => Some(Command::Script(script)),
        Err(why) => {
            r.report_with_help(
                value.span(),
                why.to_string(),
                "begin it with a line such as #!/bin/sh or #!/usr/bin/env python3",
            );
            None
        }
    }
}

pub(super) fn run_on_load(r: &mut Reader<'_>, value: &Value<'_>) -> Option<RunOnLoad> {
    match value.get_ref() {
        DeValue::Boolean(true) => Some(RunOnLoad::Always),
        DeValue::Boolean(false) => Some(RunOnLoad::Never),
        DeValue::String(text) if text.eq_ignore_ascii_case(IF_CHANGED) => Some(RunOnLoad::IfChanged),
        DeValue::String(text) => {
            let help = match keys::nearest(text, ["true", "false", IF_CHANGED]) {
                Some(IF_CHANGED) => format!("did you mean {IF_CHANGED:?}?"),
                Some(word) => format!("did you mean {word}, without quotes?"),
                None => format!("run_on_load is true, false or {IF_CHANGED:?}"),
            };
            r.report_with_help(value.span(), format!("{text:?} is not a value of run_on_load"), help);
            None
        }
        _ => {
            r.wrong_type("run_on_load", value, &format!("true, false or {IF_CHANGED:?}"));
            None
        }
    }
}

pub(super) fn notify_signal(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Signal> {
    let (shown, found, meant) = match value.get_ref() {
        DeValue::Integer(integer) => {
            let number = i32::from_str_radix(integer.as_str(), integer.radix()).ok();
            (integer.to_string(), number.and_then(|number| Signal::try_from(number).ok()), None)
        }
        DeValue::String(text) => (format!("{text:?}"), signal(text).ok(), nearest_signal(text)),
        _ => {
            r.wrong_type("notify_signal", value, "the name or the number of a signal");
            return None;
        }
    };
    if found.is_none() {
        let help = match meant {
            Some(name) => format!("did you mean {name:?}?"),
            None => "write it as \"HUP\", \"SIGHUP\" or 1".to_owned(),
        };
        r.report_with_help(value.span(), format!("notify_signal: {shown} is not a signal"), help);
    }
    found
}

fn nearest_signal(text: &str) -> Option<&'static str> {
    let plain = |name| str::strip_prefix(name, "SIG").unwrap_or(name);
    let upper = text.to_ascii_uppercase();
    let given = upper.strip_prefix("SIG").unwrap_or(&upper);
    keys::nearest(given, Signal::iterator().map(|signal| plain(signal.as_str())))
}

pub(super) fn uid(r: &mut Reader<'_>, value: &Value<'_>) -> Option<UserRef> {
    name_or_id(r, "uid", "user", value).map(|given| match given {
        Given::Name(name) => UserRef::Name(name),
        Given::Id(id) => UserRef::Id(id),
    })
}

pub(super) fn group(r: &mut Reader<'_>, key: &str, value: &Value<'_>) -> Option<GroupRef> {
    name_or_id(r, key, "group", value).map(|given| match given {
        Given::Name(name) => GroupRef::Name(name),
        Given::Id(id) => GroupRef::Id(id),
    })
}

enum Given {
    Name(String),
    Id(u32),
}

fn name_or_id(r: &mut Reader<'_>, key: &str, what: &str, value: &Value<'_>) -> Option<Given> {
    if value.get_ref().is_integer() {
        return r.number(key, value, 0..=LARGEST_ID).map(Given::Id);
    }
    if !value.get_ref().is_str() {
        r.wrong_type(key, value, "a name or a number");
        return None;
    }
    let text = r.text(key, value)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let id = text.parse().ok().filter(|id| *id <= LARGEST_ID);
        if id.is_none() {
            r.report(value.span(), format!("{key} must be from 0 to {LARGEST_ID}"));
        }
        return id.map(Given::Id);
    }
    // What the files of the user database are made of can't be in a name.
    let bad = text.chars().find(|&c| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/'));
    match bad {
        _ if text.is_empty() => r.report(value.span(), format!("{key} must not be empty")),
        Some(c) => r.report(value.span(), format!("{c:?} cannot be in the name of a {what}")),
        None if text.starts_with(['-', '+']) => {
            r.report(value.span(), format!("the name of a {what} cannot start with {:?}", &text[..1]));
        }
        None => return Some(Given::Name(text)),
    }
    None
}

pub(super) fn umask(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Umask> {
    if let DeValue::Integer(integer) = value.get_ref() {
        let help = format!("put it in quotes: umask = \"{:0>3}\"", integer.as_str());
        r.report_with_help(value.span(), "umask must be a text in quotes, not a whole number", help);
        return None;
    }
    let text = r.text("umask", value)?;
    Umask::try_from(&*text).map_err(|error| r.report(value.span(), error.to_string())).ok()
}

pub(super) fn env(r: &mut Reader<'_>, value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let table = r.table("env", value)?;
    let mut env = BTreeMap::new();
    for (name, value) in table {
        if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
            let message = format!("{:?} cannot be the name of an environment variable", name.get_ref());
            r.report(name.span(), message);
        }
        match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let message = format!("the value of {} must be a text in quotes", name.get_ref());
                r.report_with_help(value.span(), message, "put it in quotes");
            }
            _ => {
                if let Some(text) = r.text(&format!("the value of {}", name.get_ref()), value) {
                    env.insert(name.get_ref().to_string(), text);
                }
            }
        }
    }
    Some(env)
}

pub(super) fn output(r: &mut Reader<'_>, value: &Value<'_>) -> Option<Output> {
    let text = r.text("output", value)?;
    match &*text {
        "log" => Some(Output::Log),
        "null" => Some(Output::Null),
        path if path.starts_with('/') => Some(Output::Append(path.into())),
        other => {
            let message = format!("{other:?} is not a value of output");
            r.report_with_help(value.span(), message, "output is \"log\", \"null\" or an absolute path");
            None
        }
    }
}
