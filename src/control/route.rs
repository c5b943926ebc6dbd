//! Which request is about what: one table that requests are read by and that `etc/openapi.json` is made from. Pure.

use std::str::FromStr;

use nix::sys::signal::Signal;

use super::api::Problem;
use crate::config::spec::{WatchName, signal};
use crate::schedule::order::RunId;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Whether there is a daemon.
    Live,
    /// Whether all that it watches was looked at.
    Ready,
    /// How it does, in Prometheus' text format.
    Metrics,
    /// The daemon and every watch.
    Status,
    /// Every watch.
    Watches,
    /// One watch.
    Watch(WatchName),
    /// The runs of a watch.
    Runs(WatchName),
    /// What a run has printed.
    Output {
        /// Which.
        run: RunId,
        /// Whether what it prints from now on is told as it comes, until it has ended.
        follow: bool,
    },
    /// What the last run of a watch has printed.
    WatchOutput {
        /// Which.
        watch: WatchName,
        /// Whether what its runs print from now on is told as it comes.
        follow: bool,
    },
    /// Events after the one of this id, or after the last that there is.
    Events {
        /// The id of the last event that is known.
        after: Option<u64>,
        /// How many of those that there are at most.
        last: Option<u64>,
        /// Only those about these; none: all.
        watches: Vec<WatchName>,
        /// Whether those that come later are told as they come.
        follow: bool,
    },
    /// Runs a watch.
    Fire {
        /// Which.
        watch: WatchName,
        /// What of the run is waited for.
        wait: Wait,
    },
    /// Keeps a watch from running.
    Pause(WatchName),
    /// Lets a watch run again.
    Resume(WatchName),
    /// Ends the runs of a watch, or sends them a signal.
    Kill {
        /// Whose runs.
        watch: WatchName,
        /// What is sent; `None`: they are ended as their timeout would.
        signal: Option<Signal>,
    },
    /// Has the config folder looked at.
    Reload,
}

/// What of a run is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    No,
    /// That it is started.
    Start,
    /// That it has ended.
    End,
}

/// What can be asked for, and how that is answered.
#[derive(Debug)]
pub struct Resource {
    /// The method. What can be had by `GET` has `HEAD` as well.
    pub method: &'static str,
    /// The path; `{name}` is that of a watch, `{run}` the id of a run.
    pub path: &'static str,
    /// What a program may call it.
    pub id: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// What may follow the path after a `?`.
    pub parameters: &'static [Parameter],
    /// What is answered when all is well.
    pub content: Content,
    /// The problems that may be answered instead, by status and title; besides [`ALWAYS`].
    pub problems: &'static [(u16, &'static str)],
    read: fn(&Asked<'_>) -> Result<Route, Problem>,
}

/// What may follow a path after a `?`.
#[derive(Debug)]
pub struct Parameter {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Which values it has.
    pub values: Values,
}

