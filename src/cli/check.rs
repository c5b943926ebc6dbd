//! `twitcher check`: reads watch files as the daemon would and says what is wrong with them, what is odd, and
//! what this host lacks. Talks to no daemon and to no ZooKeeper, and executes nothing.

mod host;
mod json;
mod odd;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::EXIT_CONFIGURATION;
use crate::cli::people::count;
use crate::config::changes::Catalog;
use crate::config::explain::explain;
use crate::config::folder::{self, Content, Folder, Found, Scan};
use crate::config::located;
use crate::config::parse::Placed;
use crate::config::problem::{Problem, Source, Warning};
use crate::config::settings::{Overrides, Settings};

/// Check watch files without running anything
///
/// Reads watch files as the daemon would and prints every problem with its place and its remedy. Warns of
/// what is taken and is odd, and of users, commands and folders that this host does not have, unless the watch
/// is not enabled.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  twitcher check
  twitcher check web.toml
  twitcher check --explain /etc/twitcher.d/git.toml
  twitcher check --json | jq -r '.problems[].message'

Exit status: 0 there is no problem, though there may be warnings; 3 there is one.")]
pub struct Args {
    /// Files or folders to check instead of the config folder
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Print each watch with every default filled in
    #[arg(long)]
    pub explain: bool,

    /// Print one JSON object: the watches, the problems and the warnings
    #[arg(long)]
    pub json: bool,

    /// The daemon's settings [default: /etc/twitcher/twitcher.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "TWITCHER_CONFIG")]
    pub config: Option<PathBuf>,

    /// The config folder
    #[arg(long, value_name = "DIR", env = "TWITCHER_CONFIG_PATH", alias = "config_path")]
    pub config_path: Option<PathBuf>,
}

