//! What the control socket answers is what `etc/openapi.json` says of it: every resource, asked of a daemon with
//! watches in several states.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::http::Answer;
use crate::harness::{DEADLINE, Daemon, Site, WatchFile, eventually};

struct Document(Value);

impl Document {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/openapi.json");
        Self(serde_json::from_str(&fs::read_to_string(path).expect("the document")).expect("JSON"))
    }

    /// Holds a value against a schema that stands in the document.
    #[track_caller]
    fn hold(&self, schema: &Value, value: &Value) {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::options().build(&root).expect("a schema");
        let wrong: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:#?} in {value:#}");
    }

    /// Holds an answer against what is said of the operation. Returns the answer.
    #[track_caller]
    fn check(&self, daemon: &Daemon, method: &str, template: &str, path: &str, status: u16) -> Answer {
        let answer = daemon.ask(&format!("{method} {path}"));
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let operation = &self.0["paths"][template][method.to_lowercase()];
        let mut response = &operation["responses"][status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response = self.0.pointer(reference.trim_start_matches('#')).expect("a response");
        }
        let content = &response["content"][answer.content_type()];
        assert!(
            content.is_object(),
            "{method} {template} says nothing of {status} {}",
            answer.content_type()
        );
        if answer.content_type().ends_with("json") {
            self.hold(&content["schema"], &answer.json());
        }
        answer
    }
}

