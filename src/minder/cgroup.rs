//! A cgroup for each run, where the service manager has delegated the minder's own: what is in it cannot
//! leave, and one write kills all of it. `cgroups(7)`, and systemd's page on delegation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::schedule::order::RunId;

/// The attribute by which systemd marks a cgroup as its service's to divide, for root's services and for
/// users'.
const DELEGATED: [&str; 2] = ["trusted.delegate", "user.delegate"];

/// What the cgroups of runs are called before their id.
const PREFIX: &str = "run-";

/// The minder's own cgroup, which it may divide.
#[derive(Debug)]
pub struct Cgroups {
    own: PathBuf,
}

impl Cgroups {
    /// This process' cgroup, if it is one of version 2 and delegated.
    #[must_use]
    pub fn find() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = locate(&own, &mounts)?;
        is_delegated(&own).then_some(Self { own })
    }

    /// A new cgroup for a run; `None` where there can be none.
    #[must_use]
    pub fn make(&self, run: RunId) -> Option<PathBuf> {
        let path = self.own.join(format!("{PREFIX}{run}"));
        fs::create_dir(&path).ok().map(|()| path)
    }

    /// Removes those of runs whose last process is gone: also of runs that left some behind, once those have
    /// ended too. `true`: some are left.
    pub fn sweep(&self) -> bool {
        let mut left = false;
        for entry in fs::read_dir(&self.own).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // Fails while there is a process in it.
                left |= fs::remove_dir(entry.path()).is_err();
            }
        }
        left
    }
}

/// The file through which a process joins a cgroup, by writing `0` to it.
#[must_use]
pub fn entrance(cgroup: &Path) -> PathBuf {
    cgroup.join("cgroup.procs")
}

/// The processes of a cgroup.
#[must_use]
pub fn processes(cgroup: &Path) -> Vec<i32> {
    let list = fs::read_to_string(entrance(cgroup)).unwrap_or_default();
    list.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills all of a cgroup at once, so that no fork escapes it.
pub fn kill(cgroup: &Path) {
    // A kernel before 5.14 has no such file; its processes are killed one by one as well.
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
}

/// Where the cgroup that `own`, a `/proc/PID/cgroup`, names is found by the mounts of `mounts`, a
/// `/proc/PID/mountinfo`.
fn locate(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|mount| {
        let (fields, of_type) = mount.split_once(" - ")?;
        if !of_type.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(at).join(below))
    })
}

fn is_delegated(cgroup: &Path) -> bool {
    DELEGATED.iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(cgroup, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_on_a_plain_and_on_a_hybrid_mount() {
        let own = "12:pids:/x\n0::/system.slice/twitcher.service\n";
        let plain = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let hybrid = "31 30 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      30 23 0:26 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let below = Path::new("system.slice/twitcher.service");
        assert_eq!(locate(own, plain), Some(Path::new("/sys/fs/cgroup").join(below)));
        assert_eq!(locate(own, hybrid), Some(Path::new("/sys/fs/cgroup/unified").join(below)));
        assert_eq!(locate("1:pids:/x\n", plain), None);
        let inner = "30 23 0:26 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(locate(own, inner), Some(PathBuf::from("/sys/fs/cgroup/twitcher.service")));
    }
}
