//! What the subcommands have in common that ask the daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::settings::{Overrides, RUN_DIR, Settings};
use crate::config::spec::{NameError, WatchName};
use crate::control::client::{Client, ClientError};

/// Which daemon.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// Where the daemon's sockets are [default: as TWITCHER_RUN_DIR or the daemon's settings say, else /run/twitcher]
    // The variables are read below: what clap itself takes from the environment it shows in each usage as if it had to be
    // there.
    #[arg(long, value_name = "DIR", global = true)]
    pub run_dir: Option<PathBuf>,

    /// The daemon's settings, for their run_dir [default: as TWITCHER_CONFIG says, else /etc/twitcher/twitcher.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl DaemonArgs {
    /// What is at its socket. Settings that this user may not read, or that are wrong, are no reason not to ask where a
    /// daemon usually is.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_by(variable)
    }

    fn client_by(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Client {
        if let Some(run_dir) = self.run_dir.clone().or_else(|| variable("TWITCHER_RUN_DIR")) {
            return Client::new(&run_dir);
        }
        let config = self.config.clone().or_else(|| variable("TWITCHER_CONFIG"));
        match Settings::load(config.as_deref(), Overrides::default()) {
            Ok(settings) => Client::new(&settings.daemon.run_dir),
            Err(problems) => {
                let why =
                    problems.first().map(|problem| format!("{}: {}", problem.location(), problem.message));
                Client::new(Path::new(RUN_DIR)).guessed(why.unwrap_or_default())
            }
        }
    }
}

/// The value of an environment variable that is not empty.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Why a subcommand that asks the daemon came to no good end.
#[derive(Debug, Error)]
pub enum AskError {
    /// The daemon was not asked, or did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it said could not be written.
    #[error("cannot write to standard output: {0}")]
    Write(#[from] io::Error),
    /// What it said could not be made JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl AskError {
    /// The program's exit status: 6 no daemon, 5 one that does not answer, 1 all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Write(_) | Self::Json(_) => 1,
        }
    }

    /// Whether whoever reads has heard enough, as `head` has.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        let kind = match self {
            Self::Write(error) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            Self::Client(_) => None,
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }
}

/// What the daemon has answered about one of several watches, for programs: a line of JSON that names it.
///
/// # Errors
///
/// When it cannot be written.
pub fn line_of(watch: &WatchName, answer: &impl Serialize, out: &mut impl Write) -> Result<(), AskError> {
    let mut answer = serde_json::to_value(answer)?;
    answer["watch"] = Value::from(watch.as_str());
    Ok(writeln!(out, "{answer}")?)
}

/// Asks about each of several watches, one after the other. What is refused of one keeps none of the others from being
/// asked. Returns the first exit code that is not 0.
///
/// # Errors
///
/// When there is no daemon, or no longer, or what it says cannot be written.
pub async fn each(
    watches: &[WatchName],
    mut ask: impl AsyncFnMut(&WatchName) -> Result<u8, AskError>,
) -> Result<u8, AskError> {
    let mut first = 0;
    for name in watches {
        let code = match ask(name).await {
            Ok(code) => code,
            Err(error @ AskError::Client(ClientError::Refused(_))) => {
                eprintln!("twitcher: {error}");
                error.exit_code()
            }
            Err(error) => return Err(error),
        };
        if first == 0 {
            first = code;
        }
    }
    Ok(first)
}

/// The name of a watch on the command line.
///
/// # Errors
///
/// When there can be no such watch.
pub fn watch_name(text: &str) -> Result<WatchName, NameError> {
    WatchName::try_from(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_flag_beats_the_variable_and_that_the_settings_which_need_not_be_readable() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            path
        };
        let good = write("good.toml", "[daemon]\nrun_dir = \"/from/settings\"\n");
        let broken = write("broken.toml", "[daemon]\nrun_dir = 5\n");
        let at = |run_dir: Option<&str>, config: Option<&PathBuf>, variables: &[(&str, &str)]| {
            let args = DaemonArgs { run_dir: run_dir.map(PathBuf::from), config: config.cloned() };
            args.client_by(|name| Some(variables.iter().find(|(key, _)| *key == name)?.1.into()))
        };
        let client = |run_dir: &str| Client::new(Path::new(run_dir));
        let both = [("TWITCHER_RUN_DIR", "/from/variable"), ("TWITCHER_CONFIG", "/no/such/file")];
        assert_eq!(at(Some("/from/flag"), Some(&good), &both), client("/from/flag"));
        assert_eq!(at(None, Some(&good), &both), client("/from/variable"));
        assert_eq!(at(None, Some(&good), &both[1..]), client("/from/settings"));
        assert_eq!(at(None, None, &[("TWITCHER_CONFIG", good.to_str().unwrap())]), client("/from/settings"));
        let why = format!("{}:2:11: run_dir must be a text in quotes, not a whole number", broken.display());
        assert_eq!(at(None, Some(&broken), &[]), client(RUN_DIR).guessed(why));
        assert_eq!(
            at(None, None, &both[1..]),
            client(RUN_DIR).guessed("/no/such/file: there is no such file".into())
        );
    }

    #[test]
    fn who_finds_no_daemon_where_there_may_be_another_is_told_so() {
        let client = Client::new(Path::new("/no/such/folder")).guessed("/a.toml: it is wrong".into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(client.bytes("GET", "/livez")).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        snapbox::assert_data_eq!(
            error.to_string(),
            snapbox::str![[r#"
no daemon at /no/such/folder/control.sock: No such file or directory (os error 2)
help: its settings were not read (/a.toml: it is wrong): if their run_dir is another, name it with --run-dir
"#]]
        );
    }
}
