//! What differs between two definitions of a watch, by key, for the log. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::explain::{Shown, fields};
use super::spec::WatchSpec;

/// The most characters of one value that are shown.
const MOST: usize = 80;

/// The keys whose values differ: `timeout 30s → 1m, run_mode QUEUE → DISCARD`. Of `env` only the names of
/// the variables are told, since a value may be a secret and a log is read by many. Empty if the two are
/// the same.
#[must_use]
pub fn describe_difference(old: &WatchSpec, new: &WatchSpec) -> String {
    let mut parts = Vec::new();
    if old.name != new.name {
        parts.push(format!("name {} → {}", old.name, new.name));
    }
    for ((key, before), (_, after)) in fields(old).into_iter().zip(fields(new)) {
        if before == after {
            continue;
        }
        if key == "env" {
            parts.push(format!("env {}", changed_names(&old.env, &new.env)));
        } else {
            parts.push(format!("{key} {} → {}", shown(&before), shown(&after)));
        }
    }
    parts.join(", ")
}

fn changed_names(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter_map(|name| match (old.get(name), new.get(name)) {
        (None, Some(_)) => Some(format!("+{name}")),
        (Some(_), None) => Some(format!("-{name}")),
        (before, after) if before != after => Some(name.clone()),
        _ => None,
    });
    changed.collect::<Vec<_>>().join(" ")
}

fn shown(value: &Shown) -> String {
    let text = match value {
        Shown::None => "none".to_owned(),
        Shown::Word(word) => word.clone(),
        Shown::Toml(toml::Value::String(text)) => format!("{text:?}"),
        Shown::Toml(value) => value.to_string().replace('\n', " "),
    };
    if text.chars().count() > MOST { text.chars().take(MOST).chain(['…']).collect() } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Defaults;
    use crate::config::parse::parse;

    fn difference(old: &str, new: &str) -> String {
        let read = |keys: &str| {
            let text = format!("[[watch]]\nznode='/a'\n{keys}");
            parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a").unwrap().remove(0).spec
        };
        describe_difference(&read(old), &read(new))
    }

    #[test]
    fn a_difference_is_told_by_key() {
        assert_eq!(difference("command='x'\ntimeout=30", "command='x'\ntimeout='1m'"), "timeout 30s → 1m");
        assert_eq!(
            difference("command='x'", "command='x'\ntimeout=1\nuid='git'"),
            "uid none → git, timeout none → 1s"
        );
        assert_eq!(difference("command='x'", "command=['x', 'y']"), r#"command "x" → ["x", "y"]"#);
        assert_eq!(
            difference("command='x'", "command='x'\nrun_mode='PARALLEL'"),
            "run_mode QUEUE → PARALLEL, max_parallel none → 32"
        );
        assert_eq!(difference("command='x'", "command='x'\npipe_stdin=true"), "");
        assert_eq!(
            difference(
                "command='x'\nrun_on_load=false\nsettle=2",
                "command='x'\nrun_on_load='if-changed'\nnotify_signal='usr1'\nretries=3\non_failure='stop'"
            ),
            "run_on_load false → if-changed, notify_signal none → SIGUSR1, settle 2s → 0s, retries 0 → 3, \
             on_failure keep → stop"
        );
    }

    #[test]
    fn the_value_of_a_variable_is_not_told() {
        assert_eq!(
            difference("command='x'\nenv={A='secret',B='b'}", "command='x'\nenv={A='other',C='c'}"),
            "env A -B +C"
        );
    }
}
