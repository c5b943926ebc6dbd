//! What Prometheus reads: what each metric says after what has happened, what is served over TCP, and what the README
//! and the rules under `etc` say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::harness::http::{self, Answer};
use crate::harness::zookeeper::port::Port;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Proxy, Server, Site, WatchFile, eventually, promtool, shared_chroot,
};

/// What the control socket serves.
fn scrape(daemon: &Daemon) -> io::Result<String> {
    let Answer { status, head, body } = http::ask(daemon.connect()?, "GET /metrics")?;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    Ok(body)
}

/// The samples of a text, by name and labels as they are written.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Waits until each of these samples has this value. Returns all that there are then.
#[track_caller]
fn expect(daemon: &Daemon, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    eventually(DEADLINE, "metrics", || {
        let found = samples(&scrape(daemon).map_err(|error| vec![error.to_string()])?);
        let differ: Vec<String> = expected
            .iter()
            .filter(|(name, value)| found.get(*name) != Some(value))
            .map(|(name, value)| format!("{name} is {:?} and not {value}", found.get(*name)))
            .collect();
        if differ.is_empty() { Ok(found) } else { Err(differ) }
    })
}

#[track_caller]
fn is_well(output: &Output, about: &str) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{}\n{about}", String::from_utf8_lossy(&said));
}

