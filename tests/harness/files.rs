//! Files and folders as the daemon trusts them, whatever the umask of this process is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file that only its owner can write.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    write_with(path, 0o644, text);
}

/// Writes a program that everybody can execute.
pub fn executable(path: &Path, text: impl AsRef<[u8]>) {
    write_with(path, 0o755, text);
}

/// Makes a folder that only its owner can write.
pub fn folder(path: &Path) {
    fs::create_dir(path).expect("a folder");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a folder of that mode");
}

fn write_with(path: &Path, mode: u32, text: impl AsRef<[u8]>) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a file of that mode");
}
