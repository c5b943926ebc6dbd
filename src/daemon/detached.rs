//! A daemon that has detached: the program started again in a session of its own. Whoever starts it waits until it is up,
//! as `daemon(7)` has it: then there is a pid file, and an answer at the control socket where there can be one.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use rustix::thread::set_name;

/// Starts this program again, with its first argument, then `flag`, then the others, and waits until that process is up or
/// has ended. Returns the exit code: 0, or that of the other, which has said why on stderr.
///
/// # Errors
/// When it cannot be started, or was stopped or killed before it was up.
pub fn start(flag: &str) -> io::Result<u8> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| "twitcher".into());
    let mut daemon = Command::new("/proc/self/exe")
        .arg0(name)
        .args(words.next())
        .arg(OsStr::new(flag))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = Vec::new();
    if let Some(mut stdout) = daemon.stdout.take() {
        stdout.read_to_end(&mut told)?;
    }
    if !told.is_empty() {
        return Ok(0);
    }
    let status = daemon.wait()?;
    if let Some(signal) = status.signal() {
        return Err(io::Error::other(format!("signal {signal} has ended it")));
    }
    if status.success() {
        return Err(io::Error::other("it was asked to stop before it was up"));
    }
    Ok(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1))
}

/// The other side: the process that [`start`] waits for.
#[derive(Debug)]
pub struct Detached {
    null: File,
}

impl Detached {
    /// Leaves the terminal, but for stderr. To be called before there is another thread.
    ///
    /// # Errors
    /// When it is not a process that [`start`] has started.
    pub fn new() -> io::Result<Self> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        setsid()?;
        // For who looks for it by its name, which is that of the link by which it was executed.
        set_name(c"twitcher")?;
        Ok(Self { null })
    }

    /// Says that it is up, and that nothing more comes on stderr.
    ///
    /// # Errors
    /// When stderr cannot be left.
    pub fn is_up(self) -> io::Result<()> {
        let mut stdout = io::stdout();
        // Who has started it may have gone.
        let _ = stdout.write_all(b"up").and_then(|()| stdout.flush());
        dup2_stdin(&self.null)?;
        dup2_stderr(&self.null)?;
        // Last, since that is what is waited for.
        dup2_stdout(&self.null)?;
        Ok(())
    }
}
