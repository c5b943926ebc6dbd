//! The root of a Debian machine, made once and copied for each machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What it has beside what every Debian has.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,rpm";

/// A root of this machine's own release, in a folder that is kept between two runs of the test.
pub fn root() -> PathBuf {
    let release = fs::read_to_string("/etc/os-release").expect("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = name.expect("the name of a Debian release in /etc/os-release");
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name},{PACKAGES}"));
    if root.is_dir() {
        return root;
    }
    let unfinished = root.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    println!("a root of {name} is made by debootstrap; this takes a minute or two, and is done once");
    let made = Command::new("debootstrap")
        .arg("--variant=minbase")
        .args([&format!("--include={PACKAGES}"), name])
        .arg(&unfinished)
        .stdin(Stdio::null())
        .output()
        .expect("debootstrap, which 'make test-boot' installs");
    assert!(made.status.success(), "debootstrap failed:\n{}", String::from_utf8_lossy(&made.stdout));
    fs::rename(&unfinished, &root).expect("a name for a finished root");
    root
}
