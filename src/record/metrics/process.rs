//! What the kernel knows of this process, under the names that Prometheus' own libraries give it. Reads `/proc`; what
//! cannot be read there is left out.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use super::exposition::Exposition;

/// Adds what this process uses. `started`: in seconds since 1970.
pub fn add(to: &mut Exposition, started: f64) {
    to.gauge("process_start_time_seconds", "When the daemon started, in seconds since 1970.").is(started);
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let spent = seconds(usage.user_time()) + seconds(usage.system_time());
        to.counter("process_cpu_seconds_total", "Time that the daemon spent on a processor.").is(spent);
    }
    if let Some(bytes) = resident() {
        to.gauge("process_resident_memory_bytes", "Memory that the daemon has resident.").is(bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is that of the folder.
        let open = entries.count().saturating_sub(1);
        to.gauge("process_open_fds", "File descriptors that the daemon has open.").is(open);
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        to.gauge("process_max_fds", "File descriptors that the daemon may have open.").is(soft);
    }
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// In bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
