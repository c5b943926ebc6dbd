//! The command that all ways run, and when it began. Its first act is to read the monotonic clock, which it then says
//! through a socket.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

const SOURCE: &str = r#"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
int main(int count, char **words) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long stamp = now.tv_sec * 1000000000LL + now.tv_nsec;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (count != 2 || strlen(words[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, words[1]);
    int socket_ = socket(AF_UNIX, SOCK_DGRAM, 0);
    return sendto(socket_, &stamp, sizeof stamp, 0, (struct sockaddr *)&address, sizeof address) < 0;
}
"#;

/// The command, and where it finds whom to tell.
pub struct Program {
    folder: PathBuf,
}

impl Program {
    /// Compiles it into this folder. Linked statically, so that a dynamic linker is no part of what is measured.
    pub fn compile(folder: &Path) -> Self {
        let source = folder.join("child.c");
        fs::write(&source, SOURCE).expect("the child's source");
        let program = Self { folder: folder.to_owned() };
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", "-o"]).arg(program.path()).arg(source);
        assert!(compiler.status().expect("a C compiler").success(), "cc has not compiled the child");
        program
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join("child")
    }

    /// What tells the stamps of a way of this name, which no other has.
    pub fn stamps(&self, name: &str) -> Stamps {
        let path = self.folder.join(format!("{name}.stamps"));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Stamps { socket, path, program: self.path() }
    }
}

/// When children began, in the order in which they said so.
pub struct Stamps {
    socket: UnixDatagram,
    path: PathBuf,
    program: PathBuf,
}

impl Stamps {
    /// The command and its one argument.
    pub fn command(&self) -> [String; 2] {
        [&self.program, &self.path].map(|path| path.to_str().expect("a path of text").to_owned())
    }

    /// When the next child began, in nanoseconds; `None` if none says so for this long.
    pub fn next(&self, patience: Duration) -> Option<u64> {
        self.socket.set_read_timeout(Some(patience)).expect("a deadline");
        let mut stamp = [0; 8];
        self.socket.recv(&mut stamp).ok().map(|_| u64::from_ne_bytes(stamp))
    }

    /// When the next child began.
    ///
    /// # Panics
    /// When there is none.
    pub fn take(&self) -> u64 {
        self.next(Duration::from_secs(30)).expect("a child that runs")
    }

    /// Takes what is still said until nothing is for this long.
    pub fn drain(&self, quiet: Duration) {
        while self.next(quiet).is_some() {}
    }
}

/// The monotonic clock, in nanoseconds.
pub fn now() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock"));
    u64::try_from(now.as_nanos()).expect("less than centuries")
}
