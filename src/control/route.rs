//! Which request is about what. Pure.

use nix::sys::signal::Signal;

use super::api::Problem;
use crate::config::spec::{WatchName, signal};
use crate::schedule::order::RunId;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /livez`: whether there is a daemon.
    Live,
    /// `GET /readyz`: whether all that it watches was looked at.
    Ready,
    /// `GET /metrics`: in Prometheus' text format.
    Metrics,
    /// `GET /v1/status`.
    Status,
    /// `GET /v1/watches`.
    Watches,
    /// `GET /v1/watches/NAME`.
    Watch(WatchName),
    /// `GET /v1/watches/NAME/runs`.
    Runs(WatchName),
    /// `GET /v1/runs/ID/output`.
    Output(RunId),
    /// `GET /v1/events`, after the event of this id, or after the last that there is. With `past` only those that there
    /// are.
    Events {
        /// The id of the last event that is known.
        after: Option<u64>,
        /// Whether those that come later are told as they come.
        follow: bool,
    },
    /// `POST /v1/watches/NAME/fire`.
    Fire {
        /// Which.
        watch: WatchName,
        /// Whether the end of the run is waited for.
        wait: bool,
    },
    /// `POST /v1/watches/NAME/pause`.
    Pause(WatchName),
    /// `POST /v1/watches/NAME/resume`.
    Resume(WatchName),
    /// `POST /v1/watches/NAME/kill`.
    Kill {
        /// Whose runs.
        watch: WatchName,
        /// What is sent; `None`: they are ended as their timeout would.
        signal: Option<Signal>,
    },
    /// `POST /v1/reload`.
    Reload,
}

/// What a request is about.
///
/// # Errors
/// That there is no such thing, or that this cannot be done with it.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let parameter = |name: &str| {
        let query = query.unwrap_or_default().split('&');
        query
            .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let watch = |name: &str| WatchName::try_from(name).map_err(|_| Problem::no_watch(name));
    let (allowed, route) = match *parts.as_slice() {
        ["livez"] => ("GET", Route::Live),
        ["readyz"] => ("GET", Route::Ready),
        ["metrics"] => ("GET", Route::Metrics),
        ["v1", "status"] => ("GET", Route::Status),
        ["v1", "watches"] => ("GET", Route::Watches),
        ["v1", "watches", name] => ("GET", Route::Watch(watch(name)?)),
        ["v1", "watches", name, "runs"] => ("GET", Route::Runs(watch(name)?)),
        ["v1", "runs", run, "output"] => {
            let no_run = |_| Problem::new(404, "no such run", format!("'{run}' is not the id of a run"));
            ("GET", Route::Output(run.parse().map_err(no_run)?))
        }
        ["v1", "events"] => {
            let after = parameter("after").map(|after| {
                let wrong = |_| {
                    Problem::new(
                        400,
                        "not a number",
                        format!("after={after}: the id of an event is a number"),
                    )
                };
                after.parse().map_err(wrong)
            });
            ("GET", Route::Events { after: after.transpose()?, follow: parameter("past").is_none() })
        }
        ["v1", "watches", name, "fire"] => {
            let wait = parameter("wait").is_some_and(|wait| !matches!(wait, "false" | "0"));
            ("POST", Route::Fire { watch: watch(name)?, wait })
        }
        ["v1", "watches", name, "pause"] => ("POST", Route::Pause(watch(name)?)),
        ["v1", "watches", name, "resume"] => ("POST", Route::Resume(watch(name)?)),
        ["v1", "watches", name, "kill"] => {
            let sent = parameter("signal")
                .map(|text| signal(text).map_err(|why| Problem::new(400, "no such signal", why.to_string())));
            ("POST", Route::Kill { watch: watch(name)?, signal: sent.transpose()? })
        }
        ["v1", "reload"] => ("POST", Route::Reload),
        _ => return Err(Problem::no_resource(path)),
    };
    if method == allowed {
        return Ok(route);
    }
    Err(Problem::new(405, "method not allowed", format!("{path} takes {allowed} and not {method}")))
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
        assert_eq!(get("/v1/watches/git.head/runs"), Route::Runs(name("git.head")));
        assert_eq!(get("/v1/runs/660d5fe5a3740/output"), Route::Output("660d5fe5a3740".parse().unwrap()));
        let events = Route::Events { after: Some(7), follow: true };
        assert_eq!(route("GET", "/v1/events", Some("after=7")).unwrap(), events);
        let past = Route::Events { after: Some(0), follow: false };
        assert_eq!(route("GET", "/v1/events", Some("after=0&past")).unwrap(), past);
        let post = |path, query| route("POST", path, query).unwrap();
        assert_eq!(post("/v1/watches/a/fire", None), Route::Fire { watch: name("a"), wait: false });
        assert_eq!(post("/v1/watches/a/fire", Some("wait")), Route::Fire { watch: name("a"), wait: true });
        let kill = Route::Kill { watch: name("a"), signal: Some(Signal::SIGHUP) };
        assert_eq!(post("/v1/watches/a/kill", Some("signal=HUP")), kill);
    }

    #[test]
    fn what_is_not_there_or_cannot_be_done_is_said() {
        let status = |method, path, query| route(method, path, query).unwrap_err().status;
        assert_eq!(status("GET", "/", None), 404);
        assert_eq!(status("GET", "/v2/status", None), 404);
        assert_eq!(status("GET", "/v1/watches/no%20name", None), 404);
        assert_eq!(status("POST", "/v1/status", None), 405);
        assert_eq!(status("DELETE", "/v1/watches/a", None), 405);
        assert_eq!(status("GET", "/v1/events", Some("after=x")), 400);
        assert_eq!(status("POST", "/v1/watches/a/kill", Some("signal=NONE")), 400);
    }
}
