//! What differs in the environments of children, from run to run and from watch to watch. What is in all of them
//! `inherit` shows.

use crate::harness::{Site, WatchFile};

#[test]
fn each_run_has_an_id_of_its_own_and_the_zxid_and_version_of_its_update() {
    let site = Site::new("run-id");
    let mut stats = vec![site.client.create("/value", "0")];
    let runs = site.journal("runs");
    let watch = WatchFile::watch(
        "/value",
        &runs.append("$TWITCHER_EVENT $TWITCHER_MZXID $TWITCHER_VERSION $TWITCHER_RUN_ID"),
    );
    let mut daemon = site.builder().watch("value.toml", watch).start();
    runs.wait_for(1);
    for count in 2..=4 {
        stats.push(site.client.set("/value", "again"));
        runs.wait_for(count);
    }
    // An id is not used again after a restart either.
    assert_eq!(daemon.stop().code(), Some(0));
    daemon.start_again();
    let lines = runs.wait_for(5);
    let mut ids = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let stat = stats[number.min(3)];
        let event = if number == 0 || number == 4 { "loaded" } else { "changed" };
        let (update, id) = line.rsplit_once(' ').expect("words");
        assert_eq!(update, format!("{event} {} {}", stat.mzxid, stat.version));
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{lines:#?}");
}

#[test]
fn a_file_has_a_watch_for_each_table_and_they_are_numbered_from_the_second() {
    let site = Site::new("names");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let command = runs.append("$TWITCHER_WATCH");
    let watches = WatchFile::watch("/value", &command).and("/value", &command).and("/value", &command);
    let _daemon = site.builder().watch("web/site.toml", watches).start();
    let mut names = runs.wait_for(3);
    names.sort();
    assert_eq!(names, ["web.site", "web.site-2", "web.site-3"]);
}
