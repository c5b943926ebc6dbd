//! The package for Debian and its like: installed, enabled, at work, killed, frozen, restarted, upgraded, stopped,
//! removed and purged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use twitcher::cli::Cli;

use crate::harness::Server;
use crate::site::{Site, package, say};

pub fn is_installed_used_and_removed(server: &Server) {
    let version = env!("CARGO_PKG_VERSION");
    let [first, upgrade] = ["1", "2"].map(|revision| package(&format!("twitcher_{version}-{revision}_")));
    let site = Site::new(server, "deb");
    let before = site.machine.paths();
    installs_and_starts_nothing(&site, &first);
    site.has_names_for_a_backtrace();
    has_a_page_for_each_command(&site);
    site.is_ready_when_it_is_started();
    let mut runs = 0;
    site.runs_what_is_poked(&mut runs);
    site.keeps_a_run_over(&mut runs, "a kill of the daemon", |machine| {
        machine.order(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "twitcher"]);
    });
    site.keeps_a_run_over(&mut runs, "a restart", |machine| {
        machine.order(&["systemctl", "restart", "twitcher"]);
    });
    site.leaves_a_run_to_its_minder_over(&mut runs, |machine| {
        machine.order(&["dpkg", "--install", &site.bring(&upgrade)]);
    });
    site.keeps_a_run_over(&mut runs, "a daemon that is frozen", |machine| {
        machine.order(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", "twitcher"]);
    });
    assert_eq!(
        site.machine.property("NRestarts"),
        "1",
        "since the upgrade, only the watchdog has restarted it"
    );
    site.stops_and_leaves_a_run_to_its_end(&mut runs);
    removes_and_purges(&site, &before);
}

fn installs_and_starts_nothing(site: &Site, package: &Path) {
    say("the package is installed: nothing is started or enabled");
    let package = site.bring(package);
    site.machine.order(&["dpkg", "--install", &package]);
    assert_eq!(site.machine.ask(&["systemctl", "is-active", "twitcher"]), "inactive");
    assert_eq!(site.machine.ask(&["systemctl", "is-enabled", "twitcher"]), "disabled");
    let files: Vec<_> =
        fs::read_dir(site.machine.path("/etc/twitcher.d")).expect("the config folder").collect();
    assert!(files.is_empty(), "{files:?}");
    let settings = site.machine.order(&["dpkg-query", "--showformat=${Conffiles}", "--show", "twitcher"]);
    assert!(settings.contains("/etc/twitcher/twitcher.toml"), "{settings}");
    site.machine.order(&["systemd-analyze", "verify", "twitcher.service"]);
}

fn has_a_page_for_each_command(site: &Site) {
    say("each command has a man page without mistakes, and bash completes them");
    let commands = Cli::command();
    let commands = commands.get_subcommands().filter(|command| !command.is_hide_set());
    let pages = commands.map(|command| format!("man1/twitcher-{}.1", command.get_name()));
    for page in
        pages.chain(["man1/twitcher.1", "man5/twitcher.d.5", "man5/twitcher.toml.5"].map(String::from))
    {
        let path = site.machine.path(&format!("/usr/share/man/{page}.gz"));
        let mistakes = format!("set -o pipefail; zcat {} | groff -man -Kutf8 -Tutf8 -ww -z", path.display());
        let read = Command::new("bash").args(["-c", &mistakes]).output().expect("bash");
        let said = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && said.is_empty(), "{page}: {said}");
    }
    for (before, word, is_one, is_none) in
        [("", "", "status", "minder"), ("run", "--d", "--daemonize", "--detached")]
    {
        let completion = format!(
            "source /usr/share/bash-completion/completions/twitcher
            COMP_WORDS=(twitcher {before} '{word}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            $(complete -p twitcher | grep -o '_twitcher') twitcher '{word}' '{before}'; echo \"${{COMPREPLY[@]}}\""
        );
        let completed = site.machine.order(&["bash", "-c", &completion]);
        let completed: Vec<&str> = completed.split_whitespace().collect();
        assert!(completed.contains(&is_one) && !completed.contains(&is_none), "{completed:?}");
    }
}

fn removes_and_purges(site: &Site, before: &BTreeSet<String>) {
    say("removed, it is stopped; purged, nothing of it is left");
    site.machine.order(&["systemctl", "start", "twitcher"]);
    site.machine.order(&["dpkg", "--remove", "twitcher"]);
    site.wait_for_the_end_of_all_of_it();
    assert!(site.machine.path("/etc/twitcher/twitcher.toml").exists(), "settings go with a removal");
    fs::remove_file(site.machine.path("/etc/twitcher.d/web.toml")).expect("a watch file to go");
    site.machine.order(&["dpkg", "--purge", "twitcher"]);
    let after = site.machine.paths();
    let left: Vec<&String> = after.difference(before).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(site.machine.ask(&["ls", "/run/twitcher"]), "");
}
