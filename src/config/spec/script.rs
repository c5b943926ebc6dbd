//! A script that stands in a watch file.

use thiserror::Error;

/// A script with a `#!` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(String);

/// Why a text is not a script.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// It names no interpreter.
    #[error("a script must begin with '#!' and the path of its interpreter")]
    NoInterpreter,
    /// Its interpreter is looked for nowhere.
    #[error("the interpreter of a script must be an absolute path, not '{0}'")]
    RelativeInterpreter(String),
}

impl Script {
    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What executes it: an interpreter, and at most one argument to come before the script, as Linux takes
    /// the line (`execve(2)`).
    #[must_use]
    pub fn interpreter(&self) -> (&str, Option<&str>) {
        let line = self.0.lines().next().unwrap_or_default();
        let line = line.strip_prefix("#!").unwrap_or_default().trim_matches([' ', '\t', '\r']);
        match line.split_once([' ', '\t']) {
            Some((interpreter, argument)) => (interpreter, Some(argument.trim_start_matches([' ', '\t']))),
            None => (line, None),
        }
    }
}

impl TryFrom<&str> for Script {
    type Error = ScriptError;

    fn try_from(text: &str) -> Result<Self, ScriptError> {
        let script = Self(text.to_owned());
        match script.interpreter() {
            ("", _) => Err(ScriptError::NoInterpreter),
            (interpreter, _) if interpreter.starts_with('/') => Ok(script),
            (interpreter, _) => Err(ScriptError::RelativeInterpreter(interpreter.to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_run_by_what_its_first_line_names() {
        let script = |text| Script::try_from(text).unwrap();
        assert_eq!(script("#!/bin/sh\necho").interpreter(), ("/bin/sh", None));
        assert_eq!(
            script("#! /usr/bin/env  python3 -u \nx").interpreter(),
            ("/usr/bin/env", Some("python3 -u"))
        );
        assert_eq!(Script::try_from("echo"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("\n#!/bin/sh"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("#!\n"), Err(ScriptError::NoInterpreter));
        assert_eq!(Script::try_from("#!sh"), Err(ScriptError::RelativeInterpreter("sh".into())));
    }
}
