//! What a child does from its making to its exec: it sheds all that it has of the minder.
//!
//! Until the exec it shares the minder's memory, so that nothing here allocates, takes a lock, or returns: a child
//! that is killed half-way through must leave nothing behind that the minder trips over. Nor may anything here
//! call what the C library does for all threads at once, as it does when a process changes its user.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, Uid, chdir, dup2_stderr, dup2_stdout, getppid, setsid};
use rustix::fs::OFlags;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    Timespec, nanosleep, set_thread_groups, set_thread_res_gid, set_thread_res_uid, set_thread_uid,
};

use crate::minder::records::OwnRecord;
use crate::minder::{append, signals};
use crate::run::protocol::Identity;

/// The soft limit of open files that a child starts with, as systemd gives its services: a program that
/// uses `select(2)` breaks with more, and one that wants more raises it.
const OPEN_FILES: u64 = 1024;

/// How often a program that somebody has open for writing is tried again, and how long in between.
const BUSY: (u32, Duration) = (200, Duration::from_millis(10));

/// `keyctl(2)`, which no C library declares: a new and empty session keyring instead of the one there is.
const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;

/// `ioprio_set(2)`, which no C library declares: of a process, and none of its own.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_NONE: i32 = 0;

/// How late a timer may be in the first process of the world, and in all that have not changed it.
const TIMER_SLACK_NS: libc::c_ulong = 50_000;

/// `capset(2)`, which no C library declares: the version of its structures for 64 capabilities.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// A program that is ready to be executed.
#[derive(Debug)]
pub struct Program {
    /// Where to look for it, best first. One, if its name has a slash.
    pub candidates: Vec<CString>,
    /// Its arguments, itself the first.
    pub argv: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub envp: Vec<CString>,
    /// Its working directory.
    pub directory: CString,
    /// Its file mode creation mask.
    pub umask: u32,
    /// Who it runs as; `None`: as the minder.
    pub identity: Option<Identity>,
    /// The file that its stdout and stderr are appended to.
    pub append_to: Option<CString>,
    /// The file through which it joins its cgroup.
    pub cgroup: Option<CString>,
    /// Where it leaves word that it is there.
    pub record: OwnRecord,
    /// Its parent.
    pub minder: Pid,
}

/// What a child has at hand besides its program, made beforehand.
#[derive(Debug)]
pub struct AtHand<'a> {
    /// What it becomes.
    pub program: &'a Program,
    /// What it gets as stdin.
    pub stdin: BorrowedFd<'a>,
    /// What it gets as stdout and stderr.
    pub output: BorrowedFd<'a>,
    /// Where it says what kept it from becoming the program. Closed by the exec.
    pub failures: BorrowedFd<'a>,
    /// Where it says that it is in its place: a process group, a session and a cgroup of its own.
    pub is_placed: &'a AtomicBool,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// Room for the groups that it has, one more than it should have.
    groups: Vec<libc::gid_t>,
}

impl<'a> AtHand<'a> {
    /// For a child that is to become `program`.
    #[must_use]
    pub fn new(
        program: &'a Program,
        [stdin, output, failures]: [BorrowedFd<'a>; 3],
        is_placed: &'a AtomicBool,
    ) -> Self {
        let groups = program.identity.as_ref().and_then(|identity| identity.groups.as_ref());
        let room = groups.map_or(0, |groups| groups.len() + 1);
        let (argv, envp) = (pointers(&program.argv), pointers(&program.envp));
        Self { program, stdin, output, failures, is_placed, argv, envp, groups: vec![0; room] }
    }
}

/// How far a child came that could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// `setsid`.
    Session = 1,
    /// Opening the file that its output goes to.
    OpenOutput,
    /// Its descriptors.
    Descriptors,
    /// The supplementary groups.
    Groups,
    /// The group.
    Group,
    /// The user.
    User,
    /// Having become another, it could become root again, or is not who it should be.
    Privilege,
    /// The working directory.
    Directory,
    /// The program itself.
    Execute,
    /// The program that the program says is to run it.
    Interpreter,
}

/// Why a child could not be started: as it is sent through a pipe to the minder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub errno: Errno,
}

impl Failure {
    fn to_bytes(self) -> [u8; 5] {
        let mut bytes = [self.stage as u8; 5];
        bytes[1..].copy_from_slice(&(self.errno as i32).to_ne_bytes());
        bytes
    }

