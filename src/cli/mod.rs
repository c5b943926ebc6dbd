//! A file for each subcommand, and the parser that knows them all.

pub mod check;
pub mod daemon;
pub mod event_line;
pub mod events;
pub mod fire;
pub mod get;
pub mod history;
pub mod import;
pub mod ls;
pub mod people;
pub mod poke;
pub mod reload;
pub mod rm;
pub mod run;
pub mod set;
pub mod status;
pub mod steer;
pub mod table;
pub mod terminal;
pub mod zookeeper;

use clap::{Parser, Subcommand};

/// The exit code when something is wrong with the configuration.
pub const EXIT_CONFIGURATION: u8 = 3;

/// Runs a command on every host the moment a ZooKeeper znode changes
#[derive(Debug, Parser)]
#[command(name = "twitcher", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
// A sentence here would be the help of a subcommand, in place of the one that its arguments have.
#[allow(missing_docs)]
#[derive(Debug, Subcommand)]
pub enum Command {
    Run(run::RunArgs),
    Check(check::Args),
    Import(import::Args),
    Status(status::StatusArgs),
    History(history::HistoryArgs),
    Log(history::LogArgs),
    Events(events::EventsArgs),
    Fire(fire::FireArgs),
    /// Keep watches from running
    ///
    /// What goes on is not ended. An update that comes meanwhile is run when the watch is resumed. A pause ends with the
    /// daemon.
    #[command(after_help = steer::PAUSE)]
    Pause(steer::SteerArgs),
    /// Let watches run again that were paused, or that a failure has stopped
    #[command(after_help = steer::RESUME)]
    Resume(steer::SteerArgs),
    Kill(steer::KillArgs),
    Reload(reload::ReloadArgs),
    Poke(poke::PokeArgs),
    Get(get::GetArgs),
    Ls(ls::LsArgs),
    Set(set::SetArgs),
    Rm(rm::RmArgs),
    /// Mind children; started by the daemon, not by people
    #[command(hide = true)]
    Minder {
        /// The folder of the minders' sockets.
        folder: std::path::PathBuf,
    },
}
