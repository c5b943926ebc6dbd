//! The loader on a real folder with real inotify; every wait has a deadline.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// Long enough for a slow machine; a test that passes doesn't take it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is said when a file is no longer waited for that somebody writes.
const AS_IT_STANDS: &str = ": was written to 10 s ago and not closed since; it is read as it stands";

/// A loader on a temporary folder.
struct Bench {
    log: PathBuf,
    _logs: tracing::subscriber::DefaultGuard,
    _dir: tempfile::TempDir,
    root: PathBuf,
    requests: mpsc::Sender<ReloadRequest>,
    reloads: mpsc::Receiver<Reload>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    /// The loader starts after `prepare` has been at its config folder, which does not exist yet.
    fn start(slow_rescan: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("twitcher.d");
        prepare(&root);
        let log = dir.path().join("log");
        // All of the loader that logs runs on this thread.
        let logs = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(std::sync::Arc::new(fs::File::create(&log).unwrap()))
            .finish();
        let logs = tracing::subscriber::set_default(logs);
        let options = Options {
            config_dir: root.clone(),
            defaults: Defaults::default(),
            euid: nix::unistd::geteuid().as_raw(),
            slow_rescan,
        };
        let (requests, request_receiver) = mpsc::channel(4);
        let (reload_sender, reloads) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(options, request_receiver, reload_sender, stop.clone()));
        Self { log, _logs: logs, _dir: dir, root, requests, reloads, stop, task }
    }

    /// One that sees changes by inotify alone.
    fn seeing(prepare: impl FnOnce(&Path)) -> Self {
        Self::start(Duration::from_secs(3600), prepare)
    }

    async fn next(&mut self) -> Reload {
        tokio::time::timeout(PATIENCE, self.reloads.recv()).await.expect("no reload came").unwrap()
    }

    /// The changes of the next reload, in short.
    async fn changes(&mut self) -> Vec<String> {
        self.next().await.changes.iter().map(short).collect()
    }

    /// Reloads until one is as it should be: what takes two writes may be seen in two.
    async fn until(&mut self, expected: &str) {
        while !self.changes().await.contains(&expected.to_owned()) {}
    }

    async fn reload(&self) -> Summary {
        let (reply, summary) = oneshot::channel();
        self.requests.send(ReloadRequest { reply }).await.unwrap();
        tokio::time::timeout(PATIENCE, summary).await.unwrap().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn short(change: &Change) -> String {
    match change {
        Change::Added(spec) => format!("+{}", spec.name),
        Change::Redefined { old, new } => format!("~{} {}", new.name, describe_difference(old, new)),
        Change::Removed(name) => format!("-{name}"),
    }
}

fn mkdir(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Writes a watch file as a careful program does: under another name, then renamed.
fn put(path: &Path, keys: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, format!("[[watch]]\nznode = '/a'\ncommand = 'x'\n{keys}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn the_first_reload_comes_even_if_there_is_nothing() {
    let mut bench = Bench::seeing(mkdir);
    let reload = bench.next().await;
    assert!(reload.changes.is_empty() && reload.problems.is_empty());
    bench.end().await;
}

#[tokio::test]
async fn files_that_are_dropped_in_edited_and_moved_away_are_seen() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        put(&root.join("a.toml"), "");
    });
    assert_eq!(bench.changes().await, ["+a"]);
    put(&bench.root.join("b.toml"), "");
    assert_eq!(bench.changes().await, ["+b"]);
    fs::OpenOptions::new()
        .append(true)
        .open(bench.root.join("a.toml"))
        .and_then(|mut file| file.write_all(b"timeout = 60\n"))
        .unwrap();
    assert_eq!(bench.changes().await, ["~a timeout none → 1m"]);
    fs::rename(bench.root.join("b.toml"), bench.root.join("b.off")).unwrap();
    assert_eq!(bench.changes().await, ["-b"]);
    bench.end().await;
}

#[tokio::test]
async fn p4_a_file_that_breaks_and_is_repaired_disturbs_no_watch() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        put(&root.join("a.toml"), "");
        put(&root.join("b.toml"), "");
    });
    assert_eq!(bench.changes().await, ["+a", "+b"]);
    put(&bench.root.join("a.toml"), "tiemout = 5");
    let broken = bench.next().await;
    assert!(broken.changes.is_empty());
    assert_eq!((broken.problems.len(), &broken.news.new), (1, &broken.problems));
    assert_eq!(broken.watches, 2);
    put(&bench.root.join("a.toml"), "");
    let repaired = bench.next().await;
    assert!(repaired.changes.is_empty() && repaired.problems.is_empty());
    assert_eq!(repaired.news.mended, [bench.root.join("a.toml")]);
    bench.end().await;
}

#[tokio::test]
async fn a_burst_of_writes_is_one_change() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    for number in 1..=40 {
        put(&bench.root.join("a.toml"), &format!("timeout = {number}"));
        put(&bench.root.join(format!("b{number}.toml")), "");
    }
    let reload = bench.next().await;
    assert_eq!(reload.changes.len(), 41);
    match &reload.changes[0] {
        Change::Added(spec) => assert_eq!(spec.timeout, Some(Duration::from_secs(40))),
        other => panic!("{other:?}"),
    }
    bench.end().await;
}

