//! What cannot be shown on every machine.

use nix::unistd::Uid;

/// Whether this process is root's, who alone can do `what`. If not, says that it is not shown.
///
/// # Panics
/// Where everything has to be shown: under `CI`.
#[track_caller]
pub fn root_can(what: &str) -> bool {
    is_shown(Uid::effective().is_root(), &format!("only root can {what}"))
}

/// Whether something is possible here. If not, says that it is not shown, and why.
///
/// # Panics
/// Where everything has to be shown: under `CI`.
#[track_caller]
pub fn is_shown(is_possible: bool, why: &str) -> bool {
    if !is_possible {
        assert!(std::env::var_os("CI").is_none(), "not shown, as it has to be where CI is set: {why}");
        eprintln!("not shown: {why}");
    }
    is_possible
}
