//! The text of a watch file, so that a test says only what matters to it.

use std::fmt::{Display, Write};

/// A file of one or more watches.
#[derive(Clone)]
pub struct WatchFile(String);

impl WatchFile {
    /// A watch of this znode that runs this text with the shell.
    pub fn watch(znode: &str, command: &str) -> Self {
        Self(String::new()).and(znode, command)
    }

    /// Another watch in the same file.
    pub fn and(mut self, znode: &str, command: &str) -> Self {
        write!(self.0, "[[watch]]\nznode = \"{znode}\"\ncommand = '''\n{command}'''\n").expect("text");
        self
    }

    /// A watch of this znode that executes this program.
    pub fn program(znode: &str, command: &[&str]) -> Self {
        Self(String::new()).and_program(znode, command)
    }

    /// Another one in the same file.
    pub fn and_program(mut self, znode: &str, command: &[&str]) -> Self {
        write!(self.0, "[[watch]]\nznode = \"{znode}\"\ncommand = {command:?}\n").expect("text");
        self
    }

    /// A key of the last watch. The value is TOML: text has its quotes.
    pub fn key(mut self, key: &str, value: impl Display) -> Self {
        writeln!(self.0, "{key} = {value}").expect("text");
        self
    }
}

impl AsRef<str> for WatchFile {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<String> for WatchFile {
    fn from(text: String) -> Self {
        Self(text)
    }
}
