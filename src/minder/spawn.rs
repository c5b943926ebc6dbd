//! From a `Start` to a process that can be made.

use std::ffi::{CString, NulError, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{getpid, pipe2};

use crate::minder::cgroup;
use crate::minder::child::{self, Failure, Program};
use crate::minder::process::Process;
use crate::minder::records::OwnRecord;
use crate::minder::stdin;
use crate::run::protocol::{Identity, OutputTo, Start};

/// A process that is about to be made.
#[derive(Debug)]
pub struct Prepared {
    /// It, and what is only its own.
    pub process: Arc<Process>,
    /// What it prints, not to block on; `None` where that goes elsewhere.
    pub output: Option<OwnedFd>,
    /// What it will say if it cannot execute its program.
    pub failure: FailurePipe,
}

/// Where a child leaves word of why it could not execute its program.
#[derive(Debug)]
pub struct FailurePipe {
    pipe: File,
    program: Arc<Program>,
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
    /// Where it leaves word that it is there.
    pub record: OwnRecord,
}

/// Prepares a run's main process.
///
/// # Errors
/// In words, when there can be none: the rest shows when it is made, and at its end.
pub fn prepare(start: &Start, contents: &[u8], around: Surroundings) -> Result<Prepared, String> {
    let Surroundings { dev_null, script, cgroup, record } = around;
    let program = program(start, script, cgroup, record);
    let program = program.map_err(|_| "the command or its environment holds a NUL character".to_owned())?;
    let program = Arc::new(program);
    let io = |what: &'static str| move |error: io::Error| format!("cannot make {what}: {error}");
    let nothing = || dev_null.try_clone_to_owned();
    let stdin = if start.stdin { stdin::holding(contents) } else { nothing() }.map_err(io("its stdin"))?;
    let (failure, failure_end) = pipe().map_err(io("a pipe"))?;
    let (output, output_end) = match start.output {
        OutputTo::Report => pipe().map(|(output, end)| (Some(output), end)),
        OutputTo::Null | OutputTo::Append(_) => nothing().map(|end| (None, end)),
    }
    .map_err(io("a pipe for its output"))?;
    let process = Arc::new(Process::new(Arc::clone(&program), [stdin, output_end, failure_end]));
    Ok(Prepared { process, output, failure: FailurePipe { pipe: File::from(failure), program } })
}

/// Why there is no process, in words.
#[must_use]
pub fn explain(errno: Errno) -> String {
    match errno {
        Errno::EAGAIN => "cannot make a process: the limit of processes is reached".to_owned(),
        errno => format!("cannot make a process: {}", errno.desc()),
    }
}

fn program(
    start: &Start,
    script: Option<&Path>,
    cgroup: Option<&Path>,
    record: OwnRecord,
) -> Result<Program, NulError> {
    let argv = start.argv.iter().map(|arg| CString::new(arg.as_str()));
    let script = script.map(|script| CString::new(script.as_os_str().as_bytes()));
    let argv = argv.chain(script).collect::<Result<Vec<_>, _>>()?;
    let envp = start.env.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let path = start.env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let append_to = match &start.output {
        OutputTo::Append(path) => Some(path.clone()),
        OutputTo::Report | OutputTo::Null => None,
    };
    Ok(Program {
        candidates: argv.first().map_or(Ok(Vec::new()), |name| child::candidates(name, OsStr::new(path)))?,
        envp: envp.collect::<Result<_, _>>()?,
        argv,
        directory: c_path(start.directory.clone())?,
        umask: start.umask,
        identity: start
            .identity
            .clone()
            .map(|identity| Identity { groups: identity.groups.map(in_order), ..identity }),
        append_to: append_to.map(c_path).transpose()?,
        cgroup: cgroup.map(cgroup::entrance).map(c_path).transpose()?,
        record,
        minder: getpid(),
    })
}

fn c_path(path: PathBuf) -> Result<CString, NulError> {
    CString::new(path.into_os_string().into_vec())
}

/// Each once, as a child compares them with what it has.
fn in_order(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// A pipe whose reading end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}