    /// Reads what `run` wrote; `None` where it wrote nothing, since it came to execute the program.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&stage, errno) = bytes.split_first()?;
        let errno = Errno::from_raw(i32::from_ne_bytes(errno.try_into().ok()?));
        let stage = match stage {
            1 => Stage::Session,
            2 => Stage::OpenOutput,
            3 => Stage::Descriptors,
            4 => Stage::Groups,
            5 => Stage::Group,
            6 => Stage::User,
            7 => Stage::Privilege,
            8 => Stage::Directory,
            10 => Stage::Interpreter,
            _ => Stage::Execute,
        };
        Some(Self { stage, errno })
    }

    /// The failure in words, with the place it happened at.
    #[must_use]
    pub fn explain(self, program: &Program) -> String {
        let Self { stage, errno } = self;
        let why = errno.desc();
        match stage {
            Stage::Session => format!("cannot start a process group of its own: {why}"),
            Stage::OpenOutput => match &program.append_to {
                Some(path) if errno == Errno::ELOOP => {
                    format!("cannot open the output file {}: it is a symbolic link", path.to_string_lossy())
                }
                Some(path) => format!("cannot open the output file {}: {why}", path.to_string_lossy()),
                None => format!("cannot open the output file: {why}"),
            },
            Stage::Descriptors => format!("cannot set up stdin, stdout and stderr: {why}"),
            Stage::Groups | Stage::Group | Stage::User => {
                let what = match (&program.identity, stage) {
                    (Some(who), Stage::User) => format!("user {}", who.uid),
                    (Some(who), Stage::Group) => format!("group {}", who.gid),
                    _ => "the supplementary groups".to_owned(),
                };
                let hint = if errno == Errno::EPERM { "; only a daemon that runs as root can" } else { "" };
                format!("cannot become {what}: {why}{hint}")
            }
            Stage::Privilege => format!("privileges were not given up for good: {why}"),
            Stage::Directory => {
                format!("cannot enter directory {}: {why}", program.directory.to_string_lossy())
            }
            Stage::Interpreter => {
                let name = program.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
                format!("cannot execute {name}: its interpreter does not exist")
            }
            Stage::Execute => {
                let name = program.argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
                match errno {
                    Errno::ENOENT if name.contains('/') => format!("cannot execute {name}: no such file"),
                    Errno::ENOENT => format!("cannot execute {name}: no such command in PATH"),
                    Errno::ENOEXEC => {
                        format!(
                            "cannot execute {name}: neither a program for this machine nor a script with '#!'"
                        )
                    }
                    Errno::EACCES => format!("cannot execute {name}: not executable by the run's user"),
                    Errno::E2BIG => format!("cannot execute {name}: argument list too long"),
                    _ => format!("cannot execute {name}: {why}"),
                }
            }
        }
    }
}

/// Becomes the program. Where that fails, says so through `failures` and exits.
pub fn run(child: &mut AtHand) -> ! {
    let failures = child.failures;
    let Err(failure) = become_program(child);
    let _ = rustix::io::write(failures, &failure.to_bytes());
    // SAFETY: ends this process without running what the minder registered to be run at its own exit.
    unsafe { libc::_exit(127) }
}

