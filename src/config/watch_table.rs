//! One `[[watch]]` table, or the `[defaults]` of the daemon's settings: which key has which kind of
//! value, and how a table, the defaults and the built-in values make one spec.

mod together;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use toml::de::DeTable;

use super::keys;
use super::reader::{Reader, Value};
use super::spec::{
    Command, GroupRef, OnDelete, OnFailure, Output, Pacing, Retries, RunMode, RunOnLoad, Umask, UserRef,
    WatchName, WatchSpec, WatchType, ZnodePath,
};
use super::values;
use super::words::{self, Mode};

/// How many runs of a PARALLEL watch there are at once if the file doesn't say.
const MAX_PARALLEL: u32 = 32;
/// How long after the SIGTERM the SIGKILL comes if the file doesn't say.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// More runs at once than this are taken for a slip.
pub(super) const MOST_PARALLEL: u32 = 10_000;
/// More retries than this are taken for a slip.
pub(super) const MOST_RETRIES: u32 = 1000;
/// How long before the first retry if the file doesn't say.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long before a retry at the most if the file doesn't say.
const RETRY_MAX_DELAY: Duration = Duration::from_secs(60);

/// What `[defaults]` says: a value for any key that a watch may leave out.
///
/// `env` is added to, name by name; every other key of a watch stands instead of its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    description: Option<String>,
    watch_type: Option<WatchType>,
    pipe_stdin: Option<bool>,
    run_on_load: Option<RunOnLoad>,
    run_mode: Option<Mode>,
    max_parallel: Option<u32>,
    notify_signal: Option<Signal>,
    uid: Option<UserRef>,
    gid: Option<GroupRef>,
    timeout: Option<Duration>,
    kill_after: Option<Duration>,
    directory: Option<PathBuf>,
    umask: Option<Umask>,
    env: BTreeMap<String, String>,
    output: Option<Output>,
    on_delete: Option<OnDelete>,
    settle: Option<Duration>,
    splay: Option<Duration>,
    min_interval: Option<Duration>,
    retries: Option<u32>,
    retry_delay: Option<Duration>,
    retry_max_delay: Option<Duration>,
    on_failure: Option<OnFailure>,
    enabled: Option<bool>,
}

impl Defaults {
    /// Reads the value of `key`; `false` if there is no such key.
    fn read(&mut self, r: &mut Reader<'_>, key: &str, value: &Value<'_>) -> bool {
        match key {
            "description" => self.description = values::description(r, value),
            "watch_type" => self.watch_type = values::watch_type(r, value),
            "pipe_stdin" => self.pipe_stdin = r.boolean(key, value),
            "run_on_load" => self.run_on_load = values::run_on_load(r, value),
            "run_mode" => self.run_mode = r.word(key, value, words::RUN_MODE),
            "max_parallel" => self.max_parallel = r.number(key, value, 1..=MOST_PARALLEL),
            "notify_signal" => self.notify_signal = values::notify_signal(r, value),
            "uid" => self.uid = values::uid(r, value),
            "gid" => self.gid = values::group(r, key, value),
            "timeout" => {
                self.timeout = r.positive_duration(key, value, "leave timeout out for a run without one");
            }
            "kill_after" => self.kill_after = r.duration(key, value),
            "directory" => self.directory = r.absolute_path(key, value),
            "umask" => self.umask = values::umask(r, value),
            "env" => self.env = values::env(r, value).unwrap_or_default(),
            "output" => self.output = values::output(r, value),
            "on_delete" => self.on_delete = r.word(key, value, words::ON_DELETE),
            "settle" => self.settle = r.duration(key, value),
            "splay" => self.splay = r.duration(key, value),
            "min_interval" => self.min_interval = r.duration(key, value),
            "retries" => self.retries = r.number(key, value, 0..=MOST_RETRIES),
            "retry_delay" => self.retry_delay = r.duration(key, value),
            "retry_max_delay" => self.retry_max_delay = r.duration(key, value),
            "on_failure" => self.on_failure = r.word(key, value, words::ON_FAILURE),
            "enabled" => self.enabled = r.boolean(key, value),
            _ => return false,
        }
        true
    }

    /// Reads a `[defaults]` table.
    pub(super) fn from_table(r: &mut Reader<'_>, table: &DeTable<'_>) -> Self {
        let known: Vec<&'static str> =
            keys::WATCH.iter().copied().filter(|key| !keys::WATCH_OWN.contains(key)).collect();
        let mut defaults = Self::default();
        for (key, value) in table {
            let name: &str = key.get_ref();
            if keys::WATCH_OWN.contains(&name) {
                let message = format!("{name} belongs to one watch and can have no default");
                r.report(key.span(), message);
            } else if !defaults.read(r, name, value) {
                r.unknown_key(key.span(), name, "[defaults]", &known);
            }
        }
        let _ = together::retries(r, table, &defaults, &Self::default());
        defaults
    }
}

