//! What one would write or take instead, as its manual says to use it. One that is not installed says so.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::process::Process;
use crate::stamps::Stamps;

/// A script with kazoo, as most would write it.
const KAZOO: &str = r#"
import subprocess, sys, time
from kazoo.client import KazooClient

zookeeper = KazooClient(hosts=sys.argv[1])
zookeeper.start()

@zookeeper.DataWatch(sys.argv[2])
def changed(data, stat):
    if data is not None:
        subprocess.run(sys.argv[3:], input=data)

while True:
    time.sleep(3600)
"#;

/// A process that ends with this one, however that goes.
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Ends a process that was started here.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Something that runs the command when something changes.
pub struct Rival(Child);

impl Rival {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("a process"))
    }

    pub fn process(&self) -> Process {
        Process::find(self.0.id().cast_signed()).expect("a running process")
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Whether there is such a program, or why it is left out.
fn look_for(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok_and(|status| status.success());
    if there { Ok(()) } else { Err(format!("{program} {} fails here", arguments.join(" "))) }
}

/// A kazoo `DataWatch` that calls `subprocess.run`.
pub fn kazoo(zookeeper: &str, znode: &str, stamps: &Stamps, folder: &Path) -> Result<Rival, String> {
    // That of the distribution first: another one does not see its packages.
    let found = ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|python| look_for(python, &["-c", "import kazoo"]).is_ok())
        .ok_or("kazoo is not installed")?;
    let script = folder.join("watch.py");
    fs::write(&script, KAZOO).expect("a script");
    let mut command = guarded(found);
    command.arg(script).args([zookeeper, znode]).args(stamps.command());
    Ok(Rival::start(command))
}

/// `etcdctl watch KEY -- COMMAND`.
pub fn etcdctl(address: &str, key: &str, stamps: &Stamps) -> Result<Rival, String> {
    look_for("etcdctl", &["version"])?;
    let mut command = guarded("etcdctl");
    command.env("ETCDCTL_API", "3");
    command.args(["--endpoints", address, "watch", key, "--"]).args(stamps.command());
    Ok(Rival::start(command))
}

/// `watchexec` on a file, without a shell and without the pause of 50 ms that it makes by default.
pub fn watchexec(file: &Path, stamps: &Stamps) -> Result<Rival, String> {
    look_for("watchexec", &["--version"])?;
    let mut command = guarded("watchexec");
    command.args(["--shell=none", "--debounce=0ms", "--watch"]).arg(file).arg("--").args(stamps.command());
    Ok(Rival::start(command))
}
