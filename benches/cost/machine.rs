//! What the figures were taken on.

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;

/// The processor, the kernel, the disk that all servers and daemons have their files on, how busy the machine is, and
/// the date.
pub fn describe(folder: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("an unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let disk = Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder).output();
    let disk =
        disk.map_or_else(|_| "unknown".into(), |said| String::from_utf8_lossy(&said.stdout).into_owned());
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let today = Timestamp::now().to_string();
    format!(
        "{}: {model}, {cores} cores, Linux {}, servers and daemons on one file system ({}), run folders in memory, load average {load}.",
        today.split('T').next().unwrap_or_default(),
        kernel.trim(),
        disk.trim()
    )
}
