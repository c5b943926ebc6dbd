//! The minders of a run folder. They outlive their daemon, so that who starts a daemon has to end them.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::process::Process;

/// Every minder of this program that listens in this run folder. Each has its pid in the name of its
/// socket.
pub fn minders(run_dir: &Path, program: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir(run_dir.join("minder")) else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str()?.parse().ok());
    // Where the program has been replaced meanwhile, the link to it says so behind its path.
    let executes = |minder: &Process| {
        let executed = minder.program().map(|path| path.to_string_lossy().into_owned());
        executed.is_some_and(|path| path.starts_with(&*program.to_string_lossy()))
    };
    pids.filter_map(Process::find).filter(|minder| minder.is_alive() && executes(minder)).collect()
}

/// Ends them at once, with what they run.
pub fn end_minders(run_dir: &Path, program: &Path) {
    for minder in minders(run_dir, program) {
        // A stopped one starts nothing more while its children are ended.
        minder.signal(Signal::SIGSTOP);
        minder.children().into_iter().for_each(Process::end_group);
        minder.signal(Signal::SIGKILL);
    }
}
