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
#[derive(Debug, Subcommand)]
pub enum Command {
    #[allow(missing_docs)]
    Run(run::RunArgs),
    #[allow(missing_docs)]
    Check(check::Args),
    #[allow(missing_docs)]
    Import(import::Args),
    #[allow(missing_docs)]
    Status(status::StatusArgs),
    #[allow(missing_docs)]
    History(history::HistoryArgs),
    #[allow(missing_docs)]
    Log(history::LogArgs),
    #[allow(missing_docs)]
    Events(events::EventsArgs),
    #[allow(missing_docs)]
    Fire(fire::FireArgs),
    #[allow(missing_docs)]
    Pause(steer::PauseArgs),
    #[allow(missing_docs)]
    Resume(steer::ResumeArgs),
    #[allow(missing_docs)]
    Kill(steer::KillArgs),
    #[allow(missing_docs)]
    Reload(reload::ReloadArgs),
    #[allow(missing_docs)]
    Poke(poke::PokeArgs),
    #[allow(missing_docs)]
    Get(get::GetArgs),
    #[allow(missing_docs)]
    Ls(ls::LsArgs),
    #[allow(missing_docs)]
    Set(set::SetArgs),
    #[allow(missing_docs)]
    Rm(rm::RmArgs),
    /// Mind children; started by the daemon, not by people
    #[command(hide = true)]
    Minder {
        /// The folder of the minders' sockets.
        folder: std::path::PathBuf,
    },
}
