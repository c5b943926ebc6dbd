//! What the parts of the daemon have answered, as metrics. Pure.

use std::sync::Arc;

use super::api::{State, Watch};
use crate::record::metrics::Metrics;
use crate::record::metrics::exposition::Exposition;
use crate::record::reader::Tally as Runs;
use crate::schedule::ask::Tally as Updates;
use crate::watch::connection::Reconnects;

/// How the daemon stands.
#[derive(Debug)]
pub struct Scene {
    /// The daemon's version.
    pub release: &'static str,
    /// Whether there is a connection with ZooKeeper.
    pub is_connected: bool,
    /// How often there was another one.
    pub reconnects: Reconnects,
    /// In how many files something is wrong.
    pub broken_files: usize,
    /// How often the daemon took in what a look at the config folder has changed, the first one among them.
    pub loads: u64,
    /// Every watch that is defined, by name.
    pub watches: Arc<Vec<WatchScene>>,
    /// What became of updates.
    pub updates: Updates,
    /// What is counted of runs.
    pub runs: Metrics,
    /// How many lines the log did not take.
    pub lost_lines: u64,
}

/// How a watch stands.
#[derive(Debug)]
pub struct WatchScene {
    /// What is told of it.
    pub watch: Watch,
    /// How many updates it had.
    pub updates: u64,
    /// What is counted of its runs.
    pub runs: Runs,
}

/// Adds all of it but what the kernel knows.
pub fn describe(scene: &Scene, to: &mut Exposition) {
    let about = [([("version", scene.release)], 1)];
    to.gauge("twitcher_build_info", "Always 1, with the daemon's version.").each(about);
    to.gauge("twitcher_zookeeper_connected", "Whether there is a connection with ZooKeeper: 1, or 0.")
        .is(u8::from(scene.is_connected));
    let help = "Connections with ZooKeeper that were made after one was lost.";
    to.counter("twitcher_zookeeper_reconnects_total", help).is(scene.reconnects.connections);
    let help = "New ZooKeeper sessions that took the place of one that was over, such as an expired one.";
    to.counter("twitcher_zookeeper_session_renewals_total", help).is(scene.reconnects.sessions);

    let help = "Watch files and folders that something is wrong with now.";
    to.gauge("twitcher_config_errors", help).is(scene.broken_files);
    let help =
        "Changes of the watch files, or of what is wrong with them, that were taken in after the first load.";
    to.counter("twitcher_config_reloads_total", help).is(scene.loads.saturating_sub(1));

    let states = State::ALL.map(|state| {
        let of_state = scene.watches.iter().filter(|one| one.watch.state == state).count();
        ([("state", state.word())], of_state)
    });
    to.gauge("twitcher_watches", "Watches that are defined, by what they do now.").each(states);
    describe_watches(&scene.watches, to);

    to.counter("twitcher_updates_received_total", "Updates that watches were told of.")
        .is(scene.updates.received);
    let help = "Updates that a newer one took the place of before they were run or tried again.";
    to.counter("twitcher_updates_collapsed_total", help).is(scene.updates.collapsed);
    let help = "Updates that were dropped since they came during a run of a DISCARD watch.";
    to.counter("twitcher_updates_discarded_total", help).is(scene.updates.discarded);
    let waiting: usize = scene.watches.iter().map(|one| one.watch.waiting).sum();
    to.gauge("twitcher_updates_waiting", "Updates that are to be run.").is(waiting);

    let runs = &scene.runs;
    let outcomes = runs.ended.iter().map(|(outcome, count)| ([("outcome", outcome)], count));
    to.counter("twitcher_runs_total", "Runs that have ended, by how.").each(outcomes);
    to.counter("twitcher_retries_total", "Runs that were started since one before had failed.")
        .is(runs.retries);
    to.gauge("twitcher_runs_in_progress", "Runs that go on.").is(runs.running);
    to.histogram("twitcher_run_duration_seconds", "How long runs took that have ended.", &runs.run_time);
    let help = "From when the scheduler was told of an update to when its process was made: all waiting included, \
                and retries left out.";
    to.histogram("twitcher_start_delay_seconds", help, &runs.start_delay);

    let help = "Lines that runs printed and that were not logged, since they were too many.";
    to.counter("twitcher_output_lines_dropped_total", help).is(runs.lines_dropped);
    let help = "Lines that are missing from the daemon's log, since it did not take them.";
    to.counter("twitcher_log_lines_dropped_total", help).is(scene.lost_lines);
}