#[tokio::test]
async fn a_change_is_taken_in_while_writes_go_on() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    put(&bench.root.join("a.toml"), "");
    let begun = std::time::Instant::now();
    let busy = bench.root.join("busy.toml");
    let changes = loop {
        fs::write(&busy, "# nothing\n").unwrap();
        tokio::select! {
            changes = bench.changes() => break changes,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(changes, ["+a"]);
    bench.end().await;
}

#[tokio::test]
async fn folders_that_appear_later_are_watched_however_deep() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    mkdir(&bench.root.join("x"));
    mkdir(&bench.root.join("x/y"));
    put(&bench.root.join("x/y/a.toml"), "");
    bench.until("+x.y.a").await;
    put(&bench.root.join("x/y/a.toml"), "timeout = 1");
    bench.until("~x.y.a timeout none → 1s").await;
    fs::rename(bench.root.join("x"), bench.root.join("z")).unwrap();
    assert_eq!(bench.changes().await, ["-x.y.a", "+z.y.a"]);
    put(&bench.root.join("z/y/a.toml"), "timeout = 2");
    bench.until("~z.y.a timeout 1s → 2s").await;
    bench.end().await;
}

#[tokio::test]
async fn a_config_folder_that_is_absent_is_waited_for_and_one_that_is_made_again_is_read() {
    let mut bench = Bench::seeing(|_| {});
    assert_eq!(bench.next().await.problems.len(), 1);
    for _ in 0..3 {
        mkdir(&bench.root);
        put(&bench.root.join("a.toml"), "");
        bench.until("+a").await;
        put(&bench.root.join("a.toml"), "timeout = 1");
        bench.until("~a timeout none → 1s").await;
        fs::remove_dir_all(&bench.root).unwrap();
        bench.until("-a").await;
    }
    bench.end().await;
}

#[tokio::test]
async fn what_a_link_points_to_is_watched_too() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        let outside = root.with_file_name("outside");
        mkdir(&outside);
        put(&outside.join("real"), "");
        symlink(outside.join("real"), root.join("a.toml")).unwrap();
    });
    assert_eq!(bench.changes().await, ["+a"]);
    put(&bench.root.with_file_name("outside").join("real"), "timeout = 1");
    assert_eq!(bench.changes().await, ["~a timeout none → 1s"]);
    bench.end().await;
}

#[tokio::test]
async fn what_is_made_safe_is_taken_in() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        put(&root.join("a.toml"), "");
        fs::set_permissions(root.join("a.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    });
    let reload = bench.next().await;
    assert_eq!((reload.changes.len(), reload.problems.len()), (0, 1));
    fs::set_permissions(bench.root.join("a.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let reload = bench.next().await;
    assert_eq!((reload.changes.len(), reload.problems.len()), (1, 0));
    bench.end().await;
}

#[tokio::test]
async fn a_reload_that_was_asked_for_answers_with_what_it_came_to() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    put(&bench.root.join("a.toml"), "");
    put(&bench.root.join("b.toml"), "what = 1");
    let summary = bench.reload().await;
    assert_eq!(summary.added.iter().map(WatchName::as_str).collect::<Vec<_>>(), ["a"]);
    assert_eq!((summary.problems.len(), summary.watches, summary.files), (1, 1, 2));
    assert_eq!(bench.changes().await, ["+a"]);
    assert_eq!(bench.reload().await, Summary { added: vec![], ..summary });
    bench.end().await;
}

#[tokio::test]
async fn the_slow_rescan_finds_what_nothing_told_of() {
    let mut bench = Bench::start(Duration::from_millis(50), |root| {
        mkdir(root);
        let (way, other) = (root.with_file_name("way"), root.with_file_name("other"));
        mkdir(&way);
        put(&way.join("a.toml"), "");
        mkdir(&other);
        put(&other.join("a.toml"), "timeout = 1");
        symlink(way.join("a.toml"), root.join("a.toml")).unwrap();
    });
    assert_eq!(bench.changes().await, ["+a"]);
    // Of what a link leads through only the links and the end are watched, not the name of each folder.
    let way = bench.root.with_file_name("way");
    fs::rename(&way, bench.root.with_file_name("gone")).unwrap();
    fs::rename(bench.root.with_file_name("other"), &way).unwrap();
    bench.until("~a timeout none → 1s").await;
    bench.end().await;
}

#[tokio::test]
async fn a_change_is_seen_behind_more_events_than_can_wait() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    // The test has the only thread of the runtime, so that nobody takes the events off the channel.
    for number in 0..10_000 {
        fs::write(bench.root.join(format!(".{number}")), "").unwrap();
    }
    put(&bench.root.join("a.toml"), "");
    bench.until("+a").await;
    put(&bench.root.join("a.toml"), "timeout = 1");
    bench.until("~a timeout none → 1s").await;
    bench.end().await;
}

/// Opens a watch file in place and writes what by itself would be a whole one.
fn begin(path: &Path) -> fs::File {
    let mut file = fs::File::create(path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
    file.write_all(b"[[watch]]\nznode = '/a'\ncommand = 'x'\n").unwrap();
    file
}

#[tokio::test]
async fn p4_a_file_is_not_read_while_somebody_writes_it() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        put(&root.join("old.toml"), "timeout = 1");
        mkdir(&root.with_file_name("outside"));
        put(&root.with_file_name("outside").join("real"), "timeout = 1");
        symlink(root.with_file_name("outside").join("real"), root.join("linked.toml")).unwrap();
    });
    assert_eq!(bench.changes().await, ["+linked", "+old"]);
    let paths = ["new.toml", "old.toml", "../outside/real"].map(|path| bench.root.join(path));
    let mut files = paths.each_ref().map(|path| begin(path));
    for round in 0..3 {
        // Both a change beside them and a look that is asked for.
        put(&bench.root.join(format!("b{round}.toml")), "");
        assert_eq!(bench.changes().await, [format!("+b{round}")]);
        assert_eq!(bench.reload().await.problems, []);
        for file in &mut files {
            file.write_all(b"# a word\n").unwrap();
        }
    }
    fs::rename(&paths[0], bench.root.join("renamed.toml")).unwrap();
    bench.reload().await;
    for file in &mut files {
        file.write_all(b"timeout = 2\n").unwrap();
    }
    drop(files);
    let reload = bench.next().await;
    let changes: Vec<_> = reload.changes.iter().map(short).collect();
    assert_eq!(changes, ["~linked timeout 1s → 2s", "~old timeout 1s → 2s", "+renamed"]);
    match reload.changes.last() {
        Some(Change::Added(spec)) => assert_eq!(spec.timeout, Some(Duration::from_secs(2))),
        other => panic!("{other:?}"),
    }
    bench.end().await;
}