/// Reads one `[[watch]]` table. `default_name` is what the watch is called if it doesn't say; an error if
/// the file's path gives none. `None` only if something was reported.
pub(super) fn read(
    r: &mut Reader<'_>,
    header: Range<usize>,
    table: &DeTable<'_>,
    defaults: &Defaults,
    default_name: Result<WatchName, String>,
) -> Option<(WatchSpec, Range<usize>)> {
    let (mut name, mut znode, mut command) = (None, None, None);
    let (mut name_span, mut script_span) = (None, None);
    let mut own = Defaults::default();
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "name" => {
                name = values::name(r, value);
                name_span = Some(value.span());
            }
            "znode" => znode = values::znode(r, value),
            "command" => command = values::command(r, value),
            "script" => {
                script_span = Some(key.span());
                command = values::script(r, value);
            }
            other => {
                if !own.read(r, other, value) {
                    r.unknown_key(key.span(), other, "[[watch]]", keys::WATCH);
                }
            }
        }
    }
    for (key, example) in [
        ("znode", "add the path of the znode, such as znode = \"/git/head\""),
        ("command", "add what to run, such as command = [\"git\", \"pull\"] or command = \"make | logger\""),
    ] {
        if !table.keys().any(|given| is_meant(key, given.get_ref())) {
            r.report_with_help(header.clone(), format!("this watch has no {key}"), example);
        }
    }
    if let Some(span) = script_span.filter(|_| table.contains_key("command")) {
        r.report_with_help(span, "a watch has a command or a script, not both", "leave one of them out");
        command = None;
    }
    let run_mode = together::run_mode(r, table, &own, defaults);
    let retries = together::retries(r, table, &own, defaults);
    if name_span.is_none() {
        match default_name {
            Ok(default) => name = Some(default),
            Err(why) => r.report_with_help(
                header.clone(),
                format!("the file's path gives this watch no name: {why}"),
                "add a name, such as name = \"git-head\", or rename the file",
            ),
        }
    }
    let spec = spec(name?, znode?, command?, run_mode, retries, own, defaults);
    Some((spec, name_span.unwrap_or(header)))
}

/// Whether `given` is `key`, or has been refused with the hint that it should be, or stands in its place.
fn is_meant(key: &str, given: &str) -> bool {
    let known = keys::WATCH.contains(&given);
    given == key
        || (key == "command" && given == "script")
        || keys::todays_word(given) == Some(key)
        || (!known && keys::nearest(given, keys::WATCH.iter().copied()) == Some(key))
}

fn spec(
    name: WatchName,
    znode: ZnodePath,
    command: Command,
    run_mode: RunMode,
    retries: Retries,
    own: Defaults,
    defaults: &Defaults,
) -> WatchSpec {
    let d = defaults.clone();
    let mut env = d.env;
    env.extend(own.env);
    WatchSpec {
        description: own.description.or(d.description).map_or_else(|| (&name).into(), Into::into),
        name,
        znode,
        watch_type: own.watch_type.or(d.watch_type).unwrap_or(WatchType::Data),
        command,
        pipe_stdin: own.pipe_stdin.or(d.pipe_stdin).unwrap_or(true),
        run_on_load: own.run_on_load.or(d.run_on_load).unwrap_or(RunOnLoad::Always),
        run_mode,
        pacing: Pacing {
            settle: own.settle.or(d.settle).unwrap_or_default(),
            splay: own.splay.or(d.splay).unwrap_or_default(),
            min_interval: own.min_interval.or(d.min_interval).unwrap_or_default(),
        },
        retries,
        on_failure: own.on_failure.or(d.on_failure).unwrap_or(OnFailure::Keep),
        uid: own.uid.or(d.uid),
        gid: own.gid.or(d.gid),
        timeout: own.timeout.or(d.timeout),
        kill_after: own.kill_after.or(d.kill_after).unwrap_or(KILL_AFTER),
        directory: own.directory.or(d.directory).unwrap_or_else(|| "/".into()),
        umask: own.umask.or(d.umask).unwrap_or(Umask::DEFAULT),
        env,
        output: own.output.or(d.output).unwrap_or(Output::Log),
        on_delete: own.on_delete.or(d.on_delete).unwrap_or(OnDelete::Ignore),
        enabled: own.enabled.or(d.enabled).unwrap_or(true),
    }
}
