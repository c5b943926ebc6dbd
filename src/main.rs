//! The program: reads its arguments, calls the library, and turns what comes back into an exit code.

use std::io::{self, stderr, stdin, stdout};
use std::process::ExitCode;

use clap::Parser;
use twitcher::cli::daemon::AskError;
use twitcher::cli::zookeeper::CommandError;
use twitcher::cli::{
    Cli, Command, EXIT_CONFIGURATION, check, events, fire, get, history, import, ls, poke, reload, rm, run,
    set, status, steer,
};
use twitcher::config::problem::Problem;
use twitcher::minder;
use twitcher::watch::ensemble::Ensemble;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args, &mut stdout().lock(), &mut stderr().lock()),
        Command::Import(args) => import::import(&args, &mut stdout().lock(), &mut stderr().lock()),
        Command::Status(args) => ask_daemon(status::status(&args, stdout().lock())),
        Command::History(args) => ask_daemon(history::history(&args, stdout().lock())),
        Command::Log(args) => ask_daemon(history::log(&args, stdout().lock())),
        Command::Events(args) => ask_daemon(events::events(&args, stdout().lock())),
        Command::Fire(args) => ask_daemon(fire::fire(&args, stdout().lock())),
        Command::Pause(args) => ask_daemon(steer::pause(&args, stdout().lock())),
        Command::Resume(args) => ask_daemon(steer::resume(&args, stdout().lock())),
        Command::Kill(args) => ask_daemon(steer::kill(&args, stdout().lock())),
        Command::Reload(args) => ask_daemon(reload::reload(&args, stdout().lock())),
        Command::Poke(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            poke::poke(&args, ensemble, stdin().lock(), stdout().lock()).await
        }),
        Command::Get(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            get::get(&args, ensemble, stdout().lock()).await
        }),
        Command::Ls(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            ls::ls(&args, ensemble, stdout().lock()).await
        }),
        Command::Set(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            set::set(&args, ensemble, stdin().lock(), stdout().lock()).await
        }),
        Command::Rm(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            rm::rm(&args, ensemble).await
        }),
        Command::Minder { folder } => minder::run(&folder).map(|()| 0).map_err(Into::into),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            let of_daemon = error.downcast_ref::<AskError>();
            match of_daemon {
                _ if is_broken_pipe(&error) => {}
                // Says all of it itself.
                Some(error) => eprintln!("twitcher: {error}"),
                None => eprintln!("twitcher: {error:#}"),
            }
            let of_zookeeper = error.downcast_ref().map(CommandError::exit_code);
            of_zookeeper.or(of_daemon.map(AskError::exit_code)).unwrap_or(1).into()
        }
    }
}

/// Whether whoever reads has heard enough, as `head` has. Not so where it is ZooKeeper or the daemon who is gone.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let output = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(error), _) => return AskError::is_broken_pipe(error),
        (None, Some(CommandError::Write(error))) => Some(error),
        (None, Some(_)) => None,
        (None, None) => error.downcast_ref::<io::Error>(),
    };
    output.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn ask_zookeeper(
    ensemble: Result<Ensemble, Vec<Problem>>,
    ask: impl AsyncFnOnce(&Ensemble) -> Result<(), CommandError>,
) -> anyhow::Result<u8> {
    let ensemble = match ensemble {
        Ok(ensemble) => ensemble,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return Ok(EXIT_CONFIGURATION);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&ensemble))?;
    Ok(0)
}

fn ask_daemon(ask: impl Future<Output = Result<u8, AskError>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(ask)?)
}