/// The values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// `true`, `1` or nothing at all; `false` and `0`, as if it were not there.
    Flag,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A number that is not negative.
    Number,
    /// The name or the number of a signal.
    Signal,
    /// The name of a watch. May be given several times.
    Watches,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Text, as it comes.
    Text,
    /// Server-sent events.
    Events,
    /// JSON of the type of this name in `api`.
    Json(&'static str),
    /// The same, a list of them.
    JsonList(&'static str),
}

/// The problems that any request may be answered with, by status and title.
pub const ALWAYS: &[(u16, &str)] = &[
    (400, "broken body"),
    (400, "no such parameter"),
    (400, "not such a value"),
    (408, "body too slow"),
    (413, "body too large"),
    (403, "not allowed"),
    (503, "too many connections"),
];

const WAITING: (u16, &str) = (503, "too many who wait");
const STOPPING: (u16, &str) = (503, "stopping");
const NO_WATCH: (u16, &str) = (404, "no such watch");
const NO_RUN: (u16, &str) = (404, "no such run");
const NO_OUTPUT: (u16, &str) = (404, "no output");

const FOLLOW: Parameter =
    Parameter { name: "follow", summary: "Go on with what is printed from now on", values: Values::Flag };

/// All there is.
pub const RESOURCES: &[Resource] = &[
    Resource {
        method: "GET",
        path: "/livez",
        id: "live",
        summary: "Whether there is a daemon",
        parameters: &[],
        content: Content::Text,
        problems: &[],
        read: |_| Ok(Route::Live),
    },
    Resource {
        method: "GET",
        path: "/readyz",
        id: "ready",
        summary: "Whether all that it watches was looked at",
        parameters: &[],
        content: Content::Text,
        problems: &[(503, "not ready")],
        read: |_| Ok(Route::Ready),
    },
    Resource {
        method: "GET",
        path: "/metrics",
        id: "getMetrics",
        summary: "Metrics, in Prometheus' text format",
        parameters: &[],
        content: Content::Text,
        problems: &[STOPPING],
        read: |_| Ok(Route::Metrics),
    },
    Resource {
        method: "GET",
        path: "/v1/status",
        id: "getStatus",
        summary: "The daemon, what is wrong with the watch files, and every watch",
        parameters: &[],
        content: Content::Json("Status"),
        problems: &[STOPPING],
        read: |_| Ok(Route::Status),
    },
    Resource {
        method: "GET",
        path: "/v1/watches",
        id: "listWatches",
        summary: "Every watch, by name",
        parameters: &[],
        content: Content::JsonList("Watch"),
        problems: &[STOPPING],
        read: |_| Ok(Route::Watches),
    },
    Resource {
        method: "GET",
        path: "/v1/watches/{name}",
        id: "getWatch",
        summary: "One watch",
        parameters: &[],
        content: Content::Json("Watch"),
        problems: &[NO_WATCH, STOPPING],
        read: |asked| Ok(Route::Watch(asked.watch()?)),
    },
    Resource {
        method: "GET",
        path: "/v1/watches/{name}/runs",
        id: "listRuns",
        summary: "The runs of a watch, those that go on first, then the newest of the last hundred; also of a watch \
                  that is no longer defined",
        parameters: &[],
        content: Content::Json("Runs"),
        problems: &[NO_WATCH, STOPPING],
        read: |asked| Ok(Route::Runs(asked.watch()?)),
    },
    Resource {
        method: "GET",
        path: "/v1/watches/{name}/output",
        id: "getWatchOutput",
        summary: "What the last run of a watch has printed last, up to 64 KiB; followed, what all of its runs print \
                  from then on, until whoever reads has enough. Who reads too slowly is told in a line of its own \
                  that some are missing",
        parameters: &[FOLLOW],
        content: Content::Text,
        problems: &[NO_WATCH, NO_OUTPUT, WAITING, STOPPING],
        read: |asked| Ok(Route::WatchOutput { watch: asked.watch()?, follow: asked.flag("follow")? }),
    },
    Resource {
        method: "GET",
        path: "/v1/runs/{run}/output",
        id: "getOutput",
        summary: "What a run has printed last, up to 64 KiB; followed, what it prints from then on, until it has \
                  ended. Who reads too slowly is told in a line of its own that some are missing",
        parameters: &[FOLLOW],
        content: Content::Text,
        problems: &[NO_RUN, NO_OUTPUT, WAITING, STOPPING],
        read: |asked| Ok(Route::Output { run: asked.run()?, follow: asked.flag("follow")? }),
    },
    Resource {
        method: "GET",
        path: "/v1/events",
        id: "getEvents",
        summary: "What the daemon sees and decides: for each event its id and, as data, an Event. Where some are \
                  missing, since they are no longer kept or the client was too slow, there is one named 'missed' \
                  without an id, whose data has their count, or null",
        parameters: &[
            Parameter {
                name: "after",
                summary: "Begin after the event of this id, as far as it is kept; without it, with what happens now",
                values: Values::Number,
            },
            Parameter {
                name: "last",
                summary: "Begin with so many of those that there are, at most",
                values: Values::Number,
            },
            Parameter {
                name: "watch",
                summary: "Only what is about this watch, or one of these",
                values: Values::Watches,
            },
            Parameter {
                name: "past",
                summary: "Only those that there are, from the first that is kept if none is named",
                values: Values::Flag,
            },
        ],
        content: Content::Events,
        problems: &[NO_WATCH, WAITING, STOPPING],
        read: |asked| {
            Ok(Route::Events {
                after: asked.number("after")?,
                last: asked.number("last")?,
                watches: asked.watches("watch")?,
                follow: !asked.flag("past")?,
            })
        },
    },
    Resource {
        method: "POST",
        path: "/v1/watches/{name}/fire",
        id: "fire",
        summary: "Run a watch now, as an update would, with what the znode holds",
        parameters: &[Parameter {
            name: "wait",
            summary: "Answer when the run has started, or has ended; without a word, when it has ended. Nobody waits \
                      for a watch that is paused or stopped",
            values: Values::Words(&["start", "end", ""]),
        }],
        content: Content::Json("Fired"),
        problems: &[
            NO_WATCH,
            (409, "discarded"),
            (409, "no znode"),
            (409, "no access"),
            (410, "no longer defined"),
            (503, "not connected"),
            WAITING,
            STOPPING,
        ],
        read: |asked| {
            let wait = match asked.word("wait", &["start", "end", ""])? {
                None => Wait::No,
                Some("start") => Wait::Start,
                Some(_) => Wait::End,
            };
            Ok(Route::Fire { watch: asked.watch()?, wait })
        },
    },
    Resource {
        method: "POST",
        path: "/v1/watches/{name}/pause",
        id: "pause",
        summary: "Keep a watch from running; an update that comes meanwhile is run when it is resumed",
        parameters: &[],
        content: Content::Json("Steered"),
        problems: &[NO_WATCH, STOPPING],
        read: |asked| Ok(Route::Pause(asked.watch()?)),
    },
    Resource {
        method: "POST",
        path: "/v1/watches/{name}/resume",
        id: "resume",
        summary: "Let a watch run again that was paused or that a failure has stopped",
        parameters: &[],
        content: Content::Json("Steered"),
        problems: &[NO_WATCH, STOPPING],
        read: |asked| Ok(Route::Resume(asked.watch()?)),
    },
    Resource {
        method: "POST",
        path: "/v1/watches/{name}/kill",
        id: "kill",
        summary: "End the runs of a watch as their timeout would, or send them a signal",
        parameters: &[Parameter {
            name: "signal",
            summary: "Only send this, by its name with or without SIG, or by its number",
            values: Values::Signal,
        }],
        content: Content::Json("Killed"),
        problems: &[(400, "no such signal"), NO_WATCH, (409, "nothing runs"), STOPPING],
        read: |asked| {
            let sent = asked.parameter("signal").map(|text| {
                signal(&text).map_err(|why| Problem::new(400, "no such signal", why.to_string()))
            });
            Ok(Route::Kill { watch: asked.watch()?, signal: sent.transpose()? })
        },
    },
    Resource {
        method: "POST",
        path: "/v1/reload",
        id: "reload",
        summary: "Look at the config folder now, and say what changed",
        parameters: &[],
        content: Content::Json("Reloaded"),
        problems: &[STOPPING],
        read: |_| Ok(Route::Reload),
    },
];

/// A request, as far as it fits a resource.
struct Asked<'a> {
    /// What the path has in place of `{name}` or `{run}`.
    part: String,
    query: &'a str,
}

