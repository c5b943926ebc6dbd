//! The daemon's own settings: a flag beats an environment variable beats the file beats the default.
//!
//! Reads no watch file. What the flags and variables are called is the command line's business; here
//! they come as `Overrides`.

mod credentials;
mod file;
mod log;
mod servers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::credentials::{Credential, Secret};
use self::file::FileSettings;
pub use self::log::{LogFormat, LogTarget, log_filter};
use super::folder;
use super::problem::Problem;
use super::spec::GroupRef;
use super::watch_table::Defaults;

/// Where the settings are if nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/twitcher/twitcher.toml";

/// What the daemon goes by, every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[zookeeper]`.
    pub zookeeper: ZooKeeper,
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[control]`.
    pub control: Control,
    /// `[log]`.
    pub log: Log,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[defaults]`: what watches take that don't say otherwise.
    pub defaults: Defaults,
}

/// How the ensemble is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZooKeeper {
    /// `host[:port],…[/chroot]`, as ZooKeeper's own clients take it.
    pub servers: String,
    /// What is asked of the ensemble; it may grant another.
    pub session_timeout: Duration,
    /// The file that [`Credential::read`] reads; `None`: nobody in particular. Absolute.
    pub credentials: Option<PathBuf>,
    /// `None`: plain TCP.
    pub tls: Option<Tls>,
}

/// The files that TLS takes, all in PEM, by absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificates of those whose signature on a server's certificate is trusted.
    pub ca: PathBuf,
    /// The certificate that is shown to the servers, and its key; `None`: none is.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Folders and limits of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// The folder of watch files, absolute.
    pub config_dir: PathBuf,
    /// Where the ledger is kept, absolute.
    pub state_dir: PathBuf,
    /// Where the sockets are, absolute.
    pub run_dir: PathBuf,
    /// What this host is called in logs and towards ZooKeeper.
    pub hostname: String,
    /// How many children at once on this host; at least 1.
    pub max_running: usize,
    /// Whether a stop ends the children, rather than leave them to the minder.
    pub stop_children: bool,
}

/// Who may use the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The group whose members may, beside root and the daemon's user. Looked up when the daemon starts.
    pub group: Option<GroupRef>,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// To whom.
    pub target: LogTarget,
    /// What [`log_filter`] takes; mostly one word such as `info`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// Who else is told how the daemon does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where metrics are served over TCP, without a password; `None`: only at the control socket.
    pub listen: Option<SocketAddr>,
}

/// What flags and environment variables say. Relative paths are taken from the current directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--zkservers`, `TWITCHER_ZKSERVERS`.
    pub servers: Option<String>,
    /// `--config-path`, `TWITCHER_CONFIG_PATH`.
    pub config_dir: Option<PathBuf>,
    /// `--state-dir`, `TWITCHER_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `--run-dir`, `TWITCHER_RUN_DIR`.
    pub run_dir: Option<PathBuf>,
    /// The name to use for this host.
    pub hostname: Option<String>,
    /// `--log-to-stderr`, `--logfile`.
    pub log_target: Option<LogTarget>,
    /// `--verbose`, `--debug`, `TWITCHER_LOG`.
    pub log_level: Option<String>,
}

impl Settings {
    /// Reads the settings. `file` was asked for by name and must exist; `None` reads [`DEFAULT_FILE`],
    /// which may be absent. Blocking.
    ///
    /// # Errors
    /// All that is wrong with the file and with the overrides.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, Vec<Problem>> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        // They decide what runs as the daemon's user as much as a watch file does, so they are as safe.
        let bytes = match std::fs::exists(path) {
            Ok(false) if file.is_none() => Vec::new(),
            Ok(false) => return Err(vec![Problem::of_file(path, "there is no such file")]),
            _ => folder::read_file(path, nix::unistd::geteuid().as_raw()).map_err(|problem| vec![problem])?,
        };
        Self::parse(path, &bytes, overrides)
    }

    /// The settings from the bytes of a file called `path`. Asks the system for the host's name if
    /// nothing gives one, and for the current directory if an override is a relative path.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(path: &Path, bytes: &[u8], overrides: Overrides) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let file = FileSettings::parse(path, bytes).unwrap_or_else(|found| {
            problems.extend(found);
            FileSettings::default()
        });

        if let Some(servers) = &overrides.servers
            && let Err(why) = servers::check(servers)
        {
            problems
                .push(override_problem("--zkservers or TWITCHER_ZKSERVERS", &why).with_help(servers::FORM));
        }
        if let Some(level) = &overrides.log_level
            && let Err(why) = log_filter(level)
        {
            problems.push(override_problem("TWITCHER_LOG", &why).with_help(log::LEVELS));
        }
        let mut absolute = |given: Option<PathBuf>, what, from_file: Option<PathBuf>, default: &str| {
            let Some(path) = given else { return from_file.unwrap_or_else(|| default.into()) };
            std::path::absolute(&path).unwrap_or_else(|error| {
                problems.push(override_problem(what, &format!("{:?}: {error}", path.display())));
                path
            })
        };
        let daemon = Daemon {
            config_dir: absolute(overrides.config_dir, "--config-path", file.config_dir, "/etc/twitcher.d"),
            state_dir: absolute(overrides.state_dir, "--state-dir", file.state_dir, "/var/lib/twitcher"),
            run_dir: absolute(overrides.run_dir, "--run-dir", file.run_dir, "/run/twitcher"),
            hostname: overrides.hostname.or(file.hostname).unwrap_or_else(machine_name),
            max_running: file.max_running.unwrap_or(64),
            stop_children: file.stop_children.unwrap_or(false),
        };
        let log_target = match overrides.log_target {
            // A daemon that detaches changes its directory before it opens its log.
            Some(LogTarget::File(path)) => Some(LogTarget::File(absolute(Some(path), "--logfile", None, ""))),
            other => other,
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            zookeeper: ZooKeeper {
                servers: overrides.servers.or(file.servers).unwrap_or_else(|| "localhost:2181".into()),
                session_timeout: file.session_timeout.unwrap_or(Duration::from_secs(10)),
                credentials: file.credentials,
                tls: file.tls,
            },
            daemon,
            control: Control { group: file.control_group },
            log: Log {
                target: log_target.or(file.log_target).unwrap_or(LogTarget::Auto),
                level: overrides.log_level.or(file.log_level).unwrap_or_else(|| "info".into()),
                format: file.log_format.unwrap_or(LogFormat::Text),
            },
            metrics: Metrics { listen: file.metrics_listen },
            defaults: file.defaults,
        })
    }
}

fn override_problem(what: &str, why: &str) -> Problem {
    Problem::of_file(what, why)
}

/// What `gethostname(2)` says; a host without a name is `localhost`.
fn machine_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into())
}

#[cfg(test)]
mod tests;
