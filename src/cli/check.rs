//! `twitcher check`: reads watch files as the daemon would and says what is wrong with them. Talks to no
//! daemon and to no ZooKeeper.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::EXIT_CONFIGURATION;
use crate::config::changes::Catalog;
use crate::config::explain::explain;
use crate::config::folder::{self, Content, Folder, Found, Scan};
use crate::config::problem::Problem;
use crate::config::settings::{Overrides, Settings};

/// Check watch files without running anything
///
/// Reads watch files as the daemon would and prints every problem with its place and its remedy. Exits
/// with 0 if there is none and with 3 otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twitcher check
  twitcher check web.toml
  twitcher check --explain /etc/twitcher.d/git.toml")]
pub struct Args {
    /// Files or folders to check instead of the config folder
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Print each watch with every default filled in
    #[arg(long)]
    pub explain: bool,

    /// The daemon's settings [default: /etc/twitcher/twitcher.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "TWITCHER_CONFIG")]
    pub config: Option<PathBuf>,

    /// The config folder
    #[arg(long, value_name = "DIR", env = "TWITCHER_CONFIG_PATH", alias = "config_path")]
    pub config_path: Option<PathBuf>,
}

/// Checks what `args` name. Watches and the verdict go to `out`, problems to `err`. Returns the exit code.
///
/// # Errors
/// `out` or `err` cannot be written.
pub fn check(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let overrides = Overrides { config_dir: args.config_path.clone(), ..Overrides::default() };
    let settings = match Settings::load(args.config.as_deref(), overrides) {
        Ok(settings) => settings,
        Err(problems) => {
            print_problems(&problems, err)?;
            return Ok(EXIT_CONFIGURATION);
        }
    };
    let config_dir = settings.daemon.config_dir;
    let paths = if args.paths.is_empty() { std::slice::from_ref(&config_dir) } else { &args.paths };
    let mut catalog = Catalog::new(settings.defaults);
    catalog.take_in(read(paths, &config_dir, nix::unistd::geteuid().as_raw()));
    let (_, problems) = catalog.settle();

    if args.explain {
        let explained: Vec<String> =
            catalog.all().map(|(path, spec)| format!("# {}\n{}", path.display(), explain(spec))).collect();
        write!(out, "{}", explained.join("\n"))?;
    }
    if !problems.is_empty() {
        print_problems(&problems, err)?;
        return Ok(EXIT_CONFIGURATION);
    }
    if !args.explain {
        let watches = counted(catalog.all().count(), "watch", "watches");
        let files = counted(catalog.file_count(), "file", "files");
        writeln!(out, "{watches} in {files}: ok")?;
    }
    Ok(0)
}

/// All of `paths` as if they were of one folder, so that names are unique over all of them.
fn read(paths: &[PathBuf], config_dir: &Path, euid: u32) -> Scan {
    let mut all = Scan::default();
    for path in paths {
        if path.is_dir() || path == config_dir {
            let scan = Folder::new(path.clone(), euid).scan();
            all.files.extend(scan.files);
            all.problems.extend(scan.problems);
        } else {
            let content = match folder::read_file(path, euid) {
                Ok(bytes) => Content::Bytes(bytes),
                Err(problem) => Content::Refused(problem),
            };
            all.files.push(Found { path: path.clone(), below: below(path, config_dir), content });
        }
    }
    all
}

/// What the name of a watch in the file is made of: the path below the config folder if it is there.
fn below(path: &Path, config_dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match absolute.strip_prefix(config_dir) {
        Ok(below) => below.to_owned(),
        Err(_) => path.file_name().unwrap_or(path.as_os_str()).into(),
    }
}

fn print_problems(problems: &[Problem], err: &mut dyn Write) -> std::io::Result<()> {
    for problem in problems {
        writeln!(err, "{problem}\n")?;
    }
    let files: BTreeSet<&PathBuf> = problems.iter().map(|problem| &problem.file).collect();
    let count = counted(problems.len(), "problem", "problems");
    match files.len() {
        1 => writeln!(err, "{count}"),
        several => writeln!(err, "{count} in {several} places"),
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A config folder with these files, and the exit code, stdout and stderr of a check of `paths` in it.
    fn checked(files: &[(&str, &str)], paths: &[&str], explain: bool) -> (u8, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("settings"), "[defaults]\ntimeout = 30\n").unwrap();
        let config_dir = root.join("twitcher.d");
        for (name, text) in files {
            let path = config_dir.join(name);
            let parent = path.parent().unwrap();
            fs::create_dir_all(parent).unwrap();
            fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let args = Args {
            paths: paths.iter().map(|path| config_dir.join(path)).collect(),
            explain,
            config: Some(root.join("settings")),
            config_path: Some(config_dir),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(&args, &mut out, &mut err).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "");
        (code, text(out), text(err))
    }

    const GOOD: &str = "[[watch]]\nznode = '/a'\ncommand = 'x'\n";

    #[test]
    fn when_all_is_well_a_line_says_so() {
        let two = format!("{GOOD}{GOOD}enabled = false\n");
        let (code, out, err) = checked(&[("a.toml", GOOD), ("sub/b.toml", &two)], &[], false);
        assert_eq!((code, &*out, &*err), (0, "3 watches in 2 files: ok\n", ""));
    }

    #[test]
    fn problems_are_printed_and_lead_to_exit_code_3() {
        let files = [("a.toml", "[[watch]]\nznode = 'a'\ncommand = 'x'\ntimout = 5\n"), ("b.toml", GOOD)];
        let (code, out, err) = checked(&files, &[], false);
        assert_eq!((code, &*out), (3, ""));
        snapbox::assert_data_eq!(
            err,
            snapbox::str![[r#"
/twitcher.d/a.toml:2:9: error: a znode path must be absolute: start it with '/'
 2 | znode = 'a'
   |         ^^^

/twitcher.d/a.toml:4:1: error: unknown key "timout" in [[watch]]
 4 | timout = 5
   | ^^^^^^
help: did you mean "timeout"?

2 problems

"#]]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let (code, _, err) = checked(&[("a.toml", GOOD)], &["a.toml", "c.toml"], false);
        assert_eq!(code, 3);
        assert_eq!(
            err,
            "/twitcher.d/c.toml: error: cannot be read: No such file or directory (os error 2)\n\n1 problem\n"
        );
    }

    #[test]
    fn a_config_folder_that_is_not_there_is_a_problem() {
        let (code, _, err) = checked(&[], &[], false);
        assert_eq!(code, 3);
        assert!(
            err.starts_with("/twitcher.d: error: the config folder does not exist\nhelp: mkdir"),
            "{err}"
        );
    }

    #[test]
    fn a_file_that_is_named_is_called_as_the_daemon_would_call_it() {
        let (code, out, _) = checked(&[("web/a.toml", GOOD)], &["web/a.toml"], true);
        assert_eq!(code, 0);
        snapbox::assert_data_eq!(
            out,
            snapbox::str![[r##"
# /twitcher.d/web/a.toml
[[watch]]
name = "web.a"
description = "web.a"
znode = "/a"
watch_type = "data"
command = "x"
pipe_stdin = true
run_on_load = true
run_mode = "QUEUE"
timeout = "30s"
kill_after = "5s"
directory = "/"
umask = "022"
env = {}
output = "log"
on_delete = "ignore"
settle = "0s"
splay = "0s"
min_interval = "0s"
retries = 0
retry_delay = "1s"
retry_max_delay = "1m"
on_failure = "keep"
enabled = true

"##]]
        );
    }
}
