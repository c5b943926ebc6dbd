//! The program: reads its arguments, calls the library, and turns what comes back into an exit code.

use std::io::{stderr, stdin, stdout};
use std::process::ExitCode;

use clap::Parser;
use twitcher::cli::zookeeper::CommandError;
use twitcher::cli::{Cli, Command, EXIT_CONFIGURATION, check, get, import, poke, run};
use twitcher::config::problem::Problem;
use twitcher::minder;
use twitcher::watch::ensemble::Ensemble;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args, &mut stdout().lock(), &mut stderr().lock()),
        Command::Import(args) => import::import(&args, &mut stdout().lock(), &mut stderr().lock()),
        Command::Poke(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            poke::poke(&args, ensemble, stdin().lock(), stdout().lock()).await
        }),
        Command::Get(args) => ask_zookeeper(args.zookeeper.ensemble(), async |ensemble: &Ensemble| {
            get::get(&args, ensemble, stdout().lock()).await
        }),
        Command::Minder { folder } => minder::run(&folder).map(|()| 0).map_err(Into::into),
    };
    match done {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("twitcher: {error:#}");
            let code = error.downcast_ref().map_or(1, CommandError::exit_code);
            code.into()
        }
    }
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