fn describe_watches(watches: &[WatchScene], to: &mut Exposition) {
    let help = "Whether the last run of a watch failed, or it cannot do what it is for: 1, or 0.";
    let failing = watches.iter().map(|one| (name(one), u8::from(one.watch.is_failing())));
    to.gauge("twitcher_watch_failing", help).each(failing);
    let help = "When a run of a watch last ended well, in seconds since 1970.";
    let dated = watches.iter().filter_map(|one| Some((name(one), seconds(one.runs.last_success?))));
    to.gauge("twitcher_watch_last_success_timestamp_seconds", help).each(dated);
    let help = "When a run of a watch last failed, in seconds since 1970.";
    let dated = watches.iter().filter_map(|one| Some((name(one), seconds(one.runs.last_failure?))));
    to.gauge("twitcher_watch_last_failure_timestamp_seconds", help).each(dated);
    let help = "Since when the first of a watch's runs goes on, in seconds since 1970.";
    let dated = watches.iter().filter_map(|one| Some((name(one), seconds(one.watch.running_since?))));
    to.gauge("twitcher_watch_running_since_timestamp_seconds", help).each(dated);
    let help = "Updates that a watch was told of.";
    to.counter("twitcher_watch_updates_total", help).each(watches.iter().map(|one| (name(one), one.updates)));
    let help = "Runs of a watch that have ended, by how: success, and else what there was.";
    let runs = watches.iter().flat_map(|one| {
        let told = |&(outcome, count): &(&str, u64)| count > 0 || outcome == "success";
        let outcomes = one.runs.outcomes.iter().filter(told);
        outcomes.map(|(outcome, count)| ([("watch", one.watch.name.as_str()), ("outcome", outcome)], count))
    });
    to.counter("twitcher_watch_runs_total", help).each(runs);
}

