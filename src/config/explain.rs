//! A watch as TOML with every default filled in, that parses back to the same watch. Pure.

use toml::Value;

use super::duration;
use super::spec::{Command, GroupRef, Output, RunMode, RunOnLoad, UserRef, WatchSpec};
use super::values::IF_CHANGED;
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
    let (mode, max, notify) = match spec.run_mode {
        RunMode::Queue { notify_signal } => {
            let notify = notify_signal.map_or(Shown::None, |signal| word(signal.as_str()));
            (Mode::Queue, Shown::None, notify)
        }
        RunMode::Discard => (Mode::Discard, Shown::None, Shown::None),
        RunMode::Parallel { max } => (Mode::Parallel, toml(Value::Integer(max.into())), Shown::None),
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
        (
            "run_on_load",
            match spec.run_on_load {
                RunOnLoad::Always => toml(Value::Boolean(true)),
                RunOnLoad::IfChanged => word(IF_CHANGED),
                RunOnLoad::Never => toml(Value::Boolean(false)),
            },
        ),
        ("run_mode", word(words::word(words::RUN_MODE, &mode))),
        ("max_parallel", max),
        ("notify_signal", notify),
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
        ("settle", span(spec.pacing.settle)),
        ("splay", span(spec.pacing.splay)),
        ("min_interval", span(spec.pacing.min_interval)),
        ("retries", toml(Value::Integer(spec.retries.count.into()))),
        ("retry_delay", span(spec.retries.delay)),
        ("retry_max_delay", span(spec.retries.max_delay)),
        ("on_failure", word(words::word(words::ON_FAILURE, &spec.on_failure))),
        ("enabled", toml(Value::Boolean(spec.enabled))),
    ]
}

/// The keys of a watch that have a value, in the order in which people are shown them.
pub fn definition(spec: &WatchSpec) -> impl Iterator<Item = (&'static str, Value)> {
    let name = ("name", Value::String(spec.name.to_string()));
    let others = fields(spec).into_iter().filter_map(|(key, shown)| match shown {
        Shown::None => None,
        Shown::Word(word) => Some((key, Value::String(word))),
        Shown::Toml(value) => Some((key, value)),
    });
    std::iter::once(name).chain(others)
}

/// The watch as a `[[watch]]` table with every key that has a value.
#[must_use]
pub fn explain(spec: &WatchSpec) -> String {
    let mut text = "[[watch]]\n".to_owned();
    for (key, value) in definition(spec) {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use nix::sys::signal::Signal;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Defaults;
    use crate::config::parse::parse;
    use crate::config::spec::{OnFailure, Pacing, Retries, Script};

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
settle = "0s"
splay = "0s"
min_interval = "0s"
retries = 0
retry_delay = "1s"
retry_max_delay = "1m"
on_failure = "keep"
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

    /// Any duration that a file can name.
    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            (0u64..100_000).prop_map(Duration::from_millis),
            (0..=duration::LONGEST.as_secs(), 0..1_000_000_000u32)
                .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos).min(duration::LONGEST)),
        ]
    }

    fn command() -> impl Strategy<Value = Command> {
        let script = |(line, text)| Script::try_from(&*format!("#!/{line}\n{text}")).unwrap();
        prop_oneof![
            "\\PC*[a-z][^\0]*".prop_map(Command::Shell),
            prop::collection::vec("[^\0]*", 0..4)
                .prop_map(|arguments| Command::Argv([vec!["x".to_owned()], arguments].concat())),
            ("[^\0\n]*", "[^\0]*").prop_map(script).prop_map(Command::Script),
        ]
    }

    fn run_mode() -> impl Strategy<Value = RunMode> {
        let signals: Vec<Signal> = Signal::iterator().collect();
        prop_oneof![
            prop::option::of(prop::sample::select(signals))
                .prop_map(|notify_signal| RunMode::Queue { notify_signal }),
            Just(RunMode::Discard),
            (1..=10_000u32).prop_map(|max| RunMode::Parallel { max }),
        ]
    }

    fn run_on_load() -> impl Strategy<Value = RunOnLoad> {
        prop::sample::select(vec![RunOnLoad::Always, RunOnLoad::IfChanged, RunOnLoad::Never])
    }

    fn pacing() -> impl Strategy<Value = Pacing> {
        (duration(), duration(), duration()).prop_map(|(settle, splay, min_interval)| Pacing {
            settle,
            splay,
            min_interval,
        })
    }

    fn retries() -> impl Strategy<Value = Retries> {
        (0..=1000u32, duration(), duration()).prop_map(|(count, one, other)| Retries {
            count,
            delay: one.min(other),
            max_delay: one.max(other),
        })
    }

    proptest! {
        #[test]
        fn any_watch_survives_being_explained(
            command in command(), run_mode in run_mode(), run_on_load in run_on_load(),
            pacing in pacing(), retries in retries(), stops in any::<bool>(),
            env in prop::collection::btree_map("[^=\0]+", "[^\0]*", 0..4),
            timeout in duration(), kill_after in duration(),
        ) {
            let short = (*read("[[watch]]\nznode='/a'\ncommand='x'")[0]).clone();
            let spec = WatchSpec {
                command, run_mode, run_on_load, pacing, retries, env, kill_after,
                on_failure: if stops { OnFailure::Stop } else { OnFailure::Keep },
                timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
                ..short
            };
            prop_assert_eq!(&*read(&explain(&spec))[0], &spec);
        }
    }
}
