//! `twitcher poke`: writes to a znode, so that all who watch it run. What a post-commit hook calls.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::zookeeper::{CommandError, ZooKeeperArgs, znode};
use crate::config::spec::ZnodePath;
use crate::watch::client::{Client, MOST_CONTENTS};
use crate::watch::ensemble::Ensemble;
use crate::watch::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  twitcher poke /git/head             the time and the host
  twitcher poke --create /git/head    and make it if missing
  twitcher poke /git/head --data \"$(git rev-parse HEAD)\"
  twitcher poke /app/config --file config.json
  generate | twitcher poke /app/config -

Writing what is there already counts as an update as well. Says nothing when all is well, since a hook's output goes \
to whoever pushes.

Exit status: 0 done; 1 there is no such znode, or what was to be written could not be read or is too long; 3 the \
settings are wrong; 4 ZooKeeper could not be reached or refused.";

/// Write to a znode, so that everyone who watches it runs
///
/// Without --data, --file or '-', what is written is the time and this host's name.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct PokeArgs {
    /// The znode, an absolute path
    #[arg(value_name = "ZNODE", value_parser = znode)]
    pub znode: ZnodePath,

    /// Write what comes on standard input, to its end
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["data", "file"])]
    pub stdin: Option<String>,

    /// Write this text as it stands
    #[arg(long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    pub data: Option<String>,

    /// Write what is in this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Make the znode if it is missing, and what is missing above it: persistent, and open to everyone
    #[arg(long)]
    pub create: bool,

    /// Say what was written
    #[arg(short, long)]
    pub verbose: bool,

    /// Which ZooKeeper.
    #[command(flatten)]
    pub zookeeper: ZooKeeperArgs,
}

/// Writes to the znode in `ensemble`; nothing is sent before all that is to be written was read.
///
/// # Errors
///
/// When there is nothing to write to, or from; when it is too long; when ZooKeeper cannot be reached.
pub async fn poke(
    args: &PokeArgs,
    ensemble: &Ensemble,
    stdin: impl Read,
    mut out: impl Write,
) -> Result<(), CommandError> {
    let contents = contents(args, stdin)?;
    if contents.len() > MOST_CONTENTS {
        let length = contents.len();
        return Err(Failure::TooLong { znode: args.znode.clone(), length }.into());
    }
    let client = Client::connect(ensemble, args.zookeeper.timeout).await?;
    let written = if args.create {
        client.set_or_create(&args.znode, &contents).await
    } else {
        client.set(&args.znode, &contents).await
    };
    client.close().await;
    let version = written.map_err(|failure| match failure {
        Failure::Missing { znode } if !args.create => CommandError::NothingToPoke(znode),
        other => other.into(),
    })?;
    if args.verbose {
        writeln!(
            out,
            "{}: wrote {} bytes, version {}, mzxid {:#x}",
            args.znode,
            contents.len(),
            version.version,
            version.mzxid
        )
        .map_err(CommandError::Write)?;
    }
    Ok(())
}

fn contents(args: &PokeArgs, stdin: impl Read) -> Result<Vec<u8>, CommandError> {
    match (&args.data, &args.file, &args.stdin) {
        (Some(text), _, _) => Ok(text.clone().into_bytes()),
        (None, Some(path), _) => {
            let from = path.display().to_string();
            match File::open(path) {
                Ok(file) => read(file, from),
                Err(source) => Err(CommandError::Read { from, source }),
            }
        }
        (None, None, Some(_)) => read(stdin, "standard input".to_owned()),
        (None, None, None) => Ok(time_and_host(Timestamp::now(), &host()).into_bytes()),
    }
}

/// Reads no more than it takes to see that it is too long.
fn read(from: impl Read, name: String) -> Result<Vec<u8>, CommandError> {
    let mut contents = Vec::new();
    match from.take(MOST_CONTENTS as u64 + 1).read_to_end(&mut contents) {
        Ok(_) => Ok(contents),
        Err(source) => Err(CommandError::Read { from: name, source }),
    }
}

fn time_and_host(now: Timestamp, host: &str) -> String {
    format!("{now:.3} {host}\n")
}

fn host() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => "localhost".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<PokeArgs, clap::Error> {
        let command = PokeArgs::augment_args(Command::new("poke"));
        command.try_get_matches_from(line.split(' ')).and_then(|found| PokeArgs::from_arg_matches(&found))
    }

    #[test]
    fn a_poke_without_contents_says_when_and_where() {
        let now = "2024-05-01T12:30:00.123456789Z".parse().unwrap();
        assert_eq!(time_and_host(now, "web1"), "2024-05-01T12:30:00.123Z web1\n");
    }

    #[test]
    fn contents_come_from_the_text_the_file_or_standard_input() {
        let stdin = || &b"from stdin"[..];
        let of = |line: &str| contents(&parse(line).unwrap(), stdin());
        assert_eq!(of("poke /a --data -x=1").unwrap(), b"-x=1");
        assert_eq!(of("poke /a -").unwrap(), b"from stdin");
        assert!(of("poke /a").unwrap().ends_with(b"\n"));
        assert_eq!(
            of("poke /a --file /no/such/file").unwrap_err().to_string(),
            "cannot read /no/such/file: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn contents_come_from_one_place_only() {
        for line in ["poke /a - --data x", "poke /a - --file x", "poke /a --data x --file x", "poke /a x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_endless_input_is_read_no_further_than_to_see_that_it_is_too_long() {
        assert_eq!(read(std::io::repeat(0), String::new()).unwrap().len(), MOST_CONTENTS + 1);
    }

    #[test]
    fn a_znode_that_is_none_is_a_usage_error() {
        assert!(parse("poke git/head").unwrap_err().to_string().contains("must be absolute"));
    }
}