fn name(one: &WatchScene) -> [(&'static str, &str); 1] {
    [("watch", one.watch.name.as_str())]
}

/// Since 1970.
#[must_use]
pub fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::record::metrics::Outcomes;
    use crate::schedule::order::Outcome;

    fn watch(name: &str, state: State, runs: Runs) -> WatchScene {
        let watch = Watch {
            name: name.into(),
            description: name.into(),
            znode: "/a".into(),
            watch_type: "data".into(),
            run_mode: "QUEUE".into(),
            state,
            reason: None,
            until: None,
            running: vec![],
            running_since: (state == State::Running).then(|| Timestamp::from_second(1_795_325_200).unwrap()),
            timeout_seconds: None,
            waiting: usize::from(state == State::Waiting),
            last: None,
        };
        WatchScene { watch, updates: runs.outcomes.iter().map(|(_, count)| count).sum(), runs }
    }

    fn scene() -> Scene {
        let at = |second: i64| Some(Timestamp::from_millisecond(second * 1000 + 250).unwrap());
        let mut outcomes = Outcomes::default();
        let mut runs = Metrics { running: 2, lines_dropped: 5, ..Metrics::default() };
        for outcome in [Outcome::Exited(0), Outcome::Exited(3), Outcome::TimedOut] {
            outcomes.add(&outcome);
            runs.begin(1, Some(Duration::from_millis(4)));
            runs.end(&outcome, Duration::from_millis(1500));
        }
        let failed = Runs { outcomes, last_success: at(1_795_325_000), last_failure: at(1_795_325_100) };
        Scene {
            release: "1.2.3",
            is_connected: true,
            reconnects: Reconnects { connections: 3, sessions: 1 },
            broken_files: 1,
            loads: 4,
            watches: Arc::new(vec![
                watch("failing", State::Stopped, failed),
                watch("git.head", State::Watching, Runs::default()),
                watch("runs", State::Running, Runs::default()),
                watch("waits", State::Waiting, Runs::default()),
            ]),
            updates: Updates { received: 9, collapsed: 2, discarded: 1 },
            runs,
            lost_lines: 7,
        }
    }

    #[test]
    fn metrics_are_as_documented() {
        let mut exposition = Exposition::default();
        describe(&scene(), &mut exposition);
        snapbox::assert_data_eq!(
            exposition.finish(),
            snapbox::str![[r##"
# HELP twitcher_build_info Always 1, with the daemon's version.
# TYPE twitcher_build_info gauge
twitcher_build_info{version="1.2.3"} 1
# HELP twitcher_zookeeper_connected Whether there is a connection with ZooKeeper: 1, or 0.
# TYPE twitcher_zookeeper_connected gauge
twitcher_zookeeper_connected 1
# HELP twitcher_zookeeper_reconnects_total Connections with ZooKeeper that were made after one was lost.
# TYPE twitcher_zookeeper_reconnects_total counter
twitcher_zookeeper_reconnects_total 3
# HELP twitcher_zookeeper_session_renewals_total New ZooKeeper sessions that took the place of one that was over, such as an expired one.
# TYPE twitcher_zookeeper_session_renewals_total counter
twitcher_zookeeper_session_renewals_total 1
# HELP twitcher_config_errors Watch files and folders that something is wrong with now.
# TYPE twitcher_config_errors gauge
twitcher_config_errors 1
# HELP twitcher_config_reloads_total Changes of the watch files, or of what is wrong with them, that were taken in after the first load.
# TYPE twitcher_config_reloads_total counter
twitcher_config_reloads_total 3
# HELP twitcher_watches Watches that are defined, by what they do now.
# TYPE twitcher_watches gauge
twitcher_watches{state="running"} 1
twitcher_watches{state="stopped"} 1
twitcher_watches{state="paused"} 0
twitcher_watches{state="waiting"} 1
twitcher_watches{state="disabled"} 0
twitcher_watches{state="unreadable"} 0
twitcher_watches{state="disconnected"} 0
twitcher_watches{state="missing"} 0
twitcher_watches{state="unknown"} 0
twitcher_watches{state="watching"} 1
# HELP twitcher_watch_failing Whether the last run of a watch failed, or it cannot do what it is for: 1, or 0.
# TYPE twitcher_watch_failing gauge
twitcher_watch_failing{watch="failing"} 1
twitcher_watch_failing{watch="git.head"} 0
twitcher_watch_failing{watch="runs"} 0
twitcher_watch_failing{watch="waits"} 0
# HELP twitcher_watch_last_success_timestamp_seconds When a run of a watch last ended well, in seconds since 1970.
# TYPE twitcher_watch_last_success_timestamp_seconds gauge
twitcher_watch_last_success_timestamp_seconds{watch="failing"} 1795325000.25
# HELP twitcher_watch_last_failure_timestamp_seconds When a run of a watch last failed, in seconds since 1970.
# TYPE twitcher_watch_last_failure_timestamp_seconds gauge
twitcher_watch_last_failure_timestamp_seconds{watch="failing"} 1795325100.25
# HELP twitcher_watch_running_since_timestamp_seconds Since when the first of a watch's runs goes on, in seconds since 1970.
# TYPE twitcher_watch_running_since_timestamp_seconds gauge
twitcher_watch_running_since_timestamp_seconds{watch="runs"} 1795325200
# HELP twitcher_watch_updates_total Updates that a watch was told of.
# TYPE twitcher_watch_updates_total counter
twitcher_watch_updates_total{watch="failing"} 3
twitcher_watch_updates_total{watch="git.head"} 0
twitcher_watch_updates_total{watch="runs"} 0
twitcher_watch_updates_total{watch="waits"} 0
# HELP twitcher_watch_runs_total Runs of a watch that have ended, by how: success, and else what there was.
# TYPE twitcher_watch_runs_total counter
twitcher_watch_runs_total{watch="failing",outcome="success"} 1
twitcher_watch_runs_total{watch="failing",outcome="exited"} 1
twitcher_watch_runs_total{watch="failing",outcome="timed-out"} 1
twitcher_watch_runs_total{watch="git.head",outcome="success"} 0
twitcher_watch_runs_total{watch="runs",outcome="success"} 0
twitcher_watch_runs_total{watch="waits",outcome="success"} 0
# HELP twitcher_updates_received_total Updates that watches were told of.
# TYPE twitcher_updates_received_total counter
twitcher_updates_received_total 9
# HELP twitcher_updates_collapsed_total Updates that a newer one took the place of before they were run or tried again.
# TYPE twitcher_updates_collapsed_total counter
twitcher_updates_collapsed_total 2
# HELP twitcher_updates_discarded_total Updates that were dropped since they came during a run of a DISCARD watch.
# TYPE twitcher_updates_discarded_total counter
twitcher_updates_discarded_total 1
# HELP twitcher_updates_waiting Updates that are to be run.
# TYPE twitcher_updates_waiting gauge
twitcher_updates_waiting 1
# HELP twitcher_runs_total Runs that have ended, by how.
# TYPE twitcher_runs_total counter
twitcher_runs_total{outcome="success"} 1
twitcher_runs_total{outcome="exited"} 1
twitcher_runs_total{outcome="signaled"} 0
twitcher_runs_total{outcome="timed-out"} 1
twitcher_runs_total{outcome="spawn-failed"} 0
twitcher_runs_total{outcome="lost"} 0
# HELP twitcher_retries_total Runs that were started since one before had failed.
# TYPE twitcher_retries_total counter
twitcher_retries_total 0
# HELP twitcher_runs_in_progress Runs that go on.
# TYPE twitcher_runs_in_progress gauge
twitcher_runs_in_progress 2
# HELP twitcher_run_duration_seconds How long runs took that have ended.
# TYPE twitcher_run_duration_seconds histogram
twitcher_run_duration_seconds_bucket{le="0.01"} 0
twitcher_run_duration_seconds_bucket{le="0.025"} 0
twitcher_run_duration_seconds_bucket{le="0.05"} 0
twitcher_run_duration_seconds_bucket{le="0.1"} 0
twitcher_run_duration_seconds_bucket{le="0.25"} 0
twitcher_run_duration_seconds_bucket{le="0.5"} 0
twitcher_run_duration_seconds_bucket{le="1"} 0
twitcher_run_duration_seconds_bucket{le="2.5"} 3
twitcher_run_duration_seconds_bucket{le="5"} 3
twitcher_run_duration_seconds_bucket{le="10"} 3
twitcher_run_duration_seconds_bucket{le="30"} 3
twitcher_run_duration_seconds_bucket{le="60"} 3
twitcher_run_duration_seconds_bucket{le="300"} 3
twitcher_run_duration_seconds_bucket{le="900"} 3
twitcher_run_duration_seconds_bucket{le="3600"} 3
twitcher_run_duration_seconds_bucket{le="+Inf"} 3
twitcher_run_duration_seconds_sum 4.5
twitcher_run_duration_seconds_count 3
# HELP twitcher_start_delay_seconds From when the scheduler was told of an update to when its process was made: all waiting included, and retries left out.
# TYPE twitcher_start_delay_seconds histogram
twitcher_start_delay_seconds_bucket{le="0.0005"} 0
twitcher_start_delay_seconds_bucket{le="0.001"} 0
twitcher_start_delay_seconds_bucket{le="0.0025"} 0
twitcher_start_delay_seconds_bucket{le="0.005"} 3
twitcher_start_delay_seconds_bucket{le="0.01"} 3
twitcher_start_delay_seconds_bucket{le="0.025"} 3
twitcher_start_delay_seconds_bucket{le="0.05"} 3
twitcher_start_delay_seconds_bucket{le="0.1"} 3
twitcher_start_delay_seconds_bucket{le="0.25"} 3
twitcher_start_delay_seconds_bucket{le="0.5"} 3
twitcher_start_delay_seconds_bucket{le="1"} 3
twitcher_start_delay_seconds_bucket{le="2.5"} 3
twitcher_start_delay_seconds_bucket{le="5"} 3
twitcher_start_delay_seconds_bucket{le="10"} 3
twitcher_start_delay_seconds_bucket{le="30"} 3
twitcher_start_delay_seconds_bucket{le="60"} 3
twitcher_start_delay_seconds_bucket{le="300"} 3
twitcher_start_delay_seconds_bucket{le="900"} 3
twitcher_start_delay_seconds_bucket{le="3600"} 3
twitcher_start_delay_seconds_bucket{le="+Inf"} 3
twitcher_start_delay_seconds_sum 0.012
twitcher_start_delay_seconds_count 3
# HELP twitcher_output_lines_dropped_total Lines that runs printed and that were not logged, since they were too many.
# TYPE twitcher_output_lines_dropped_total counter
twitcher_output_lines_dropped_total 5
# HELP twitcher_log_lines_dropped_total Lines that are missing from the daemon's log, since it did not take them.
# TYPE twitcher_log_lines_dropped_total counter
twitcher_log_lines_dropped_total 7

"##]]
        );
    }

    #[test]
    fn every_state_is_told_of_also_where_no_watch_is_in_it() {
        let mut exposition = Exposition::default();
        describe(&scene(), &mut exposition);
        let text = exposition.finish();
        let states: Vec<&str> = text.lines().filter(|line| line.starts_with("twitcher_watches{")).collect();
        assert_eq!(states.len(), State::ALL.len());
        assert_eq!(states.iter().filter(|line| line.ends_with(" 0")).count(), State::ALL.len() - 4);
    }
}