#[test]
fn every_answer_is_as_the_document_has_it() {
    let document = Document::read();
    let site = Site::new("api-document");
    for znode in ["/ends", "/fails", "/goes-on", "/discards"] {
        site.client.create(znode, "1");
    }
    let gate = site.gate("gate");
    let watches = WatchFile::watch("/ends", "echo said").key("name", "\"ends\"");
    let watches = watches.and("/fails", "exit 3").key("name", "\"fails\"").key("on_failure", "\"stop\"");
    let watches = watches.and("/goes-on", &gate.pass()).key("name", "\"goes-on\"");
    let watches = watches.and("/discards", &gate.pass()).key("name", "\"discards\"");
    let watches = watches.key("run_mode", "\"DISCARD\"").and("/none", "true").key("name", "\"none\"");
    let watches = watches.and("/off", "true").key("name", "\"off\"").key("enabled", false);
    let daemon = site.builder().watch("all.toml", watches).start();
    daemon.wait_until_ready();
    daemon.wait_for_log("outcome=exited(0)");
    daemon.wait_for_log("outcome=exited(3)");
    daemon.write_watch("broken.toml", "[[watch]]\nznode = 5\n");
    daemon.wait_for_log("broken.toml");

    let asked = std::cell::RefCell::new(BTreeSet::new());
    let check = |method: &str, template: &str, name: &str, query: &str, status: u16| {
        asked.borrow_mut().insert((method.to_lowercase(), template.to_owned()));
        let path = template.replace("{name}", name).replace("{run}", name);
        document.check(&daemon, method, template, &format!("{path}{query}"), status)
    };
    check("GET", "/livez", "", "", 200);
    check("GET", "/readyz", "", "", 200);
    check("GET", "/metrics", "", "", 200);
    let status = check("GET", "/v1/status", "", "", 200).json();
    let states: BTreeSet<&str> = status["watches"]
        .as_array()
        .expect("watches")
        .iter()
        .filter_map(|watch| watch["state"].as_str())
        .collect();
    assert!(
        ["running", "stopped", "missing", "disabled"].iter().all(|state| states.contains(state)),
        "{status:#}"
    );
    assert!(!status["problems"].as_array().expect("problems").is_empty());
    check("GET", "/v1/status", "", "?what", 400);
    check("GET", "/v1/watches", "", "", 200);
    check("GET", "/v1/watches/{name}", "fails", "", 200);
    check("GET", "/v1/watches/{name}", "no-such", "", 404);
    let runs = check("GET", "/v1/watches/{name}/runs", "ends", "", 200).json();
    let run = runs["runs"][0]["run"].as_str().expect("a run").to_owned();
    check("GET", "/v1/watches/{name}/runs", "goes-on", "", 200);
    check("GET", "/v1/watches/{name}/runs", "no-such", "", 404);
    let output = eventually(DEADLINE, "the output", || {
        let answer = daemon.ask(&format!("GET /v1/runs/{run}/output"));
        (answer.status == 200).then_some(answer.body)
    });
    assert_eq!(output, "said\n");
    check("GET", "/v1/runs/{run}/output", &run, "?follow=false", 200);
    check("GET", "/v1/runs/{run}/output", &run, "?follow=maybe", 400);
    check("GET", "/v1/runs/{run}/output", "1", "", 404);
    check("GET", "/v1/runs/{run}/output", "zz", "", 404);
    assert_eq!(check("GET", "/v1/watches/{name}/output", "ends", "", 200).body, "said\n");
    check("GET", "/v1/watches/{name}/output", "none", "", 404);
    check("GET", "/v1/watches/{name}/output", "no-such", "", 404);

    let fired = check("POST", "/v1/watches/{name}/fire", "ends", "?wait", 200).json();
    assert_eq!(fired["end"]["exit_status"], 0, "{fired}");
    check("POST", "/v1/watches/{name}/fire", "ends", "?wait=start", 200);
    let waits = check("POST", "/v1/watches/{name}/fire", "goes-on", "", 200).json();
    assert_eq!((&waits["run"], &waits["reason"]), (&Value::Null, &json!("it waits for its turn")));
    check("POST", "/v1/watches/{name}/fire", "fails", "", 200);
    check("POST", "/v1/watches/{name}/fire", "discards", "", 409);
    check("POST", "/v1/watches/{name}/fire", "none", "", 409);
    check("POST", "/v1/watches/{name}/fire", "off", "", 404);
    check("POST", "/v1/watches/{name}/fire", "ends", "?wait=soon", 400);
    for verb in ["pause", "resume"] {
        check("POST", &format!("/v1/watches/{{name}}/{verb}"), "ends", "", 200);
        check("POST", &format!("/v1/watches/{{name}}/{verb}"), "no-such", "", 404);
    }
    check("POST", "/v1/watches/{name}/kill", "goes-on", "?signal=CONT", 200);
    check("POST", "/v1/watches/{name}/kill", "discards", "", 200);
    check("POST", "/v1/watches/{name}/kill", "none", "", 409);
    check("POST", "/v1/watches/{name}/kill", "no-such", "", 404);
    check("POST", "/v1/watches/{name}/kill", "goes-on", "?signal=NONE", 400);
    check("POST", "/v1/reload", "", "", 200);
    check("GET", "/v1/events", "", "?after=x", 400);
    check("GET", "/v1/events", "", "?past&watch=ends&watch=no-such", 404);
    let last = check("GET", "/v1/events", "", "?past&watch=none&watch=ends&last=2", 200);
    assert_eq!(last.body.matches("data: ").count(), 2, "{}", last.body);
    let events = check("GET", "/v1/events", "", "?past", 200);

    // The data of each event, and what an operator did among them, with who it was.
    let schema = json!({ "$ref": "#/components/schemas/Event" });
    let mut kinds = BTreeSet::new();
    for data in events.body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).expect("JSON");
        document.hold(&schema, &event);
        let kind = event["event"].as_str().expect("a kind").to_owned();
        if ["watch-paused", "watch-resumed", "watch-fired", "run-killed", "run-signaled"].contains(&&*kind) {
            assert_eq!(event["by_uid"], nix::unistd::Uid::effective().as_raw(), "{event}");
        }
        kinds.insert(kind);
    }
    for kind in [
        "run-started",
        "run-ended",
        "watch-paused",
        "watch-resumed",
        "watch-fired",
        "run-killed",
        "run-signaled",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }

    // Nothing is left out.
    let paths = document.0["paths"].as_object().expect("paths");
    let documented: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods.keys().map(move |method| (method.clone(), path.clone()))
        })
        .collect();
    assert_eq!(*asked.borrow(), documented);

    let wrong = daemon.ask("DELETE /v1/watches/ends");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("\r\nallow: get, head\r\n"), "{}", wrong.head);
    document.hold(&json!({ "$ref": "#/components/schemas/Problem" }), &wrong.json());
    gate.open();
}

/// The lines of a body that is followed, without its framing.
fn follow(daemon: &Daemon, path: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = daemon.control();
    // In HTTP/1.0 a body has no chunks, and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("a request");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    assert!(lines.next().expect("a status").contains(" 200 "));
    lines.by_ref().find(String::is_empty).expect("the end of the head");
    lines
}