fn become_program(child: &mut AtHand) -> Result<std::convert::Infallible, Failure> {
    let AtHand { program, stdin, output, failures, is_placed, argv, envp, groups } = child;
    let at = |stage| move |errno| Failure { stage, errno };
    // First, so that one which is to be ended already can be. What is done about all others is the default, as in
    // the minder.
    signals::reset_ignored();
    signals::unblock_all_but_dumps();
    setsid().map_err(at(Stage::Session))?;
    for (from, to) in [(&*stdin, 0), (&*output, 1), (&*output, 2)] {
        // SAFETY: the three standard descriptors are always open here and nobody owns them.
        Errno::result(unsafe { libc::dup2(from.as_raw_fd(), to) }).map_err(at(Stage::Descriptors))?;
    }
    // Before anything that may take its time, such as a folder on a server that does not answer: what the
    // minder closes has to be closed. The pipe that tells of a failure is closed by the exec.
    close_all_but(*failures).map_err(at(Stage::Descriptors))?;
    // Not worth more than the run: without it, that is only harder to find.
    let _ = program.record.write();
    if getppid() != program.minder {
        // Who looked for what the minder left may have looked before the record was there, and have the
        // run started again.
        program.record.remove();
        return Err(Failure { stage: Stage::Session, errno: Errno::ECHILD });
    }
    if let Some(entrance) = &program.cgroup
        && let Ok(entrance) = rustix::fs::open(&**entrance, OFlags::WRONLY, rustix::fs::Mode::empty())
    {
        let _ = rustix::io::write(entrance, b"0");
    }
    // Not before: a signal to a group that is not there yet is lost, and so is a cgroup that nobody is in.
    is_placed.store(true, Ordering::Release);
    forget_priorities();
    // The one that it has may hold keys of whoever started the daemon: `session-keyring(7)`. A kernel without
    // keys has none to give away.
    // SAFETY: takes plain numbers.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
    umask(Mode::from_bits_truncate(program.umask));

    // As the daemon's user, as service managers do: log folders are not the run's user's. But not where others
    // could have made it lead elsewhere.
    let open_before = program.append_to.as_deref().is_some_and(append::is_beyond_others);
    if open_before {
        append_output(program)?;
    }
    match &program.identity {
        Some(identity) => become_user(identity, groups)?,
        None if Uid::effective().is_root() => give_up_capabilities().map_err(at(Stage::Privilege))?,
        // What the service manager has given to a daemon that is not root is meant for what it runs.
        None => {}
    }
    // A change of user has made it what the machine's settings say, for the minder too: nobody is to trace what
    // shares the minder's memory, nor to find that in a core file. The exec makes it an ordinary one again.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(plain).map_err(at(Stage::Privilege))?;
    signals::unblock_all();
    if !open_before {
        append_output(program)?;
    }
    chdir(&*program.directory).map_err(at(Stage::Directory))?;
    let errno = execute(&program.candidates, argv, envp);
    // Only from here can it be told without anybody else having to wait for a file server.
    let is_there = |name: &CString| {
        name.to_bytes().contains(&b'/') && rustix::fs::access(&**name, rustix::fs::Access::EXISTS).is_ok()
    };
    let has_no_interpreter = errno == Errno::ENOENT && program.argv.first().is_some_and(is_there);
    Err(Failure { stage: if has_no_interpreter { Stage::Interpreter } else { Stage::Execute }, errno })
}

/// Closes every descriptor but the standard ones and `kept`.
fn close_all_but(kept: BorrowedFd) -> Result<(), Errno> {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept - 1), (kept + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: takes plain numbers. What owns these descriptors is never used or dropped in this
            // process, which ends or becomes another program.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// The limits and priorities that somebody may have given the daemon, but for its place in the order in which
/// the kernel kills for want of memory, which the minder has given up for all. What cannot be had back, for want of
/// privilege, is kept: the child is better run with it than not at all.
fn forget_priorities() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard);
    }
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: takes plain numbers, and a policy's parameters that outlive the call.
    unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_OTHER, &raw const ordinary);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_NONE);
        libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    }
}

fn append_output(program: &Program) -> Result<(), Failure> {
    let at = |stage| move |errno| Failure { stage, errno };
    let Some(path) = &program.append_to else { return Ok(()) };
    let file = append::open(path).map_err(plain).map_err(at(Stage::OpenOutput))?;
    dup2_stdout(&file).map_err(at(Stage::Descriptors))?;
    dup2_stderr(&file).map_err(at(Stage::Descriptors))
}

/// Groups, then group, then user, since each takes a privilege that the next one gives up; then each is
/// read back. `room` is for the groups that the process has: one more than it should have.
fn become_user(identity: &Identity, room: &mut [libc::gid_t]) -> Result<(), Failure> {
    let at = |stage| move |errno| Failure { stage, errno: plain(errno) };
    let refused = Failure { stage: Stage::Privilege, errno: Errno::EPERM };
    if let Some(wanted) = &identity.groups {
        // A daemon that is not root may run children as the user that it is. Whether that one's group is among
        // the supplementary ones too, as the user database has it and not every login does, gives no right.
        let is_already = |held: &[libc::gid_t]| {
            identity.uid == Uid::effective().as_raw()
                && identity.gid == nix::unistd::Gid::effective().as_raw()
                && are_same(held, wanted, Some(identity.gid))
        };
        let is_right = match groups(room) {
            Some(held) => are_same(held, wanted, None) || (!Uid::effective().is_root() && is_already(held)),
            None => false,
        };
        if !is_right {
            set_thread_groups(as_groups(wanted)).map_err(at(Stage::Groups))?;
            if !groups(room).is_some_and(|held| are_same(held, wanted, None)) {
                return Err(refused);
            }
        }
    }
    let gid = rustix::process::Gid::from_raw(identity.gid);
    let uid = rustix::process::Uid::from_raw(identity.uid);
    set_thread_res_gid(gid, gid, gid).map_err(at(Stage::Group))?;
    set_thread_res_uid(uid, uid, uid).map_err(at(Stage::User))?;
    give_up_capabilities().map_err(|errno| Failure { stage: Stage::Privilege, errno })?;
    let read_back = |errno| Failure { stage: Stage::Privilege, errno };
    let users = nix::unistd::getresuid().map_err(read_back)?;
    let groups = nix::unistd::getresgid().map_err(read_back)?;
    let is = [users.real, users.effective, users.saved].iter().all(|held| held.as_raw() == identity.uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|held| held.as_raw() == identity.gid);
    let is_root_again = || set_thread_uid(rustix::process::Uid::ROOT).is_ok();
    if !is || (identity.uid != 0 && is_root_again()) {
        return Err(refused);
    }
    Ok(())
}

