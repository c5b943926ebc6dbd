//! Whether what is at a path can be trusted: whoever can write a watch file decides what the daemon runs.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::trail::Trail;
use crate::config::problem::Problem;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OWNER_READ_WRITE: u32 = 0o600;
const STICKY: u32 = 0o1000;

/// Whose files are trusted: root's, and those of the user that the daemon runs as.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Owner {
    euid: u32,
}

impl Owner {
    pub(in crate::config) fn new(euid: u32) -> Self {
        Self { euid }
    }

    /// Refuses what another user owns or can write.
    pub(super) fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Problem> {
        self.check_owner(path, metadata)?;
        if metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 {
            let mode = metadata.mode() & 0o7777;
            let message = format!("is not safe: its group or others can write it (mode {mode:04o})");
            let help = format!("chmod go-w {}", shell_word(path));
            return Err(Problem::of_file(path, message).with_help(help));
        }
        Ok(())
    }

    /// Refuses what another user owns, and what anybody but its owner can read or write.
    pub(in crate::config) fn check_secret(&self, path: &Path, metadata: &Metadata) -> Result<(), Problem> {
        self.check_owner(path, metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & !OWNER_READ_WRITE != 0 {
            let message =
                format!("is not safe for a secret: its mode must be 0600 or stricter, not {mode:04o}");
            return Err(Problem::of_file(path, message).with_help(format!("chmod 600 {}", shell_word(path))));
        }
        Ok(())
    }

    fn check_owner(&self, path: &Path, metadata: &Metadata) -> Result<(), Problem> {
        if metadata.uid() == 0 || metadata.uid() == self.euid {
            return Ok(());
        }
        let whose = if self.euid == 0 { "root".to_owned() } else { format!("root or user {}", self.euid) };
        let message = format!("is not safe: it belongs to user {}, not to {whose}", metadata.uid());
        let link = if metadata.is_symlink() { "-h " } else { "" };
        let help = format!("chown {link}{} {}", self.euid, shell_word(path));
        Err(Problem::of_file(path, message).with_help(help))
    }

    /// Checks what a link leads through: who can write a folder on the way can lead it elsewhere. In a
    /// sticky folder (`/tmp`) nobody can replace what is another's, so that its mode is no matter.
    pub(super) fn check_trail(&self, link: &Path, trail: &Trail) -> Result<(), Problem> {
        let through = |problem: Problem| Problem {
            message: format!("{}, and the link {} leads through it", problem.message, link.display()),
            ..problem
        };
        for path in trail.folders.iter().chain(&trail.links) {
            let unreadable =
                |error| Problem::of_file(link, format!("cannot look at {}: {error}", path.display()));
            let metadata = fs::symlink_metadata(path).map_err(unreadable)?;
            let owner_is_enough = metadata.is_symlink() || metadata.mode() & STICKY != 0;
            let checked = match owner_is_enough {
                true => self.check_owner(path, &metadata),
                false => self.check(path, &metadata),
            };
            checked.map_err(through)?;
        }
        Ok(())
    }
}

/// The path as a word that can be pasted into a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | '=' | '@');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
