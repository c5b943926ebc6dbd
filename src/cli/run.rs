//! `twitcher run`: the daemon, in the foreground or detached.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use nix::unistd::{Gid, Uid, getgroups};

use crate::cli::EXIT_CONFIGURATION;
use crate::config::problem::Problem;
use crate::config::settings::{DEFAULT_FILE, LogTarget, Overrides, Settings};
use crate::config::spec::GroupRef;
use crate::daemon::{self, Detached, PidFile, RunDir, StateDir};
use crate::record;
use crate::run::identity;

/// Run the daemon
///
/// Watches what the watch files say and runs their commands, until SIGTERM or SIGINT. SIGHUP reads the
/// watch files again at once, and opens a log file again. Runs that go on when the daemon stops are taken
/// over by its next start, unless the settings say stop_children.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twitcher run
  twitcher run --zkservers zk1:2181,zk2:2181,zk3:2181/prod --config-path ./watches --log-to-stderr -v

Exit status: 0 stopped as asked; 1 could not start; 3 the settings are wrong.")]
pub struct RunArgs {
    /// The daemon's settings [default: /etc/twitcher/twitcher.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "TWITCHER_CONFIG")]
    pub config: Option<PathBuf>,

    /// The folder of watch files [default: /etc/twitcher.d]
    #[arg(long, value_name = "DIR", env = "TWITCHER_CONFIG_PATH", alias = "config_path")]
    pub config_path: Option<PathBuf>,

    /// The ZooKeeper servers, with a chroot after the last one if there is one [default: localhost:2181]
    #[arg(long, value_name = "HOST:PORT,…[/CHROOT]", env = "TWITCHER_ZKSERVERS")]
    pub zkservers: Option<String>,

    /// Where the state is kept [default: /var/lib/twitcher]
    #[arg(long, value_name = "DIR", env = "TWITCHER_STATE_DIR", alias = "state_dir")]
    pub state_dir: Option<PathBuf>,

    /// Where the sockets are; no other daemon can have the same [default: /run/twitcher]
    #[arg(long, value_name = "DIR", env = "TWITCHER_RUN_DIR", alias = "run_dir")]
    pub run_dir: Option<PathBuf>,

    /// Log to stderr
    #[arg(long, alias = "log_to_stderr", conflicts_with = "logfile")]
    pub log_to_stderr: bool,

    /// Log to the end of this file
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,

    /// Write the process id to this file, which no other daemon can have then
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,

    /// Detach from the terminal; done when the daemon is up, or has said why it is not
    #[arg(long)]
    pub daemonize: bool,

    /// What it is that has been started to detach
    #[arg(long, hide = true, requires = "daemonize")]
    pub detached: bool,

    /// Log what is decided about each update too
    #[arg(short, long)]
    pub verbose: bool,

    /// Log everything
    #[arg(short, long)]
    pub debug: bool,

    /// What is logged: a level, or a filter such as info,twitcher::watch=debug
    #[arg(long, value_name = "FILTER", env = "TWITCHER_LOG")]
    pub log: Option<String>,
}

/// Runs the daemon to its end. Returns the exit code.
///
/// # Errors
/// When it cannot start.
pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    if args.daemonize && !args.detached {
        return daemon::start_detached("--detached").context("the daemon is not up");
    }
    let detached = args.detached.then(Detached::new).transpose().context("cannot detach")?;
    let settings = match Settings::load(args.config.as_deref(), overrides(args)) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return Ok(EXIT_CONFIGURATION);
        }
    };
    // Relative paths are absolute by now; a pid file is made before this process can be somewhere else.
    let mut pidfile = args.pidfile.as_deref().map(PidFile::take).transpose()?;
    let group = match settings.control.group.as_ref().map(control_group).transpose() {
        Ok(group) => group,
        Err((why, help)) => {
            let file = args.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
            eprintln!("{}", Problem::of_file(file, format!("[control] group: {why}")).with_help(help));
            return Ok(EXIT_CONFIGURATION);
        }
    };
    let log = record::log::open(&settings.log, args.detached)?;
    let held = (RunDir::take(&settings.daemon.run_dir)?, StateDir::take(&settings.daemon.state_dir)?);
    std::env::set_current_dir("/")?;
    if let Some(pidfile) = &mut pidfile {
        pidfile.write()?;
    }
    let logging = log.start()?;
    // One thread serves as well as many, since no piece of the daemon computes anything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let up = || {
        if let Some(Err(error)) = detached.map(Detached::is_up) {
            tracing::warn!("cannot leave stderr: {error}");
        }
    };
    let ran = runtime.block_on(daemon::run(settings, held, group, &logging, up));
    // Whoever is still being looked up in a directory that does not answer is not waited for.
    runtime.shutdown_background();
    // Before the last that there is to say.
    drop(pidfile);
    if let Err(error) = ran {
        // Who started it sees it on stderr; who looks for it later, in the log.
        if !logging.is_stderr {
            tracing::error!("{error}");
        }
        return Err(error.into());
    }
    Ok(0)
}

/// The group that the socket is to be given to; or why it cannot be, and what would be right.
fn control_group(group: &GroupRef) -> Result<Gid, (String, &'static str)> {
    let gid = identity::group(group)
        .map_err(|why| (why.to_string(), "make it, as with groupadd --system, or name another"))?;
    // chown(2): who is not root can give a file to a group of its own only.
    let is_own = || gid == Gid::effective() || getgroups().is_ok_and(|groups| groups.contains(&gid));
    if Uid::effective().is_root() || is_own() {
        return Ok(gid);
    }
    Err((format!("the daemon's user is not in group {gid}"), "add the user to it, or name another"))
}

fn overrides(args: &RunArgs) -> Overrides {
    let level = if args.debug {
        Some("trace".to_owned())
    } else if args.verbose {
        Some("debug".to_owned())
    } else {
        args.log.clone()
    };
    let log_target = match (&args.logfile, args.log_to_stderr) {
        (Some(path), _) => Some(LogTarget::File(path.clone())),
        (None, true) => Some(LogTarget::Stderr),
        (None, false) => None,
    };
    Overrides {
        servers: args.zkservers.clone(),
        config_dir: args.config_path.clone(),
        state_dir: args.state_dir.clone(),
        run_dir: args.run_dir.clone(),
        hostname: None,
        log_target,
        log_level: level,
    }
}