#[tokio::test]
async fn a_file_that_is_being_written_and_replaced_or_removed_is_no_longer_waited_for() {
    let mut bench = Bench::seeing(|root| {
        mkdir(root);
        put(&root.join("a.toml"), "timeout = 1");
        put(&root.join("b.toml"), "timeout = 1");
    });
    assert_eq!(bench.changes().await, ["+a", "+b"]);
    let _files = [begin(&bench.root.join("a.toml")), begin(&bench.root.join("b.toml"))];
    bench.reload().await;
    put(&bench.root.join("a.toml"), "timeout = 2");
    fs::remove_file(bench.root.join("b.toml")).unwrap();
    bench.until("-b").await;
    assert!(!bench.log().contains(AS_IT_STANDS), "{}", bench.log());
    assert!(bench.reload().await.removed.is_empty());
    bench.end().await;
}

#[tokio::test]
async fn a_file_that_somebody_keeps_open_is_read_as_it_stands_in_the_end() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    let mut file = begin(&bench.root.join("a.toml"));
    let begun = std::time::Instant::now();
    assert_eq!(bench.changes().await, ["+a"]);
    assert!(begun.elapsed() > unfinished::LONGEST / 2);
    assert_eq!(bench.log().matches(AS_IT_STANDS).count(), 1, "{}", bench.log());
    file.write_all(b"timeout = 2\n").unwrap();
    drop(file);
    assert_eq!(bench.changes().await, ["~a timeout none → 2s"]);
    bench.end().await;
}

#[tokio::test]
async fn folders_that_are_copied_are_taken_in_whole() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    let text = "[[watch]]\nznode = '/a'\ncommand = 'x'\n";
    let mut expected = BTreeSet::new();
    for folder in 0..20 {
        let path = bench.root.join(format!("d{folder}/e"));
        mkdir(path.parent().unwrap());
        mkdir(&path);
        for number in 0..20 {
            let file = path.join(format!("{number}.toml"));
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            expected.insert(format!("+d{folder}.e.{number}"));
        }
    }
    while !expected.is_empty() {
        for change in bench.changes().await {
            assert!(expected.remove(&change), "{change}");
        }
    }
    assert!(!bench.log().contains(AS_IT_STANDS), "{}", bench.log());
    bench.end().await;
}

#[tokio::test]
async fn a_reload_that_is_asked_for_right_after_a_write_has_what_was_written() {
    let mut bench = Bench::seeing(mkdir);
    bench.next().await;
    for number in 1..=20 {
        mkdir(&bench.root.join(format!("d{number}")));
        drop(begin(&bench.root.join(format!("d{number}/a.toml"))));
        drop(begin(&bench.root.join(format!("b{number}.toml"))));
        let summary = bench.reload().await;
        let mut added: Vec<_> = summary.added.iter().map(WatchName::as_str).collect();
        added.sort_unstable();
        assert_eq!(added, [format!("b{number}"), format!("d{number}.a")]);
        while bench.reloads.try_recv().is_ok() {}
    }
    bench.end().await;
}
