//! The package for Fedora and its like, on a Debian with rpm and with the presets of Fedora: what its scriptlets do.
//! What it depends on is not looked at, since rpm knows of nothing that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::Server;
use crate::site::{Site, package, say};

/// Where it says which units an installation enables.
const PRESETS: &str = "/etc/systemd/system-preset";

/// Debian's would take the database for one of root's own files.
const RPM: &[&str] = &["rpm", "--dbpath", "/var/lib/rpm"];

pub fn is_installed_used_and_removed(server: &Server) {
    let version = env!("CARGO_PKG_VERSION");
    let [first, upgrade] = ["1", "2"].map(|revision| package(&format!("twitcher-{version}-{revision}.")));
    let site = Site::new(server, "rpm");
    // The latter is there on each that its own packages are for.
    for folder in [PRESETS, "/usr/share/licenses"] {
        fs::create_dir_all(site.machine.path(folder)).expect("a folder");
    }
    site.write(&format!("{PRESETS}/99-default.preset"), "disable *\n");
    let before = site.machine.paths();
    installs_and_starts_nothing(&site, &first);
    site.has_names_for_a_backtrace();
    site.is_ready_when_it_is_started();
    let mut runs = 0;
    site.runs_what_is_poked(&mut runs);
    site.leaves_a_run_to_its_minder_over(&mut runs, |_| rpm(&site, &["--upgrade"], Some(&upgrade)));
    site.stops_and_leaves_a_run_to_its_end(&mut runs);
    is_not_started_by_an_upgrade(&site, &first);
    is_stopped_and_erased(&site, &before);
    is_enabled_where_a_preset_says_so(&site, &first);
}

fn rpm(site: &Site, arguments: &[&str], package: Option<&Path>) {
    let package = package.map_or("twitcher".into(), |package| site.bring(package));
    site.machine.order(&[RPM, &["--nodeps"], arguments, &[&*package]].concat());
}

fn stands(site: &Site) -> [String; 2] {
    ["is-active", "is-enabled"].map(|what| site.machine.ask(&["systemctl", what, "twitcher"]))
}

fn installs_and_starts_nothing(site: &Site, package: &Path) {
    say("the rpm is installed: nothing is started or enabled");
    rpm(site, &["--install"], Some(package));
    assert_eq!(stands(site), ["inactive", "disabled"]);
    assert_eq!(site.machine.order(&[RPM, &["--verify", "--nodeps", "twitcher"]].concat()), "");
    let settings = site.machine.order(&[RPM, &["--query", "--configfiles", "twitcher"]].concat());
    assert_eq!(settings, "/etc/logrotate.d/twitcher\n/etc/twitcher/twitcher.toml");
    let owner = site.machine.order(&[RPM, &["--query", "--file", "/etc/twitcher.d"]].concat());
    assert!(owner.starts_with("twitcher-"), "{owner}");
    site.machine.order(&["systemd-analyze", "verify", "twitcher.service"]);
}

fn is_not_started_by_an_upgrade(site: &Site, other: &Path) {
    say("an upgrade starts nothing that is stopped");
    rpm(site, &["--upgrade", "--oldpackage"], Some(other));
    assert_eq!(stands(site), ["inactive", "enabled"]);
}

fn is_stopped_and_erased(site: &Site, before: &BTreeSet<String>) {
    say(
        "erased, it is stopped and disabled; what is left are the settings, the watch files and what was applied",
    );
    site.machine.order(&["systemctl", "start", "twitcher"]);
    rpm(site, &["--erase"], None);
    site.wait_for_the_end_of_all_of_it();
    let after = site.machine.paths();
    let left = after.difference(before).filter(|path| !path.starts_with("/var/lib/twitcher/"));
    assert_eq!(
        left.collect::<Vec<_>>(),
        [
            "/etc/twitcher",
            "/etc/twitcher.d",
            "/etc/twitcher.d/web.toml",
            "/etc/twitcher/twitcher.toml.rpmsave",
            "/var/lib/twitcher"
        ]
    );
}

fn is_enabled_where_a_preset_says_so(site: &Site, package: &Path) {
    say("installed where a preset names it, it is enabled, and not started");
    site.write(&format!("{PRESETS}/50-site.preset"), "enable twitcher.service\n");
    rpm(site, &["--install"], Some(package));
    assert_eq!(stands(site), ["inactive", "enabled"]);
    rpm(site, &["--erase"], None);
    let wanted = site.machine.path("/etc/systemd/system/multi-user.target.wants/twitcher.service");
    assert!(fs::symlink_metadata(wanted).is_err(), "the unit is still enabled");
}
