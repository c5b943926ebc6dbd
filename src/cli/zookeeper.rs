//! What the subcommands that speak to ZooKeeper have in common: which servers, for how long, and how they
//! fail.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use super::EXIT_CONFIGURATION;
use crate::config::duration::{self, DurationError};
use crate::config::problem::Problem;
use crate::config::settings::{Overrides, Settings};
use crate::config::spec::{ZnodePath, ZnodePathError};
use crate::watch::ensemble::Ensemble;
use crate::watch::failure::Failure;

/// Which servers, and for how long they are tried.
#[derive(Debug, Clone, Args)]
pub struct ZooKeeperArgs {
    /// The ZooKeeper servers, with a chroot after the last one if there is one [default: the daemon's]
    ///
    /// Without --config they are reached over plain TCP and without credentials.
    #[arg(long, env = "TWITCHER_ZKSERVERS", value_name = "HOST:PORT,…[/CHROOT]")]
    pub zkservers: Option<String>,

    /// The daemon's settings, for its servers, credentials and certificates [default: /etc/twitcher/twitcher.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "TWITCHER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Give up after this long: a number of seconds, or as in '1m 30s'
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = time)]
    pub timeout: Duration,
}

impl ZooKeeperArgs {
    /// Where ZooKeeper is: as the arguments say, else as the daemon's settings do. Those are not looked at
    /// where servers are named and settings are not: their credentials are for their own servers.
    ///
    /// # Errors
    /// All that is wrong with the settings.
    pub fn ensemble(&self) -> Result<Ensemble, Vec<Problem>> {
        if let (Some(servers), None) = (&self.zkservers, &self.config) {
            return Ok(Ensemble::plain(servers));
        }
        let mut ensemble: Ensemble =
            Settings::load(self.config.as_deref(), Overrides::default())?.zookeeper.into();
        if let Some(servers) = &self.zkservers {
            ensemble.servers.clone_from(servers);
        }
        Ok(ensemble)
    }
}

/// Why a subcommand that speaks to ZooKeeper could not do what it is for.
#[derive(Debug, Error)]
pub enum CommandError {
    /// ZooKeeper could not be reached, refused, or has no such znode.
    #[error(transparent)]
    ZooKeeper(#[from] Failure),
    /// There is no such znode to write to.
    #[error("no znode {0}\nhelp: make it with 'twitcher poke --create {0}'")]
    NothingToPoke(ZnodePath),
    /// What was to be written could not be read.
    #[error("cannot read {from}: {source}")]
    Read {
        /// The file, or standard input.
        from: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was read could not be written.
    #[error("cannot write to standard output: {0}")]
    Write(std::io::Error),
}

impl CommandError {
    /// The program's exit status: 1 if the thing asked about is not so, 3 for credentials that cannot be
    /// used, 4 for ZooKeeper itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ZooKeeper(Failure::Files { .. }) => EXIT_CONFIGURATION,
            Self::ZooKeeper(failure) if failure.is_of_zookeeper() => 4,
            Self::ZooKeeper(_) | Self::NothingToPoke(_) | Self::Read { .. } | Self::Write(_) => 1,
        }
    }
}

/// A znode path on the command line.
///
/// # Errors
///
/// When ZooKeeper would refuse it.
pub fn znode(text: &str) -> Result<ZnodePath, ZnodePathError> {
    ZnodePath::try_from(text)
}

/// How long something may take: more than nothing, and at most a day, so that the clock can add it to now.
fn time(text: &str) -> Result<Duration, String> {
    match duration::from_text(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(time) if time <= Duration::from_secs(24 * 3600) => Ok(time),
        Ok(_) | Err(DurationError::TooLong) => Err("it must not be longer than a day".to_owned()),
        Err(DurationError::Form) => Err("write a number of seconds, or as in '1m 30s'".to_owned()),
        Err(error @ (DurationError::Negative | DurationError::NotFinite)) => Err(format!("it {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_of_seconds_or_has_units() {
        assert_eq!(time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "-1", "-1s", "nan", "inf", "1e300", "soon", "2d", "25h"] {
            assert!(time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_exit_status_says_whether_it_was_zookeeper() {
        let znode = ZnodePath::try_from("/git/head").unwrap();
        let missing = Failure::Missing { znode: znode.clone() };
        let denied = Failure::Denied { znode: znode.clone() };
        assert_eq!(CommandError::from(missing).exit_code(), 1);
        assert_eq!(CommandError::from(denied).exit_code(), 4);
        assert_eq!(CommandError::NothingToPoke(znode).exit_code(), 1);
    }
}