impl Asked<'_> {
    fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn watch(&self) -> Result<WatchName, Problem> {
        WatchName::try_from(self.part.as_str()).map_err(|_| Problem::no_watch(&self.part))
    }

    fn watches(&self, name: &str) -> Result<Vec<WatchName>, Problem> {
        let given = self.parameters().filter(|(key, _)| key == name);
        given.map(|(_, text)| WatchName::try_from(&*text).map_err(|_| Problem::no_watch(&text))).collect()
    }

    fn run(&self) -> Result<RunId, Problem> {
        let no_run = |error: <RunId as FromStr>::Err| Problem::new(404, NO_RUN.1, error.to_string());
        self.part.parse().map_err(no_run)
    }

    fn flag(&self, name: &str) -> Result<bool, Problem> {
        let word = self.word(name, &["", "true", "1", "false", "0"])?;
        Ok(word.is_some_and(|word| !matches!(word, "false" | "0")))
    }

    fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let Some(given) = self.parameter(name) else { return Ok(None) };
        let known = words.iter().find(|word| **word == given).copied();
        let or = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(", ");
        known.map(Some).ok_or_else(|| wrong_value(format!("{name}={given}: it takes {or} or nothing")))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(given) = self.parameter(name) else { return Ok(None) };
        let is_number = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit());
        let number = given.parse().ok().filter(|_| is_number);
        number.map(Some).ok_or_else(|| wrong_value(format!("{name}={given}: it takes a number")))
    }
}