#[test]
fn what_a_run_prints_is_followed_to_its_end_and_what_a_watch_prints_beyond_it() {
    let site = Site::new("api-follow");
    site.client.create("/a", "1");
    let gate = site.gate("gate");
    let command = format!("echo begins $(cat); {}; printf 'ends\\nopen'", gate.pass());
    let watch = WatchFile::watch("/a", &command).key("name", "\"a\"");
    let daemon = site.builder().watch("a.toml", watch).start();
    daemon.wait_until_ready();
    let status = eventually(DEADLINE, "the run to print", || {
        let answer = daemon.ask("GET /v1/watches/a/output");
        let runs = (answer.body == "begins 1\n").then(|| daemon.ask("GET /v1/watches/a/runs"));
        runs.ok_or(answer.body)
    });
    let run = status.json()["runs"][0]["run"].as_str().expect("a run").to_owned();
    let mut of_run = follow(&daemon, &format!("/v1/runs/{run}/output?follow"));
    let mut of_watch = follow(&daemon, "/v1/watches/a/output?follow");
    assert_eq!(of_run.next().as_deref(), Some("begins 1"));
    gate.open();
    assert_eq!(of_run.collect::<Vec<_>>(), ["ends", "open"]);
    site.client.set("/a", "2");
    let all: Vec<String> = of_watch.by_ref().take(6).collect();
    assert_eq!(all, ["begins 1", "ends", "open", "begins 2", "ends", "open"]);
    // Of one that has ended it is what there is.
    assert_eq!(follow(&daemon, &format!("/v1/runs/{run}/output?follow")).last().as_deref(), Some("open"));
}

#[test]
fn p5_who_follows_what_is_printed_and_does_not_read_delays_nobody_and_hears_that_some_is_missing() {
    let site = Site::new("api-slow");
    site.client.create("/a", "1");
    site.client.create("/b", "1");
    let (begin, end) = (site.gate("begin"), site.gate("end"));
    let journal = site.journal("journal");
    // More than a connection holds that nobody reads from, and not so much that the daemon leaves some out by itself.
    let line = "x".repeat(200);
    let print = format!("i=0; while [ $i -lt 9000 ]; do echo $i {line}; i=$((i+1)); done; echo printed");
    let command = format!("{}; {print}; {}; echo last", begin.pass(), end.pass());
    let watches = WatchFile::watch("/a", &command).key("name", "\"a\"");
    let watches = watches.and("/b", &journal.append("$(cat)")).key("name", "\"b\"");
    let daemon = site.builder().watch("all.toml", watches).start();
    daemon.wait_until_ready();
    let run = eventually(DEADLINE, "the run", || {
        let runs = daemon.ask("GET /v1/watches/a/runs");
        (runs.status == 200).then(|| runs.json()["runs"][0]["run"].as_str().map(str::to_owned)).flatten()
    });
    let lines = follow(&daemon, &format!("/v1/runs/{run}/output?follow"));
    begin.open();
    daemon.wait_for_log("]| printed");
    journal.expect(&["1"]);
    site.client.set("/b", "2");
    journal.expect(&["1", "2"]);
    // Whoever follows is told of no more than 1,024 events at once, those of others among them.
    for _ in 0..600 {
        for verb in ["pause", "resume"] {
            assert_eq!(daemon.ask(&format!("POST /v1/watches/b/{verb}")).status, 200);
        }
    }
    site.client.set("/b", "3");
    journal.expect(&["1", "2", "3"]);
    end.open();
    daemon.wait_for_log("outcome=exited(0)");
    eventually(DEADLINE, "the end of the run", || {
        daemon.ask("GET /v1/watches/a").json()["last"]["run"] == run.as_str()
    });
    // It was read by nobody until here, and the run has ended.
    let lines: Vec<String> = lines.collect();
    let missing = "[lines may be missing here: they came faster than they were read]";
    assert!(lines.iter().any(|line| line == missing), "{} lines, none of them says so", lines.len());
    assert!(lines.len() < 9_000, "{}", lines.len());
    assert_eq!(lines.last().map(String::as_str), Some("last"));
}
