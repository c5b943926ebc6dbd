//! The log as a stream of lines: a file, or stderr.

use std::fs::{File, OpenOptions};
use std::io::{self, Stderr, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::{Level, error, info};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::config::settings::LogFormat;
use crate::record::writer::Target;

/// Lines to the end of a file or to stderr.
#[derive(Debug)]
pub struct Stream {
    sink: Sink,
    format: LogFormat,
    /// The last line was not written to its end.
    is_torn: bool,
}

#[derive(Debug)]
enum Sink {
    Stderr(Stderr),
    File(File, PathBuf),
}

impl Stream {
    /// To stderr.
    #[must_use]
    pub fn stderr(format: LogFormat) -> Self {
        Self { sink: Sink::Stderr(io::stderr()), format, is_torn: false }
    }

    /// To the end of this file, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(path: PathBuf, format: LogFormat) -> io::Result<Self> {
        Ok(Self { sink: Sink::File(open(&path)?, path), format, is_torn: false })
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Always to the end, so that who empties the file in place does not get a hole in it. What commands print is
    // nothing for everybody; whoever shall read it makes the file, or changes its mode.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

impl Target for Stream {
    fn write(&mut self, _: Level, line: &[u8]) -> io::Result<()> {
        // Else what is left of a line on a full disk would be the beginning of the next.
        let whole = if self.is_torn { [b"\n", line].concat() } else { line.to_vec() };
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let written = match &mut self.sink {
                Sink::Stderr(stderr) => stderr.write(rest),
                Sink::File(file, _) => file.write(rest),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    rest = &rest[length..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn missing(&self, lines: u64) -> Vec<u8> {
        let mut now = String::new();
        // Writing to a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let message = missing(lines);
        let line = match self.format {
            LogFormat::Text => format!("{now}  WARN {message}\n"),
            LogFormat::Json => format!(
                "{}\n",
                serde_json::json!({
                    "timestamp": now,
                    "level": "WARN",
                    "message": message,
                    "target": module_path!(),
                })
            ),
        };
        line.into_bytes()
    }

    fn reopen(&mut self) {
        let Sink::File(file, path) = &mut self.sink else { return };
        match open(path) {
            Ok(opened) => {
                *file = opened;
                self.is_torn = false;
                info!("the log file {} was opened again", path.display());
            }
            Err(error) => error!(
                "cannot open the log file {} again: {error}; the log goes on in the one that was open",
                path.display()
            ),
        }
    }
}

/// What is said where so many lines are missing.
pub(super) fn missing(lines: u64) -> String {
    let (are, them) = if lines == 1 { ("line is", "it") } else { ("lines are", "them") };
    format!("{lines} {are} missing here: the log did not take {them}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_again_is_written_to_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/file");
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        let mut stream = Stream::file(path, LogFormat::Text).unwrap();
        stream.write(Level::INFO, b"one\n").unwrap();
        std::fs::rename(folder.path().join("logs"), folder.path().join("moved")).unwrap();
        stream.reopen();
        stream.write(Level::INFO, b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("moved/file")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn others_cannot_read_a_file_that_is_made_here_and_one_that_is_there_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (made, there) = (folder.path().join("made"), folder.path().join("there"));
        std::fs::write(&there, "").unwrap();
        std::fs::set_permissions(&there, Permissions::from_mode(0o604)).unwrap();
        let _streams = [&made, &there].map(|path| Stream::file(path.clone(), LogFormat::Text).unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&made) & !0o040, 0o600, "{:o}", mode(&made));
        assert_eq!(mode(&there), 0o604);
    }

    #[test]
    fn what_is_said_of_missing_lines_is_as_the_lines_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let stream = |format| Stream::file(file.clone(), format).unwrap();
        let text = String::from_utf8(stream(LogFormat::Text).missing(1)).unwrap();
        assert!(text.ends_with("  WARN 1 line is missing here: the log did not take it\n"), "{text}");
        let json: serde_json::Value = serde_json::from_slice(&stream(LogFormat::Json).missing(7)).unwrap();
        assert_eq!(json["message"], "7 lines are missing here: the log did not take them");
        assert_eq!(json["level"], "WARN");
    }
}