/// The supplementary groups of this process, in order; `None` where they do not fit into `room`.
fn groups(room: &mut [libc::gid_t]) -> Option<&[libc::gid_t]> {
    let length = i32::try_from(room.len()).ok()?;
    // SAFETY: the kernel writes at most so many, and `room` is that large.
    let held = unsafe { libc::getgroups(length, room.as_mut_ptr()) };
    let held = &mut room[..usize::try_from(held).ok()?];
    held.sort_unstable();
    Some(held)
}

/// The same numbers, as the call that sets them takes them.
fn as_groups(groups: &[u32]) -> &[rustix::process::Gid] {
    // SAFETY: `Gid` is a number of this type and nothing else, `repr(transparent)`.
    unsafe { std::slice::from_raw_parts(groups.as_ptr().cast(), groups.len()) }
}

/// Whether two sorted lists hold the same groups, whatever they say of `but`.
fn are_same(some: &[libc::gid_t], others: &[libc::gid_t], but: Option<libc::gid_t>) -> bool {
    let holds = |these: &[libc::gid_t], group: &libc::gid_t| {
        Some(*group) == but || these.binary_search(group).is_ok()
    };
    some.iter().all(|group| holds(others, group)) && others.iter().all(|group| holds(some, group))
}

/// An error of the calls that the C library has no part in.
fn plain(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// Those that a change of user leaves: the inheritable ones always do, and one from a user who is not root, as
/// a service manager can make possible, leaves all of them. Root keeps what it has by being root.
fn give_up_capabilities() -> Result<(), Errno> {
    let this_process = [CAPABILITY_VERSION, 0];
    // Effective, permitted and inheritable, once for the first 32 and once for the others. No ambient one stays
    // that is not inheritable.
    let mut sets = [[0u32; 3]; 2];
    if Uid::effective().is_root() {
        // SAFETY: the kernel reads and writes so much of both, which outlive the call.
        let got = unsafe { libc::syscall(libc::SYS_capget, this_process.as_ptr(), sets.as_mut_ptr()) };
        Errno::result(got)?;
        sets.iter_mut().for_each(|[_, _, inheritable]| *inheritable = 0);
    }
    // SAFETY: the kernel reads so much of both, which outlive the call.
    let set = unsafe { libc::syscall(libc::SYS_capset, this_process.as_ptr(), sets.as_ptr()) };
    Errno::result(set).map(drop)
}

/// Executes the first candidate that can be. Returns only when none can.
fn execute(candidates: &[CString], argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> Errno {
    let mut best = Errno::ENOENT;
    for candidate in candidates {
        for _ in 0..BUSY.0 {
            // SAFETY: both arrays end in a null pointer, and what they point to outlives this process' use of it.
            unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
            if Errno::last() != Errno::ETXTBSY {
                break;
            }
            // Somebody is just writing it, such as a package manager.
            let pause = Timespec { tv_sec: 0, tv_nsec: BUSY.1.subsec_nanos().into() };
            let _ = nanosleep(&pause);
        }
        match Errno::last() {
            // Not there, or not to be seen: the search goes on, as a shell's does.
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => best = Errno::EACCES,
            other => return other,
        }
    }
    best
}

/// What `execve(2)` takes: one for each, and null at the end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Where a program of this name may be: itself if it has a slash, else in each folder of `path`.
///
/// # Errors
/// When the name or a folder holds a NUL.
pub fn candidates(name: &CStr, path: &OsStr) -> Result<Vec<CString>, std::ffi::NulError> {
    if name.to_bytes().contains(&b'/') {
        return Ok(vec![name.to_owned()]);
    }
    let folders = path.as_bytes().split(|&byte| byte == b':').filter(|folder| folder.starts_with(b"/"));
    folders.map(|folder| CString::new([folder, b"/", name.to_bytes()].concat())).collect()
}
