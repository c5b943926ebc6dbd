//! What is on disk of the runs of a watch, over whatever becomes of the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use twitcher::record::run_record::RunRecord;
use twitcher::schedule::order::Outcome;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Gate, Journal, WatchFile, eventually, shared_chroot};

/// A watch named `kept`, whose runs print their value.
struct Rig {
    client: Client,
    runs: Journal,
    daemon: Daemon,
    folder: Folder,
}

impl Rig {
    fn new(adjust: impl FnOnce(&Folder, Vec<String>) -> Vec<String>) -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("history");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let runs = Journal::new(&folder, "runs");
        let command = ["value=$(cat)".to_owned(), runs.append("$value"), "echo said by $value".to_owned()];
        let command = adjust(&folder, command.into()).join("\n");
        let watch = WatchFile::watch("/value", &command).key("name", "\"kept\"").key("run_mode", "\"QUEUE\"");
        let daemon = Daemon::builder(&folder, &zookeeper).watch("kept.toml", watch).start();
        Self { client, runs, daemon, folder }
    }

    fn shelf(&self) -> PathBuf {
        self.folder.join("state/history/kept")
    }

    /// Every line that is a record, in order.
    fn records(&self) -> Vec<RunRecord> {
        let text = fs::read_to_string(self.shelf().join("runs.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[track_caller]
    fn wait_for_records(&self, count: usize) -> Vec<RunRecord> {
        eventually(DEADLINE, format!("{count} runs on disk"), || {
            let records = self.records();
            if records.len() >= count { Ok(records) } else { Err((records, self.daemon.log())) }
        })
    }

    fn output(&self, record: &RunRecord) -> String {
        let bytes = fs::read(self.shelf().join(format!("{}.output", record.run))).expect("an output");
        String::from_utf8(bytes).expect("text")
    }
}

fn outcome(record: &RunRecord) -> &Outcome {
    &record.end.as_ref().expect("a run that has ended").outcome
}

#[test]
fn a_run_is_kept_with_all_that_is_known_of_it_and_is_nobody_elses_business() {
    let rig = Rig::new(|_, command| [command, vec!["exit 3".into()]].concat());
    let record = rig.wait_for_records(1).remove(0);
    let stat = rig.client.stat("/value");
    assert_eq!((record.watch.as_str(), record.znode.as_str()), ("kept", "/value"));
    assert_eq!((record.mzxid, record.version, record.attempt), (stat.mzxid, stat.version, 1));
    assert_eq!(*outcome(&record), Outcome::Exited(3));
    let end = record.end.as_ref().expect("an end");
    assert!(record.pid.is_some() && end.at >= record.started && end.lasted_seconds > 0.0);
    assert!(end.usage.expect("what it used").max_rss_bytes > 0);
    assert_eq!((rig.output(&record), end.output_bytes), ("said by 0\n".to_owned(), 10));
    let mode = |path: &str| fs::metadata(rig.folder.join(path)).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode("state/history"), 0o700);
    assert_eq!((mode("state/history/kept"), mode("state/history/kept/runs.jsonl")), (0o700, 0o600));
    assert_eq!(mode(&format!("state/history/kept/{}.output", record.run)), 0o600);
}

#[test]
fn a_run_that_cannot_be_started_is_kept_too() {
    let rig = Rig::new(|_, command| command);
    rig.wait_for_records(1);
    let nobody = WatchFile::watch("/value", "true").key("name", "\"kept\"").key("uid", "\"no-such-user\"");
    rig.daemon.write_watch("kept.toml", nobody);
    let records = rig.wait_for_records(2);
    assert!(matches!(outcome(&records[1]), Outcome::SpawnFailed(why) if why.contains("no-such-user")));
    assert_eq!((records[1].pid, records[1].end.as_ref().expect("an end").output_bytes), (None, 0));
}

#[test]
fn a_run_that_outlives_a_killed_daemon_is_kept_once_with_all_that_it_has_printed() {
    let mut gate = None;
    let mut rig = Rig::new(|folder, command| {
        let gate = gate.insert(Gate::new(folder, "gate"));
        [command, vec![gate.pass(), "echo and again".into()]].concat()
    });
    let gate = gate.expect("a gate");
    rig.runs.wait_for(1);
    rig.daemon.wait_for_log("said by 0");
    rig.daemon.kill();
    rig.daemon.start_again();
    rig.daemon.wait_for_log("run goes on since before the daemon started");
    gate.open();
    let records = rig.wait_for_records(1);
    assert_eq!(*outcome(&records[0]), Outcome::Exited(0));
    assert_eq!(rig.output(&records[0]), "said by 0\nand again\n");
    // The next daemon finds it, and nothing is added by it but what it runs itself.
    rig.daemon.kill();
    rig.daemon.start_again();
    rig.client.set("/value", "1");
    rig.runs.wait_for(2);
    let last = |rig: &Rig| rig.records().last().map(|record| rig.output(record));
    eventually(DEADLINE, "the last run on disk", || last(&rig) == Some("said by 1\nand again\n".into()));
    let records = rig.records();
    assert_eq!(records.iter().filter(|record| record.run == records[0].run).count(), 1);
}

#[test]
fn of_a_daemon_that_is_killed_at_each_end_no_run_is_missing_and_none_is_there_twice() {
    let mut rig = Rig::new(|_, command| command);
    for value in 1..=6 {
        rig.runs.wait_for(value);
        rig.daemon.kill();
        rig.daemon.start_again();
        rig.client.set("/value", value.to_string());
    }
    rig.runs.wait_for(7);
    let runs = || {
        let mut runs: Vec<_> = rig.records().iter().map(|record| record.run).collect();
        let lines = runs.len();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), lines, "{:#?}", rig.records());
        runs
    };
    let ran = || rig.runs.lines().len();
    eventually(DEADLINE, "as many records as runs", || {
        let (records, ran) = (runs().len(), ran());
        if records == ran { Ok(()) } else { Err((records, ran, rig.daemon.log())) }
    });
}

#[test]
fn of_many_runs_the_last_hundred_are_kept_and_the_output_of_the_last_ten() {
    let rig = Rig::new(|_, command| command);
    rig.wait_for_records(1);
    // More than twice as many as are kept, so that the file is written anew.
    let again = WatchFile::watch("/value", "head -c 70000 /dev/zero | tr '\\0' x; exit 1")
        .key("name", "\"kept\"")
        .key("retries", 219)
        .key("retry_delay", "\"1ms\"")
        .key("retry_max_delay", "\"1ms\"");
    rig.daemon.write_watch("kept.toml", again);
    let records = eventually(DEADLINE * 4, "the last run on disk", || {
        let records = rig.records();
        let is_all = records.last().is_some_and(|record| record.attempt == 220);
        if is_all { Ok(records) } else { Err(records.len()) }
    });
    assert!((100..=200).contains(&records.len()), "{}", records.len());
    let attempts: Vec<u32> = records.iter().rev().take(100).map(|record| record.attempt).collect();
    assert_eq!(attempts, (121..=220).rev().collect::<Vec<_>>());
    let entries = fs::read_dir(rig.shelf()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    assert_eq!(names.filter(|name| name.ends_with(".output")).count(), 10);
    let record = &records[records.len() - 1];
    assert_eq!(rig.output(record).len(), 64 << 10);
    assert!(record.end.as_ref().expect("an end").output_truncated);
}