/// What a check came to.
#[derive(Debug, Default)]
struct Outcome {
    files: usize,
    watches: Vec<(PathBuf, Placed)>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

/// Something to be said of a watch that is in order.
#[derive(Debug)]
struct Remark {
    /// The key that it is about, which need not be in the file.
    key: &'static str,
    message: String,
    help: &'static str,
}

impl Remark {
    fn new(key: &'static str, message: impl Into<String>, help: &'static str) -> Self {
        Self { key, message: message.into(), help }
    }
}

/// Checks what `args` name. Watches and the verdict go to `out`, problems and warnings to `err`, and as JSON all
/// of it to `out`. Returns the exit code.
///
/// # Errors
/// `out` or `err` cannot be written.
pub fn check(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let outcome = look(args);
    if args.json {
        json::write(&outcome, args.explain, out)?;
    } else {
        print(&outcome, args.explain, out, err)?;
    }
    Ok(if outcome.problems.is_empty() { 0 } else { EXIT_CONFIGURATION })
}

fn look(args: &Args) -> Outcome {
    let overrides = Overrides { config_dir: args.config_path.clone(), ..Overrides::default() };
    let settings = match Settings::load(args.config.as_deref(), overrides) {
        Ok(settings) => settings,
        Err(problems) => return Outcome { problems, ..Outcome::default() },
    };
    let euid = nix::unistd::geteuid().as_raw();
    let config_dir = settings.daemon.config_dir;
    let paths = if args.paths.is_empty() { std::slice::from_ref(&config_dir) } else { &args.paths };
    let scan = read(paths, &config_dir, euid);
    let texts = texts(&scan);
    let mut catalog = Catalog::new(settings.defaults);
    catalog.take_in(scan);
    let (_, problems) = catalog.settle();
    let watches: Vec<_> = catalog.all().map(|(path, placed)| (path.to_owned(), placed.clone())).collect();
    let warnings = warnings(&watches, &texts, euid);
    Outcome { files: catalog.file_count(), watches, problems, warnings }
}

/// The files that were read, as text.
fn texts(scan: &Scan) -> BTreeMap<PathBuf, String> {
    let text = |found: &Found| match &found.content {
        Content::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
        Content::Unchanged | Content::Unfinished | Content::Refused(_) => None,
    };
    scan.files.iter().filter_map(|found| Some((found.path.clone(), text(found)?))).collect()
}

fn warnings(watches: &[(PathBuf, Placed)], texts: &BTreeMap<PathBuf, String>, euid: u32) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for file in watches.chunk_by(|(one, _), (other, _)| one == other) {
        let path = &file[0].0;
        let text = texts.get(path).map_or("", String::as_str);
        let (source, values) = (Source::new(path, text), located::values(text));
        for (number, (_, placed)) in file.iter().enumerate().filter(|(_, (_, placed))| placed.spec.enabled) {
            for remark in odd::remarks(&placed.spec, euid).into_iter().chain(host::remarks(&placed.spec)) {
                let value = values.get(number).and_then(|keys| keys.get(remark.key));
                // A key that is left out, or comes from the defaults, has no place but that of its watch.
                let place = value.map_or_else(|| placed.place.clone(), |span| source.place(span.clone()));
                warnings.push(Warning(Problem::at(path, place, remark.message).with_help(remark.help)));
            }
        }
    }
    warnings
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

fn print(outcome: &Outcome, explains: bool, out: &mut dyn Write, err: &mut dyn Write) -> std::io::Result<()> {
    let Outcome { files, watches, problems, warnings } = outcome;
    if explains {
        let explained: Vec<String> = watches
            .iter()
            .map(|(path, placed)| format!("# {}\n{}", path.display(), explain(&placed.spec)))
            .collect();
        write!(out, "{}", explained.join("\n"))?;
    }
    for problem in problems {
        writeln!(err, "{problem}\n")?;
    }
    for warning in warnings {
        writeln!(err, "{warning}\n")?;
    }
    let warned = count(warnings.len(), "warning", "warnings");
    if problems.is_empty() {
        if explains {
            return Ok(());
        }
        let (watches, files) = (count(watches.len(), "watch", "watches"), count(*files, "file", "files"));
        let with = if warnings.is_empty() { String::new() } else { format!(", with {warned}") };
        return writeln!(out, "{watches} in {files}: ok{with}");
    }
    let places: BTreeSet<&PathBuf> = problems.iter().map(|problem| &problem.file).collect();
    let problems = count(problems.len(), "problem", "problems");
    let places = if places.len() == 1 { String::new() } else { format!(" in {} places", places.len()) };
    let and = if warnings.is_empty() { String::new() } else { format!(", {warned}") };
    writeln!(err, "{problems}{places}{and}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A config folder with these files, and the exit code, stdout and stderr of a check of `paths` in it.
    fn checked(files: &[(&str, &str)], paths: &[&str], explain: bool) -> (u8, String, String) {
        checked_as(files, paths, explain, false)
    }

    fn checked_as(files: &[(&str, &str)], paths: &[&str], explain: bool, json: bool) -> (u8, String, String) {
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
            json,
            config: Some(root.join("settings")),
            config_path: Some(config_dir),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(&args, &mut out, &mut err).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "");
        (code, text(out), text(err))
    }

    const GOOD: &str = "[[watch]]\nznode = '/a'\ncommand = 'true'\n";

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
command = "true"
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

    const ODD: &str = "\
[[watch]]
znode = '/a'
command = 'sudo no-such-command'
uid = 'no-such-user'
directory = '/no/such/folder'
output = '/no/such/file'
[[watch]]
znode = '/b'
script = '#!/no/such/interpreter'
enabled = false
[[watch]]
znode = '/c'
command = ['no-such-command']
gid = 'no-such-group'
[[watch]]
znode = '/d'
script = '#!/usr/bin/env no-such-command'
";

    #[test]
    fn what_is_odd_and_what_the_host_lacks_is_told_and_is_no_problem() {
        let (code, out, err) = checked(&[("a.toml", ODD)], &[], false);
        // Whether there is a sudo, and whether uid has an effect, depends on who tries this and where.
        let varies = ["no command sudo", "only if the daemon is root"];
        let said: Vec<&str> =
            err.split("\n\n").filter(|said| !varies.iter().any(|text| said.contains(text))).collect();
        assert_eq!(code, 0);
        assert!(out.starts_with("4 watches in 1 file: ok, with "), "{out}");
        let is_root = nix::unistd::geteuid().is_root();
        let path = if is_root { "/usr/local/sbin:/usr/local/bin:/usr/sbin" } else { "/usr/local/bin" };
        let path = format!("{path}:/usr/bin{}:/bin", if is_root { ":/sbin" } else { "" });
        snapbox::assert_data_eq!(
            said.join("\n\n").replace(&path, "PATH"),
            snapbox::str![[r#"
/twitcher.d/a.toml:3:11: warning: the command starts with sudo, which may ask for a password, and nobody answers
 3 | command = 'sudo no-such-command'
   |           ^^^^^^^^^^^^^^^^^^^^^^
help: leave sudo out: uid says as whom the command runs, and without it it is the daemon's user

/twitcher.d/a.toml:4:7: warning: no such user 'no-such-user' on this host
 4 | uid = 'no-such-user'
   |       ^^^^^^^^^^^^^^
help: make the user, or correct uid; a run would fail

/twitcher.d/a.toml:5:13: warning: there is no folder /no/such/folder on this host
 5 | directory = '/no/such/folder'
   |             ^^^^^^^^^^^^^^^^^
help: make it, or correct the path; a run would fail

/twitcher.d/a.toml:6:10: warning: there is no folder /no/such on this host
 6 | output = '/no/such/file'
   |          ^^^^^^^^^^^^^^^
help: make it, or correct the path; a run would fail

/twitcher.d/a.toml:14:7: warning: no such group 'no-such-group' on this host
 14 | gid = 'no-such-group'
    |       ^^^^^^^^^^^^^^^
help: make the group, or correct gid; a run would fail

/twitcher.d/a.toml:13:11: warning: there is no command no-such-command on this host, in PATH
 13 | command = ['no-such-command']
    |           ^^^^^^^^^^^^^^^^^^^
help: install it, or correct the name; a run would fail

/twitcher.d/a.toml:17:10: warning: there is no command no-such-command on this host, in PATH
 17 | script = '#!/usr/bin/env no-such-command'
    |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: install it, or correct the name; a run would fail


"#]]
        );
    }

    #[test]
    fn a_program_is_told_all_of_it_in_one_object() {
        let files = [("a.toml", GOOD), ("b.toml", "[[watch]]\nznode = 'a'\ncommand = 'x'\n")];
        let (code, out, err) = checked_as(&files, &[], false, true);
        assert_eq!((code, &*err), (3, ""));
        snapbox::assert_data_eq!(
            out,
            snapbox::str![[r#"
{
  "ok": false,
  "files": 2,
  "watches": [
    {
      "name": "a",
      "file": "/twitcher.d/a.toml",
      "line": 1
    }
  ],
  "problems": [
    {
      "file": "/twitcher.d/b.toml",
      "line": 2,
      "column": 9,
      "message": "a znode path must be absolute: start it with '/'",
      "help": null
    }
  ],
  "warnings": []
}

"#]]
        );
        let good = GOOD.replace("true", "no-such-command");
        let (code, out, _) = checked_as(&[("a.toml", &good)], &[], true, true);
        let all: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &all["ok"]), (0, &true.into()));
        assert_eq!(all["warnings"][0]["line"], 3);
        let watch = &all["watches"][0];
        assert_eq!((&watch["name"], &watch["definition"]["timeout"]), (&"a".into(), &"30s".into()));
    }

    #[test]
    fn settings_that_are_wrong_are_told_a_program_too() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("settings");
        fs::write(&config, "[zookeeper]\nservers = 3\n").unwrap();
        let args =
            Args { paths: vec![], explain: false, json: true, config: Some(config), config_path: None };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(check(&args, &mut out, &mut err).unwrap(), 3);
        let all: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&all["ok"], &all["problems"][0]["line"]), (&false.into(), &2.into()));
        assert!(err.is_empty());
    }
}