fn wrong_value(detail: String) -> Problem {
    Problem::new(400, "not such a value", detail)
}

/// What is written with `%` and two digits, as it is meant. What cannot be read stays as it is, and is no name.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let escaped = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        let (byte, after) = match escaped {
            Some(byte) if first == b'%' => (byte, &after[2..]),
            _ => (first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Resource {
    /// What stands in the place of the parameter of its path, if it is at this path; empty where it has none.
    fn part(&self, path: &str) -> Option<String> {
        let (mut wanted, mut given) = (self.path.split('/'), path.split('/'));
        let mut part = String::new();
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return Some(part),
                (Some(wanted), Some(given)) if wanted.starts_with('{') => part = decoded(given),
                (Some(wanted), Some(given)) if wanted == decoded(given) => {}
                _ => return None,
            }
        }
    }
}

/// The methods that a path takes; none where there is nothing.
#[must_use]
pub fn methods(path: &str) -> Vec<&'static str> {
    let at_path = RESOURCES.iter().filter(|resource| resource.part(path).is_some());
    at_path
        .flat_map(|resource| [Some(resource.method), (resource.method == "GET").then_some("HEAD")])
        .flatten()
        .collect()
}

/// What a request is about.
///
/// # Errors
/// That there is no such thing, or that this cannot be done with it.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let methods = methods(path);
    if methods.is_empty() {
        return Err(Problem::no_resource(path));
    }
    let wanted = if method == "HEAD" { "GET" } else { method };
    let found = RESOURCES.iter().filter(|resource| resource.method == wanted);
    let Some((resource, part)) = found.filter_map(|resource| Some((resource, resource.part(path)?))).next()
    else {
        let allowed = methods.join(" and ");
        return Err(Problem::new(
            405,
            "method not allowed",
            format!("{path} takes {allowed} and not {method}"),
        ));
    };
    let asked = Asked { part, query: query.unwrap_or_default() };
    let is_known = |name: &str| resource.parameters.iter().any(|parameter| parameter.name == name);
    if let Some((unknown, _)) = asked.parameters().find(|(name, _)| !is_known(name)) {
        return Err(Problem::new(400, "no such parameter", format!("{path} takes no parameter '{unknown}'")));
    }
    (resource.read)(&asked)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> WatchName {
        text.try_into().unwrap()
    }

    #[test]
    fn each_resource_has_its_path_and_its_method() {
        let get = |path| route("GET", path, None).unwrap();
        assert_eq!(get("/metrics"), Route::Metrics);
        assert_eq!(get("/v1/status"), Route::Status);
        assert_eq!(route("HEAD", "/v1/status", None).unwrap(), Route::Status);
        assert_eq!(get("/v1/watches/git.head/runs"), Route::Runs(name("git.head")));
        assert_eq!(get("/v1/watches/git%2ehead"), Route::Watch(name("git.head")));
        let run = "660d5fe5a3740".parse().unwrap();
        assert_eq!(get("/v1/runs/660d5fe5a3740/output"), Route::Output { run, follow: false });
        let followed = route("GET", "/v1/watches/a/output", Some("follow")).unwrap();
        assert_eq!(followed, Route::WatchOutput { watch: name("a"), follow: true });
        let events = Route::Events { after: Some(7), last: None, watches: vec![], follow: true };
        assert_eq!(route("GET", "/v1/events", Some("after=7&past=false")).unwrap(), events);
        let past = Route::Events { after: Some(0), last: None, watches: vec![], follow: false };
        assert_eq!(route("GET", "/v1/events", Some("after=0&past")).unwrap(), past);
        let some =
            Route::Events { after: None, last: Some(9), watches: vec![name("a"), name("b")], follow: true };
        assert_eq!(route("GET", "/v1/events", Some("watch=a&last=9&watch=b")).unwrap(), some);
        let post = |path, query| route("POST", path, query).unwrap();
        for (query, wait) in [
            (None, Wait::No),
            (Some("wait"), Wait::End),
            (Some("wait=end"), Wait::End),
            (Some("wait=start"), Wait::Start),
        ] {
            assert_eq!(post("/v1/watches/a/fire", query), Route::Fire { watch: name("a"), wait });
        }
        let kill = Route::Kill { watch: name("a"), signal: Some(Signal::SIGHUP) };
        assert_eq!(post("/v1/watches/a/kill", Some("signal=HUP")), kill);
        assert_eq!(post("/v1/watches/a/kill", Some("%73ignal=SIG%48up")), kill);
    }

    #[test]
    fn what_is_not_there_or_cannot_be_done_is_said() {
        let status = |method, path, query| route(method, path, query).unwrap_err().status;
        assert_eq!(status("GET", "/", None), 404);
        assert_eq!(status("GET", "/v2/status", None), 404);
        assert_eq!(status("GET", "/v1/status/", None), 404);
        assert_eq!(status("GET", "/v1/watches/no%20name", None), 404);
        assert_eq!(status("GET", "/v1/watches/%", None), 404);
        assert_eq!(status("GET", "/v1/runs/-1/output", None), 404);
        assert_eq!(status("POST", "/v1/status", None), 405);
        assert_eq!(status("HEAD", "/v1/reload", None), 405);
        assert_eq!(status("DELETE", "/v1/watches/a", None), 405);
        for (path, query) in [
            ("/v1/status", "a=b"),
            ("/v1/events", "after=x"),
            ("/v1/events", "after=+1"),
            ("/v1/events", "after="),
            ("/v1/events", "past=maybe"),
            ("/v1/runs/1/output", "folow"),
        ] {
            assert_eq!(status("GET", path, Some(query)), 400, "{path}?{query}");
        }
        assert_eq!(status("GET", "/v1/events", Some("watch=no%20name")), 404);
        assert_eq!(status("POST", "/v1/watches/a/fire", Some("wait=begin")), 400);
        assert_eq!(status("POST", "/v1/watches/a/kill", Some("signal=NONE")), 400);
    }

    #[test]
    fn each_resource_is_found_at_its_own_path_and_no_other_is() {
        for resource in RESOURCES {
            let path = resource.path.replace("{name}", "a").replace("{run}", "1");
            let here: Vec<_> = RESOURCES.iter().filter(|other| other.part(&path).is_some()).collect();
            assert_eq!(here.len(), 1, "{path}: {here:?}");
            let other = if resource.method == "GET" { "POST" } else { "GET" };
            assert_eq!(route(other, &path, None).unwrap_err().status, 405);
            assert!(route(resource.method, &path, None).is_ok(), "{path}");
        }
    }
}
