//! From an order to what the minder needs to carry it out. Pure.

use crate::config::spec::{Command, Output};
use crate::run::environment::environment;
use crate::run::identity::Account;
use crate::run::protocol::{About, OutputTo, Start};
use crate::schedule::order::Run;

impl Run {
    /// What the daemon wants to be reminded of when it hears of the run.
    #[must_use]
    pub fn about(&self) -> About {
        About {
            watch: self.spec.name.to_string(),
            znode: self.spec.znode.to_string(),
            event: self.update.event,
            version: self.update.version,
            attempt: self.attempt,
        }
    }

    /// All that the minder needs to run it as `account`. `lang` is the daemon's `LANG`.
    #[must_use]
    pub fn start(&self, account: Account, lang: Option<&str>) -> Start {
        let spec = &self.spec;
        Start {
            run: self.id,
            about: self.about(),
            script: match &spec.command {
                Command::Script(script) => Some(script.text().to_owned()),
                Command::Shell(_) | Command::Argv(_) => None,
            },
            argv: match &spec.command {
                Command::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
                Command::Argv(argv) => argv.clone(),
                Command::Script(script) => {
                    let (interpreter, argument) = script.interpreter();
                    [interpreter].into_iter().chain(argument).map(str::to_owned).collect()
                }
            },
            env: environment(&account, lang, spec, &self.update, self.id, self.attempt),
            directory: spec.directory.clone(),
            umask: spec.umask.bits(),
            identity: account.identity,
            stdin: spec.pipe_stdin,
            output: match &spec.output {
                Output::Log => OutputTo::Report,
                Output::Null => OutputTo::Null,
                Output::Append(path) => OutputTo::Append(path.clone()),
            },
            timeout_ms: spec.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            kill_after_ms: u64::try_from(spec.kill_after.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