#[test]
fn what_becomes_of_updates_and_runs_is_counted_and_goes_with_the_watch() {
    let site = Site::new("metrics");
    for znode in ["/queue", "/discard", "/fails", "/late", "/quiet"] {
        site.client.create(znode, "0");
    }
    let (seen, gate) = (site.journal("seen"), site.gate("gate"));
    let waits = |znode: &str, name: &str| WatchFile::watch(znode, &gate.pass()).key("name", name);
    let modes = waits("/queue", "'queue'").and("/discard", &gate.pass());
    let modes = modes.key("name", "'discard'").key("run_mode", "'DISCARD'");
    // They show that an update has come before the next one is made.
    let modes = modes.and("/queue", &seen.append("x")).key("name", "'seen-queue'");
    let modes = modes.key("run_mode", "'PARALLEL'").and("/discard", &seen.append("x"));
    let modes = modes.key("name", "'seen-discard'").key("run_mode", "'PARALLEL'");
    let ends = WatchFile::watch("/fails", "exit 3").key("name", "'fails'").key("retries", 1);
    let ends = ends.key("retry_delay", "'10ms'").and("/late", "sleep 1000").key("name", "'late'");
    let ends = ends.key("timeout", "'50ms'").and("/quiet", "true").key("name", "'quiet'");
    let ends = ends.key("run_on_load", false).and("/quiet", "true").key("name", "'nobody'");
    let ends = ends.key("uid", "'no-such-user'").and("/none", "true").key("name", "'none'");
    let daemon = site.builder().watch("modes.toml", modes);
    let daemon = daemon.watch("ends.toml", ends).start();
    expect(&daemon, &[("twitcher_runs_in_progress", 2.0)]);
    seen.wait_for(2);
    for value in 1..=4 {
        site.client.set("/queue", value.to_string());
        site.client.set("/discard", value.to_string());
        seen.wait_for(2 + 2 * value);
    }

    let failed = [
        ("twitcher_watch_runs_total{watch=\"fails\",outcome=\"exited\"}", 2.0),
        ("twitcher_watch_runs_total{watch=\"fails\",outcome=\"success\"}", 0.0),
        ("twitcher_watch_runs_total{watch=\"late\",outcome=\"timed-out\"}", 1.0),
        ("twitcher_watch_runs_total{watch=\"seen-queue\",outcome=\"success\"}", 5.0),
        ("twitcher_runs_total{outcome=\"exited\"}", 2.0),
        ("twitcher_runs_total{outcome=\"timed-out\"}", 1.0),
        ("twitcher_runs_total{outcome=\"spawn-failed\"}", 1.0),
        ("twitcher_runs_total{outcome=\"signaled\"}", 0.0),
        ("twitcher_runs_total{outcome=\"success\"}", 10.0),
        ("twitcher_runs_in_progress", 2.0),
        ("twitcher_retries_total", 1.0),
        ("twitcher_updates_waiting", 1.0),
        // Of the four that came during the run, one waits.
        ("twitcher_updates_collapsed_total", 3.0),
        ("twitcher_updates_discarded_total", 4.0),
        ("twitcher_watch_updates_total{watch=\"queue\"}", 5.0),
        ("twitcher_watch_updates_total{watch=\"discard\"}", 5.0),
        ("twitcher_watch_updates_total{watch=\"quiet\"}", 0.0),
        // Five of each of the first four, and what was there for those that failed.
        ("twitcher_updates_received_total", 23.0),
        ("twitcher_watch_failing{watch=\"fails\"}", 1.0),
        ("twitcher_watch_failing{watch=\"quiet\"}", 0.0),
        ("twitcher_watches{state=\"running\"}", 2.0),
        ("twitcher_watches{state=\"missing\"}", 1.0),
        ("twitcher_watches{state=\"watching\"}", 6.0),
        ("twitcher_zookeeper_connected", 1.0),
        ("twitcher_config_errors", 0.0),
        // What could not be started took no time, and a retry says nothing of how long an update waits.
        ("twitcher_run_duration_seconds_count", 13.0),
        ("twitcher_run_duration_seconds_bucket{le=\"+Inf\"}", 13.0),
        ("twitcher_start_delay_seconds_count", 14.0),
    ];
    let found = expect(&daemon, &failed);
    let before = found["twitcher_watch_last_failure_timestamp_seconds{watch=\"fails\"}"];
    assert!(before > found["process_start_time_seconds"] - 1.0, "{found:#?}");
    assert!(found["process_resident_memory_bytes"] > 1e6 && found["process_open_fds"] > 5.0, "{found:#?}");
    assert!(!found.contains_key("twitcher_watch_last_success_timestamp_seconds{watch=\"fails\"}"));
    let since = found["twitcher_watch_running_since_timestamp_seconds{watch=\"queue\"}"];
    assert!(since > found["process_start_time_seconds"] - 1.0, "{found:#?}");
    assert!(!found.contains_key("twitcher_watch_running_since_timestamp_seconds{watch=\"fails\"}"));
    // The one that waits has done so at least since it was seen to wait.
    let (waits, sum) = (Instant::now(), found["twitcher_start_delay_seconds_sum"]);
    eventually(DEADLINE, "what is told from what a start takes by itself", || {
        waits.elapsed() > Duration::from_millis(200)
    });
    let waited = waits.elapsed().as_secs_f64();
    gate.let_through(3);
    let found = expect(
        &daemon,
        &[
            ("twitcher_runs_total{outcome=\"success\"}", 13.0),
            ("twitcher_runs_in_progress", 0.0),
            ("twitcher_start_delay_seconds_count", 15.0),
        ],
    );
    let rise = found["twitcher_start_delay_seconds_sum"] - sum;
    assert!(rise >= waited, "{rise} in {waited}: {found:#?}");
    let above = found["twitcher_start_delay_seconds_bucket{le=\"+Inf\"}"]
        - found["twitcher_start_delay_seconds_bucket{le=\"0.1\"}"];
    assert!(above >= 1.0, "{found:#?}");
    assert!(found.contains_key("twitcher_watch_last_success_timestamp_seconds{watch=\"queue\"}"));

    daemon.write_watch("ends.toml", "[[watch]]\nznode = 5\n");
    let reloads = found["twitcher_config_reloads_total"];
    expect(&daemon, &[("twitcher_config_errors", 1.0), ("twitcher_config_reloads_total", reloads + 1.0)]);
    daemon.remove_watch("ends.toml");
    let mended = [("twitcher_config_errors", 0.0), ("twitcher_config_reloads_total", reloads + 2.0)];
    expect(&daemon, &mended);
    let found = eventually(DEADLINE, "the metrics of removed watches to go", || {
        let found = samples(&scrape(&daemon).map_err(|error| error.to_string())?);
        let labels: BTreeSet<&str> = found.keys().filter_map(|name| name.split('"').nth(1)).collect();
        let gone = ["fails", "late", "quiet", "nobody", "none"];
        if gone.iter().any(|name| labels.contains(name)) { Err(format!("{labels:?}")) } else { Ok(found) }
    });
    // What is counted of all watches does not fall.
    assert_eq!(found["twitcher_runs_total{outcome=\"exited\"}"], 2.0);

    let text = scrape(&daemon).expect("metrics");
    fs::write(site.folder.join("metrics"), &text).expect("a file");
    is_well(&promtool::check("metrics", &[], &site.folder.join("metrics")), &text);
}

#[test]
fn a_connection_that_is_lost_and_a_session_that_expires_are_told() {
    let server = Server::start();
    let zookeeper = server.chroot("metrics");
    Client::connect(&zookeeper).create("/a", "0");
    let (proxy, through) = Proxy::before(&zookeeper);
    let folder = Folder::new();
    let watch = WatchFile::watch("/a", "true").key("name", "'a'");
    let daemon = Daemon::builder(&folder, &through);
    let daemon = daemon.settings("[zookeeper]\nsession_timeout = '1s'\n").watch("a.toml", watch).start();
    let counted = |connected: bool, reconnects: f64, renewals: f64| {
        expect(
            &daemon,
            &[
                ("twitcher_zookeeper_connected", f64::from(u8::from(connected))),
                ("twitcher_watches{state=\"disconnected\"}", f64::from(u8::from(!connected))),
                ("twitcher_zookeeper_reconnects_total", reconnects),
                ("twitcher_zookeeper_session_renewals_total", renewals),
            ],
        )
    };
    counted(true, 0.0, 0.0);
    proxy.cut();
    counted(false, 0.0, 0.0);
    server.wait_until_no_session_is_left();
    proxy.heal();
    counted(true, 1.0, 1.0);
}

