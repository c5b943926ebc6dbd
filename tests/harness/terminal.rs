//! A terminal, as the program's user has one: a pseudo-terminal, and what would be seen on its screen.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{DEADLINE, eventually};

/// A terminal with a program in it, which ends with it.
pub struct Terminal {
    keyboard: File,
    parser: vt100::Parser,
    bytes: Vec<u8>,
    child: Child,
}

impl Terminal {
    /// Starts the program, which is to have no more of an environment than its search path and what is given.
    pub fn start((columns, rows): (u16, u16), program: &Command, environment: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).expect("a pseudo-terminal");
        grantpt(&keyboard).expect("a pseudo-terminal of our own");
        unlockpt(&keyboard).expect("a pseudo-terminal that may be opened");
        set_size(&keyboard, columns, rows);
        let other_end: OwnedFd = ioctl_tiocgptpeer(&keyboard, flags).expect("its other end");
        rustix::io::ioctl_fionbio(&keyboard, true).expect("reads that do not block");
        let end = || Stdio::from(other_end.try_clone().expect("a descriptor more"));
        // Makes it the controlling terminal of a session of its own, which is what Ctrl-C and a resize need.
        let mut command = Command::new("setsid");
        // Whoever started the tests may ignore what Ctrl-C sends.
        command.args(["--ctty", "env", "--default-signal=INT"]);
        command.arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(environment.iter().copied());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid, of util-linux");
        let size = |number| NonZeroU16::new(number).expect("a size");
        let parser = vt100::Parser::new(size(rows), size(columns), 1000);
        Self { keyboard: keyboard.into(), parser, bytes: Vec::new(), child }
    }

    /// What is seen now.
    pub fn screen(&mut self) -> &vt100::Screen {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.keyboard.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    self.parser.process(&buffer[..length]);
                    self.bytes.extend_from_slice(&buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing now, or nothing any more.
                Err(_) => break,
            }
        }
        self.parser.screen()
    }

    /// The rows that are seen now, without the blanks at their ends.
    pub fn rows(&mut self) -> Vec<String> {
        let screen = self.screen();
        let columns = screen.size().1.get();
        screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
    }

    /// All that was written since the start.
    pub fn written(&mut self) -> &[u8] {
        self.screen();
        &self.bytes
    }

    /// Waits until what is seen is so.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(DEADLINE, what, || {
            let rows = self.rows();
            if is_so(&rows) { Ok(rows) } else { Err(rows) }
        })
    }

    /// Makes it another size, of which the program is told.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen();
        set_size(&self.keyboard, columns, rows);
        let size = |number| NonZeroU16::new(number).expect("a size");
        self.parser.screen_mut().set_size(size(rows), size(columns));
    }

    /// Types this.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("room for what is typed");
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually(DEADLINE, "the program's end", || {
            // So that it does not wait for room on its terminal.
            self.screen();
            self.child.try_wait().expect("a child")
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_size(terminal: &impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal of another size");
}
