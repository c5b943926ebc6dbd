//! A watch as TOML with every default filled in, that parses back to the same watch. Pure.

use toml::Value;

use super::duration;
use super::spec::{Command, GroupRef, Output, RunMode, RunOnLoad, UserRef, WatchSpec};
use super::words::{self, Mode};

/// The value of a key as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    /// The key is left out.
    None,
    /// A word or a duration, which is put in quotes only where TOML wants that.
    Word(String),
    /// Any other value.
    Toml(Value),
}

/// Every key of a watch but the name, in the order in which people are shown them.
pub(super) fn fields(spec: &WatchSpec) -> Vec<(&'static str, Shown)> {
    let toml = Shown::Toml;
    let text = |text: &str| Shown::Toml(Value::String(text.to_owned()));
    let word = |word: &str| Shown::Word(word.to_owned());
    let span = |d| Shown::Word(duration::to_text(d));
    let (mode, max) = match spec.run_mode {
        RunMode::Queue { .. } => (Mode::Queue, Shown::None),
        RunMode::Discard => (Mode::Discard, Shown::None),
        RunMode::Parallel { max } => (Mode::Parallel, toml(Value::Integer(max.into()))),
    };
    vec![
        ("description", text(&spec.description)),
        ("znode", text(spec.znode.as_str())),
        ("watch_type", word(words::word(words::WATCH_TYPE, &spec.watch_type))),
        match &spec.command {
            Command::Shell(line) => ("command", text(line)),
            Command::Argv(argv) => {
                ("command", toml(Value::Array(argv.iter().cloned().map(Value::String).collect())))
            }
            Command::Script(script) => ("script", text(script.text())),
        },
        ("pipe_stdin", toml(Value::Boolean(spec.pipe_stdin))),
        ("run_on_load", toml(Value::Boolean(spec.run_on_load == RunOnLoad::Always))),
        ("run_mode", word(words::word(words::RUN_MODE, &mode))),
        ("max_parallel", max),
        (
            "uid",
            match &spec.uid {
                None => Shown::None,
                Some(UserRef::Name(name)) => word(name),
                Some(UserRef::Id(id)) => toml(Value::Integer((*id).into())),
            },
        ),
        (
            "gid",
            match &spec.gid {
                None => Shown::None,
                Some(GroupRef::Name(name)) => word(name),
                Some(GroupRef::Id(id)) => toml(Value::Integer((*id).into())),
            },
        ),
        ("timeout", spec.timeout.map_or(Shown::None, span)),
        ("kill_after", span(spec.kill_after)),
        ("directory", word(&spec.directory.to_string_lossy())),
        ("umask", word(&format!("{:03o}", spec.umask.bits()))),
        (
            "env",
            toml(Value::Table(
                spec.env.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect(),
            )),
        ),
        (
            "output",
            match &spec.output {
                Output::Log => word("log"),
                Output::Null => word("null"),
                Output::Append(path) => word(&path.to_string_lossy()),
            },
        ),
        ("on_delete", word(words::word(words::ON_DELETE, &spec.on_delete))),
        ("enabled", toml(Value::Boolean(spec.enabled))),
    ]
}

/// The watch as a `[[watch]]` table with every key that has a value.
#[must_use]
pub fn explain(spec: &WatchSpec) -> String {
    let mut text = format!("[[watch]]\nname = {}\n", Value::String(spec.name.to_string()));
    for (key, shown) in fields(spec) {
        let value = match shown {
            Shown::None => continue,
            Shown::Word(word) => Value::String(word),
            Shown::Toml(value) => value,
        };
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Defaults;
    use crate::config::parse::parse;

    fn read(text: &str) -> Vec<std::sync::Arc<WatchSpec>> {
        let watches = parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a");
        watches.unwrap().into_iter().map(|placed| placed.spec).collect()
    }

    #[test]
    fn a_short_watch_is_explained_with_every_default() {
        let spec = &read("[[watch]]\nznode = '/git/head'\ncommand = ['git', 'pull']")[0];
        snapbox::assert_data_eq!(
            explain(spec),
            snapbox::str![[r#"
[[watch]]
name = "a"
description = "a"
znode = "/git/head"
watch_type = "data"
command = ["git", "pull"]
pipe_stdin = true
run_on_load = true
run_mode = "QUEUE"
kill_after = "5s"
directory = "/"
umask = "022"
env = {}
output = "log"
on_delete = "ignore"
enabled = true

"#]]
        );
    }

    #[test]
    fn what_is_explained_parses_back_to_the_same() {
        let spec = &read(
            "[[watch]]\nname='x.y'\nznode='/a b/grüße'\ncommand=\"\"\"\nif true; then\n\t'echo' \\\"\\\"\\\"\nfi\"\"\"\nrun_mode='parallel'\n\
             max_parallel=7\nuid='git'\ngid=12\ntimeout=1.5\nkill_after=0\ndirectory='/srv'\numask='0077'\n\
             env={A='b',\"c.d\"='e\\nf'}\noutput='/var/log/x'\non_delete='run'\nenabled=false\nrun_on_load=false",
        )[0];
        assert_eq!(&read(&explain(spec))[0], spec, "{}", explain(spec));
    }

    proptest! {
        #[test]
        fn any_text_survives_being_explained(
            shell in "\\PC*[a-z][^\0]*", arguments in prop::collection::vec("[^\0]*", 0..4),
            env in prop::collection::btree_map("[^=\0]+", "[^\0]*", 0..4), ms in 1u64..10_000_000_000,
        ) {
            let mut spec = (*read("[[watch]]\nznode='/a'\ncommand='x'")[0]).clone();
            spec.timeout = Some(std::time::Duration::from_millis(ms));
            spec.env = env;
            spec.command = Command::Shell(shell);
            prop_assert_eq!(&*read(&explain(&spec))[0], &spec);
            spec.command = Command::Argv([vec!["x".to_owned()], arguments].concat());
            prop_assert_eq!(&*read(&explain(&spec))[0], &spec);
        }
    }
}