/// A daemon that serves metrics over TCP at this address.
fn serving(folder: &Folder, address: SocketAddr) -> Daemon {
    let zookeeper = shared_chroot("metrics-tcp");
    let watch = WatchFile::watch("/none", "true").key("name", "'a'");
    let settings = format!("[metrics]\nlisten = '{address}'\n");
    Daemon::builder(folder, &zookeeper).settings(&settings).watch("a.toml", watch).start()
}

fn get(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    http::ask(stream, request)
}

#[test]
fn over_tcp_there_are_metrics_and_health_and_nothing_else() {
    let folder = Folder::new();
    let port = Port::reserve();
    let mut daemon = serving(&folder, port.address());
    daemon.wait_for_log(&format!("metrics are at http://{}/metrics", port.address()));
    daemon.wait_until_ready();
    let status = |request: &str| get(port.address(), request).expect("an answer").status;
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(status(&format!("GET {path}")), 200);
        assert_eq!(status(&format!("POST {path}")), 405);
    }
    for request in [
        "GET /",
        "GET /v1/status",
        "GET /v1/watches",
        "GET /v1/watches/a",
        "GET /v1/watches/a/runs",
        "GET /v1/events?past",
        "GET /v1/runs/1/output",
        "GET /metrics/",
        "GET //metrics",
        "POST /v1/watches/a/fire",
        "POST /v1/watches/a/pause",
        "POST /v1/watches/a/kill",
        "POST /v1/reload",
    ] {
        assert_eq!(status(request), 404, "{request}");
    }
    let text = get(port.address(), "GET /metrics").expect("metrics").body;
    assert!(text.contains("\ntwitcher_watches{state=\"missing\"} 1\n"), "{text}");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(get(port.address(), "GET /livez").is_err());
}

#[test]
fn p5_p8_strangers_that_are_silent_slow_or_many_keep_neither_others_out_nor_the_daemon_from_its_work() {
    let folder = Folder::new();
    let port = Port::reserve();
    let mut daemon = serving(&folder, port.address());
    daemon.wait_for_log("metrics are at ");
    // More than are let in at once.
    let strangers = http::crowd(300, || TcpStream::connect(port.address()).expect("a connection"));
    // The control socket is another door.
    assert!(samples(&scrape(&daemon).expect("metrics")).contains_key("twitcher_zookeeper_connected"));
    // They are let go, and then somebody else is heard.
    let answer = get(port.address(), "GET /livez").expect("an answer");
    assert_eq!(answer.status, 200);
    drop(strangers);
    assert!(daemon.is_running());
}

#[test]
fn p8_a_port_that_is_taken_is_said_once_and_had_once_it_is_free() {
    let folder = Folder::new();
    // Nobody else's in between.
    let port = Port::reserve();
    let address = port.address();
    let taken = TcpListener::bind(address).expect("the reserved port");
    let mut daemon = serving(&folder, address);
    daemon.wait_for_log(&format!("cannot serve metrics at {address}: Address already in use"));
    daemon.wait_until_ready();
    drop(taken);
    daemon.wait_for_log(&format!("metrics are at http://{address}/metrics"));
    assert_eq!(daemon.log().matches("cannot serve metrics").count(), 1);
    assert!(daemon.is_running());
}

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_has_a_row_for_each_metric_and_the_rules_go_by_metrics_that_there_are() {
    let folder = Folder::new();
    let daemon = Daemon::builder(&folder, &shared_chroot("metrics-documents")).start();
    let text = eventually(DEADLINE, "metrics", || scrape(&daemon));
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: BTreeSet<(&str, &str)> = types.filter(|(name, _)| name.starts_with("twitcher_")).collect();
    let readme = source("README.md");
    let section = readme.split("\n## Metrics\n").nth(1).expect("a section").split("\n## ").next();
    let rows = section.into_iter().flat_map(str::lines).filter(|line| line.starts_with("| `twitcher_"));
    let listed: BTreeSet<(&str, &str)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').split('{').next().expect("a name"), cells[2])
        })
        .collect();
    assert_eq!(listed, served);

    let rules = source("etc/prometheus/twitcher.rules.yml");
    let named: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(|expression| expression.split(' ').next().expect("a metric"))
        .collect();
    assert!(named.len() > 2, "{named:?}");
    for name in named {
        assert!(served.iter().any(|(known, _)| *known == name), "no metric {name}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/prometheus/twitcher.rules.yml");
    is_well(&promtool::check("rules", &[path.as_os_str()], Path::new("/dev/null")), &rules);
    let broken = folder.join("broken.yml");
    fs::write(&broken, rules.replace("== 0", "=== 0")).expect("a file");
    let refused = promtool::check("rules", &[OsStr::new(&broken)], Path::new("/dev/null"));
    assert!(!refused.status.success(), "promtool takes anything");
}
