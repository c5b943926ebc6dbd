//! The parent of every child: starts it, feeds its stdin, drains its output, ends it when its time is over,
//! reaps it and reports. It decides nothing else, and outlives the daemon that started it.
//!
//! It has no runtime: one thread does everything, and another stands by, since whoever makes a process may have to
//! wait for it. It heeds nothing but its socket: no signal ends it but SIGKILL, since any of
//! its children could send one.

pub mod append;
mod census;
pub mod cgroup;
pub mod child;
pub mod life;
mod mind;
pub mod output;
mod peer;
mod process;
pub mod processes;
mod reap;
pub mod records;
mod relay;
mod run;
pub mod script;
mod signals;
pub mod spawn;
pub mod stdin;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::prctl::{set_child_subreaper, set_dumpable, set_name};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use crate::minder::cgroup::Cgroups;
use crate::minder::records::{Named, Records};
use crate::minder::script::Scripts;
use crate::run::executable::executable;

/// Runs a minder whose socket is in `folder`, until there is neither a daemon nor a child. Its stdout is
/// closed as soon as a daemon can connect.
///
/// # Errors
/// When it could not begin to work.
pub fn run(folder: &Path) -> io::Result<()> {
    close_inherited();
    share_one_heap();
    // Away from the daemon's terminal, and from the signals that it sends to those in front of it.
    setsid()?;
    std::env::set_current_dir("/")?;
    umask(Mode::from_bits_truncate(0o077));
    report_panics_to(folder.join(format!("{}.panic", std::process::id())));
    // Else it is listed as `exe`, the link that it was executed by.
    set_name(c"twitcher-minder")?;
    set_child_subreaper(true)?;
    // Here and not in each child: to ask for it takes as long as all else that a child sheds. Where there is no
    // privilege to lower it, it is kept.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    // What a child could be made to dump until its exec is this process' memory.
    set_dumpable(false)?;
    // A child takes two descriptors here, and until its exec four more. Its own limit is set when it starts.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let signals = heed_only_children()?;

    let socket = folder.join(format!("{}.sock", std::process::id()));
    let listener = listen(&socket)?;
    let dev_null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    detach_standard_descriptors(&dev_null)?;

    let around = mind::Around {
        dev_null: dev_null.into(),
        executable: executable()?,
        this: Named::this()?,
        records: Records::below(folder)?,
        scripts: Scripts::below(folder.parent().unwrap_or(folder)),
        cgroups: Cgroups::find(),
    };
    let result = relay::run(mind::Minder::new(listener, signals, around)?);
    let _ = fs::remove_file(&socket);
    result
}

/// What whoever started the daemon has left open is not to stay so for as long as the longest run: it may be
/// a lock, or a pipe that somebody reads to its end.
#[allow(unsafe_code)]
fn close_inherited() {
    // SAFETY: takes plain numbers; nothing here has opened a descriptor yet that could be closed under it.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// Of the threads of a minder one works at a time. Each of them would have memory of its own from which it takes, and
/// leave it behind, when another takes over.
#[allow(unsafe_code)]
fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes plain numbers, and there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Listens at `path` from the moment at which there is something at `path`.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let unfinished = path.with_extension("new");
    let _ = fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    listener.set_nonblocking(true)?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

/// Ends of children come through the descriptor. What else could end or stop this process stays blocked or without
/// effect, in its threads too, also the signals of faults: a fault of its own ends it all the same, but its children may send
/// them. Blocked and not ignored: a child then has nothing to undo but that.
fn heed_only_children() -> io::Result<SignalFd> {
    signals::reset_all();
    signals::block_all();
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    Ok(SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

fn detach_standard_descriptors(dev_null: &File) -> io::Result<()> {
    dup2_stdin(dev_null)?;
    dup2_stderr(dev_null)?;
    // Last: the daemon waits for it.
    dup2_stdout(dev_null)?;
    Ok(())
}

/// The only word that is left of a minder that had a bug.
fn report_panics_to(path: PathBuf) {
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(&path) {
            let _ = writeln!(file, "{panic}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}
