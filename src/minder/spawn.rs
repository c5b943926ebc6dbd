//! From a `Start` to a process.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{ForkResult, Pid, fork, getpid, pipe2};

use crate::minder::child::{self, Failure, Program};
use crate::minder::processes::ticks;
use crate::minder::stdin;
use crate::run::protocol::{OutputTo, Start};

/// A process that was just made.
#[derive(Debug)]
pub struct Spawned {
    /// Its number, that of its process group, and that of its session.
    pub pid: Pid,
    /// What it prints, not to block on; `None` where that goes elsewhere.
    pub output: Option<OwnedFd>,
    /// What it will say if it cannot execute its program.
    pub failure: FailurePipe,
}

/// Where a child leaves word of why it could not execute its program.
#[derive(Debug)]
pub struct FailurePipe {
    pipe: File,
    program: Program,
}

impl FailurePipe {
    /// Why the program was not executed; `None` if it was. To be asked once the process has ended: before,
    /// the answer may not be there yet.
    pub fn read(mut self) -> Option<String> {
        let mut bytes = Vec::new();
        // The end of it, or that there is nothing for now: both are no failure.
        let _ = self.pipe.read_to_end(&mut bytes);
        Failure::from_bytes(&bytes).map(|failure| failure.explain(&self.program))
    }
}

/// What a run is given besides what its order says.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// What takes the place of what it does not have.
    pub dev_null: BorrowedFd<'a>,
    /// The file that its script was put into.
    pub script: Option<&'a Path>,
    /// The cgroup that it has to itself.
    pub cgroup: Option<&'a Path>,
    /// Where it leaves word that it is there, and what it says there.
    pub record: (PathBuf, Vec<u8>),
}

/// Starts a run's main process.
///
/// # Errors
/// In words, when there is no process: the rest shows at its end.
pub fn spawn(start: &Start, contents: &[u8], around: Surroundings) -> Result<Spawned, String> {
    let Surroundings { dev_null, script, cgroup, record } = around;
    let program = prepare(start, script, cgroup, record);
    let program = program.map_err(|_| "the command or its environment holds a NUL character".to_owned())?;
    let io = |what: &'static str| move |error: io::Error| format!("cannot make {what}: {error}");
    let stdin = start.stdin.then(|| stdin::holding(contents)).transpose().map_err(io("its stdin"))?;
    let (failure, failure_end) = pipe().map_err(io("a pipe"))?;
    let output = match start.output {
        OutputTo::Report => Some(pipe().map_err(io("a pipe for its output"))?),
        OutputTo::Null | OutputTo::Append(_) => None,
    };
    let (output, output_end) = output.unzip();
    // SAFETY: this process has one thread, so that the copy may do all that it could.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => child::run(
            &program,
            stdin.as_ref().map_or(dev_null, AsFd::as_fd),
            output_end.as_ref().map_or(dev_null, AsFd::as_fd),
            failure_end.as_fd(),
        ),
        Ok(ForkResult::Parent { child }) => {
            let failure = FailurePipe { pipe: File::from(failure), program };
            Ok(Spawned { pid: child, output, failure })
        }
        Err(Errno::EAGAIN) => Err("cannot make a process: the limit of processes is reached".to_owned()),
        Err(errno) => Err(format!("cannot make a process: {}", errno.desc())),
    }
}

fn prepare(
    start: &Start,
    script: Option<&Path>,
    cgroup: Option<&Path>,
    record: (PathBuf, Vec<u8>),
) -> Result<Program, std::ffi::NulError> {
    let argv = start.argv.iter().map(|arg| CString::new(arg.as_str()));
    let script = script.map(|script| CString::new(script.as_os_str().as_bytes()));
    let argv = argv.chain(script).collect::<Result<Vec<_>, _>>()?;
    let envp = start.env.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let path = start.env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    Ok(Program {
        candidates: argv.first().map_or(Ok(Vec::new()), |name| child::candidates(name, OsStr::new(path)))?,
        envp: envp.collect::<Result<_, _>>()?,
        argv,
        directory: start.directory.clone(),
        umask: start.umask,
        identity: start.identity.clone(),
        append_to: match &start.output {
            OutputTo::Append(path) => Some(path.clone()),
            OutputTo::Report | OutputTo::Null => None,
        },
        cgroup: cgroup.map(Path::to_owned),
        record,
        since: ticks(),
        minder: getpid(),
    })
}

/// A pipe whose reading end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}
