//! The program: reads its arguments, calls the library, and turns what comes back into an exit code.

use std::io::{stderr, stdin, stdout};
use std::process::ExitCode;

use clap::Parser;
use twitcher::cli::zookeeper::{CommandError, DEFAULT_SERVERS, ZooKeeperArgs};
use twitcher::cli::{Cli, Command, check, get, poke, run};
use twitcher::minder;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args, &mut stdout().lock(), &mut stderr().lock()),
        Command::Poke(args) => {
            ask_zookeeper(poke::poke(&args, servers(&args.zookeeper), stdin().lock(), stdout().lock()))
        }
        Command::Get(args) => ask_zookeeper(get::get(&args, servers(&args.zookeeper), stdout().lock())),
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

fn servers(args: &ZooKeeperArgs) -> &str {
    args.zkservers.as_deref().unwrap_or(DEFAULT_SERVERS)
}

fn ask_zookeeper(asked: impl Future<Output = Result<(), CommandError>>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(asked)?;
    Ok(0)
}
