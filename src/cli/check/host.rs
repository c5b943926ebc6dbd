//! What a watch needs that this host, as it stands, does not have: users, commands, folders. Looks at the disk
//! and the user databases, and executes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;

use super::Remark;
use crate::config::spec::{Command, Output, WatchSpec};
use crate::run::environment::environment;
use crate::run::identity::{Account, IdentityError, look_up};
use crate::schedule::order::RunId;
use crate::watch::update::{Event, Update, Version};

/// What /bin/sh does itself: its keywords and the utilities that dash has built in, `dash(1)`.
const IN_THE_SHELL: &[&str] = &[
    "!", ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "echo", "eval", "exec",
    "exit", "export", "false", "fg", "for", "getopts", "hash", "if", "jobs", "kill", "local", "printf",
    "pwd", "read", "readonly", "return", "set", "shift", "test", "times", "trap", "true", "type", "ulimit",
    "umask", "unalias", "unset", "until", "wait", "while",
];

/// What this host lacks. Of what cannot be known, such as a folder that may not be looked into, nothing is
/// said.
pub(super) fn remarks(spec: &WatchSpec) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let account = look_up(spec.uid.as_ref(), spec.gid.as_ref());
    if let Err(error) = &account {
        remarks.push(nobody(spec, error));
    }
    let directory = no_folder("directory", &spec.directory);
    let has_directory = directory.is_none();
    remarks.extend(directory);
    if let Output::Append(path) = &spec.output {
        remarks.extend(path.parent().and_then(|parent| no_folder("output", parent)));
    }
    // Without its user it is not known where a command is looked for.
    let account = account.or_else(|_| look_up(None, None));
    if let Ok(account) = account {
        let path = search_path(spec, &account);
        for (key, name) in programs(&spec.command) {
            if has_directory || !name.contains('/') || name.starts_with('/') {
                remarks.extend(no_program(key, name, &spec.directory, &path));
            }
        }
    }
    remarks
}

fn nobody(spec: &WatchSpec, error: &IdentityError) -> Remark {
    let (key, help) = match error {
        IdentityError::NoUser(_) => ("uid", "make the user, or correct uid; a run would fail"),
        IdentityError::NoPrimaryGroup(_) => ("uid", "add gid; a run would fail"),
        IdentityError::NoGroup(_) => ("gid", "make the group, or correct gid; a run would fail"),
        IdentityError::Database { .. } if spec.uid.is_some() => ("uid", "a run would fail"),
        IdentityError::Database { .. } => ("gid", "a run would fail"),
    };
    Remark::new(key, format!("{error} on this host"), help)
}

fn no_folder(key: &'static str, path: &Path) -> Option<Remark> {
    let message = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => format!("{} is not a folder on this host", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("there is no folder {} on this host", path.display())
        }
        Err(_) => return None,
    };
    Some(Remark::new(key, message, "make it, or correct the path; a run would fail"))
}

/// The `PATH` that a run has.
fn search_path(spec: &WatchSpec, account: &Account) -> String {
    let update =
        Update { event: Event::Loaded, version: Version::default(), contents: Bytes::new(), child: None };
    let all = environment(account, None, spec, &update, RunId::from_u64(0), 1);
    all.into_iter().find(|(name, _)| name == "PATH").map(|(_, value)| value).unwrap_or_default()
}

/// The programs that are sure to be executed first, as they are named, and the key that names them.
fn programs(command: &Command) -> Vec<(&'static str, &str)> {
    match command {
        Command::Argv(argv) => argv.first().map(|name| ("command", &**name)).into_iter().collect(),
        Command::Shell(line) => first_word(line).map(|name| ("command", name)).into_iter().collect(),
        Command::Script(script) => {
            let (interpreter, argument) = script.interpreter();
            // What has spaces in it is one argument to env, which makes several of it only if told to.
            let by_env = argument.filter(|name| {
                interpreter == "/usr/bin/env" && !name.starts_with('-') && !name.contains(['=', ' ', '\t'])
            });
            [Some(interpreter), by_env].into_iter().flatten().map(|name| ("script", name)).collect()
        }
    }
}

/// The first word of a text for the shell, if it is the plain name of a program that the shell has to find.
fn first_word(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-[:!".contains(c);
    let end = line.find(|c| !plain(c)).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let ends_here = rest.is_empty() || rest.starts_with([' ', '\t', '\n', ';', '|', '&', '<', '>']);
    // A blank before the parentheses of a function is allowed.
    let is_function = rest.trim_start().starts_with('(');
    let is_program = ends_here && !is_function && !word.is_empty() && !IN_THE_SHELL.contains(&word);
    is_program.then_some(word)
}

fn no_program(key: &'static str, name: &str, directory: &Path, path: &str) -> Option<Remark> {
    let is_program = |path: &Path| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let message = if name.contains('/') {
        match fs::metadata(directory.join(name)) {
            Ok(_) if is_program(&directory.join(name)) => return None,
            Ok(_) => format!("{name} cannot be executed on this host"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("there is no {name} on this host")
            }
            Err(_) => return None,
        }
    } else {
        // A relative folder in PATH is below the run's working directory, as an empty one is that itself.
        if path.split(':').any(|folder| is_program(&directory.join(folder).join(name))) {
            return None;
        }
        format!("there is no command {name} on this host, in {path}")
    };
    Some(Remark::new(key, message, "install it, or correct the name; a run would fail"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_a_program_only_where_that_is_sure() {
        for (line, word) in [
            ("make install", Some("make")),
            ("  /opt/x/run; true", Some("/opt/x/run")),
            ("./x\nmake", Some("./x")),
            ("a|b", Some("a")),
            ("set -e", None),
            ("[ -e x ] || y", None),
            ("A=1 make", None),
            ("\"$HOME\"/x", None),
            ("f() { x; }", None),
            ("f () { x; }", None),
            ("(x)", None),
            ("x*", None),
            ("# a comment", None),
            ("", None),
        ] {
            assert_eq!(first_word(line), word, "{line:?}");
        }
    }
}
