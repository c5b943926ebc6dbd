//! What the documents say is so: the README's blocks run, its tables are the program's, and ARCHITECTURE's
//! names exist.

mod watches;

use std::collections::BTreeSet;
use std::fs::{self};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::{CommandFactory, Parser};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use twitcher::cli::Cli;
use twitcher::config::keys;

use crate::harness::{Client, Daemon, Folder, WatchFile, files, shared_chroot, twitcher};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(SOURCE).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn readme() -> String {
    read("README.md")
}

/// The fenced blocks of a document that are marked as being in this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let starts = document.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts
        .map(|start| {
            let rest = &document[start..];
            rest[..rest.find("```").expect("the end of a block")].to_owned()
        })
        .collect()
}

/// What follows a heading, up to the next of its level.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = &document[start + 1..];
    let level = format!("\n{} ", heading.split(' ').next().expect("a heading"));
    &text[..text.find(&level).unwrap_or(text.len())]
}

/// The cells of the rows of the first table of a text, without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let table =
        text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    table.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is in backquotes.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[track_caller]
fn taken(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{what}\n{said}");
}

#[test]
fn every_toml_block_of_the_readme_is_one_that_the_program_takes() {
    let blocks = blocks(&readme(), "toml");
    let mut watches = 0;
    for block in &blocks {
        let folder = Folder::new();
        let file = folder.join("block.toml");
        files::write(&file, block);
        let mut command = twitcher();
        command.arg("check");
        if block.contains("[[watch]]") {
            watches += 1;
            command.arg(&file);
        } else {
            let no_watches = folder.join("watches");
            files::folder(&no_watches);
            command.arg("--config").arg(&file).arg(no_watches);
        }
        taken(&command.output().expect("the program"), block);
    }
    assert!(watches > 0 && watches < blocks.len());
}

/// What the README's shell blocks call besides twitcher. Here they do nothing.
const OTHERS: &[&str] = &[
    "apt-get",
    "make",
    "cargo",
    "install",
    "systemctl",
    "journalctl",
    "git",
    "generate",
    "start-stop-daemon",
];

#[test]
fn every_shell_block_of_the_readme_runs_as_it_stands() {
    let folder = Folder::new();
    let (bin, work, watches) = (folder.join("bin"), folder.join("work"), folder.join("watches"));
    for path in [&bin, &work, &watches] {
        files::folder(path);
    }
    let called = folder.join("called");
    for name in OTHERS {
        files::executable(&bin.join(name), "#!/bin/sh\n");
    }
    // What is called python3 may be a script that needs more than this.
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let python = String::from_utf8(python.expect("python3").stdout).expect("its path");
    symlink(python.trim(), bin.join("python3")).expect("a link");
    // Remembers what it was called with. All but the daemon is really run.
    let program = format!(
        "#!/bin/sh\nprintf '%s\\0' \"$@\" end >>'{}'\n[ \"$1\" = run ] || exec '{}' \"$@\"\n",
        called.display(),
        env!("CARGO_BIN_EXE_twitcher")
    );
    files::executable(&bin.join("twitcher"), &program);
    let watch = &blocks(section(&readme(), "## A first watch"), "toml")[0];
    files::write(&watches.join("git-pull.toml"), watch);
    files::write(&work.join("web.toml"), watch);
    fs::create_dir(work.join("old")).expect("a folder");
    files::write(&work.join("old/git.twc"), "RegisterWatch(znode='/git/head', action=Exec('true'))\n");
    files::write(&work.join("flags.json"), "{}");

    let zookeeper = shared_chroot("readme");
    let blocks = blocks(&readme(), "sh");
    assert!(blocks.len() > 3);
    let makefile = read("Makefile");
    for block in &blocks {
        assert!(!block.contains("> /"), "it would write to this machine: {block}");
        for path in block
            .split_whitespace()
            .filter(|word| ["etc/", "packaging/"].iter().any(|at| word.starts_with(at)))
        {
            assert!(Path::new(SOURCE).join(path).exists(), "no {path}");
        }
        for target in block.lines().filter_map(|line| line.strip_prefix("make ")?.split_whitespace().next()) {
            assert!(makefile.contains(&format!("\n{target}: ")), "no {target} in the Makefile");
        }
        let mut command = Command::new("/bin/sh");
        command
            .args(["-euc", &format!("umask 022\n{block}")])
            .current_dir(&work)
            .env_clear()
            .env("PATH", &bin);
        command.env("TWITCHER_ZKSERVERS", &zookeeper).env("TWITCHER_CONFIG_PATH", &watches);
        taken(&command.output().expect("a shell"), block);
    }
    let called = fs::read_to_string(&called).expect("calls");
    let calls: Vec<&str> = called.split("\0end\0").filter(|call| !call.is_empty()).collect();
    assert!(calls.len() > 5, "{calls:?}");
    for call in calls {
        let words = ["twitcher"].into_iter().chain(call.split('\0'));
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_schema_is_where_the_readme_says_however_it_was_installed() {
    let (readme, name) = (readme(), "etc/watch-file.schema.json");
    let (_, path) = readme.split_once("`#:schema ").expect("a first line");
    let (path, _) = path.split_once('`').expect("its end");
    let (folder, _) = path.rsplit_once('/').expect("a folder");
    assert!(readme.contains(&format!("\ninstall -m 644 {name} {folder}/\n")), "{path}");
    let cargo: toml::Table = toml::from_str(&read("Cargo.toml")).expect("TOML");
    let assets = cargo["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let asset = assets.iter().map(ToString::to_string).find(|asset| asset.contains(name)).expect(name);
    assert!(asset.contains(&format!("\"{}/\"", folder.trim_start_matches('/'))), "{path}");
    let spec = read("packaging/twitcher.spec");
    let installed = spec.lines().skip_while(|line| !line.contains(name)).nth(1).expect("where it goes");
    assert_eq!(installed.trim(), format!("-t %{{buildroot}}{}", folder.replace("/usr/share", "%{_datadir}")));
}

/// What is said first by something that does not end by itself; it is ended by a signal, as by Ctrl-C.
fn two_lines(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().take(2);
    let lines: Vec<String> = lines.map(|line| line.expect("text")).collect();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("a child");
    child.wait().expect("a child");
    lines.join("\n")
}

#[test]
fn the_readmes_requests_to_the_control_socket_do_what_it_says() {
    let (folder, zookeeper) = (Folder::new(), shared_chroot("readme-socket"));
    let client = Client::connect(&zookeeper);
    for znode in ["/good", "/bad"] {
        client.create(znode, "1");
    }
    let file = WatchFile::watch("/good", "true").key("name", "\"git-pull\"");
    let file = file.and("/bad", "exit 3").key("name", "\"bad\"");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("all.toml", file).start();
    daemon.wait_for_log("outcome=exited(0)");
    daemon.wait_for_log("outcome=exited(3)");
    let readme = readme();
    let blocks = blocks(section(&readme, "### The control socket"), "bash");
    let examples: Vec<String> =
        blocks.iter().flat_map(|block| block.split("\n\n").map(str::to_owned)).collect();
    assert!(examples.len() > 4, "{examples:?}");
    let socket = daemon.run_dir().join("control.sock").display().to_string();
    for example in &examples {
        assert!(example.contains("/run/twitcher/control.sock"), "{example}");
        let text = example.replace("/run/twitcher/control.sock", &socket);
        let mut command = Command::new("timeout");
        command.args(["30", "/bin/sh", "-euc", &text]);
        let said = if example.contains("/v1/events") {
            two_lines(&mut command)
        } else {
            let output = command.output().expect("a shell");
            taken(&output, example);
            String::from_utf8(output.stdout).expect("text")
        };
        let expected = [
            ("/v1/status", "bad\n"),
            ("/runs", "Z\t"),
            ("/fire?wait", "true\n"),
            ("/pause", "git-pull"),
            ("/v1/events", "\"kind\":\"exited\""),
            ("/readyz", ""),
        ];
        let (path, expected) =
            expected.iter().find(|(path, _)| example.contains(path)).expect("a known path");
        assert!(said.contains(expected), "{path}: {said:?} has no {expected:?}");
        assert!(!said.contains("git-pull") || *path != "/v1/status", "it has not failed: {said}");
    }
}

#[test]
fn the_readme_has_a_row_for_each_key_of_a_watch() {
    let readme = readme();
    let section = section(&readme, "## Watch files");
    let listed: Vec<&str> = rows(section).iter().map(|row| code(row[0])[0]).collect();
    assert_eq!(listed, keys::WATCH);
}

#[test]
fn each_value_that_the_readme_names_for_a_key_is_one_that_the_program_takes() {
    let readme = readme();
    let mut tried = 0;
    for row in rows(section(&readme, "## Watch files")) {
        let key = code(row[0])[0];
        if !["watch_type", "run_on_load", "run_mode", "on_delete", "on_failure"].contains(&key) {
            continue;
        }
        let named = row[1..].iter().flat_map(|cell| code(cell));
        for value in named.filter(|word| word.starts_with('"') || ["true", "false"].contains(word)) {
            // Of another key, which the row speaks of as well.
            if key != "run_mode" && value == "\"QUEUE\"" {
                continue;
            }
            let folder = Folder::new();
            let text = format!("[[watch]]\nznode = '/a'\ncommand = 'x'\n{key} = {value}\n");
            files::write(&folder.join("a.toml"), &text);
            taken(&twitcher().arg("check").arg(&*folder).output().expect("the program"), &text);
            tried += 1;
        }
    }
    assert!(tried > 11, "{tried}");
}

#[test]
fn the_readme_has_a_row_for_each_variable_of_a_command() {
    let readme = readme();
    let listed: BTreeSet<&str> =
        rows(section(&readme, "## What a command gets")).iter().map(|row| code(row[0])[0]).collect();
    let source = read("src/run/environment.rs");
    let set = source.split('"').filter(|word| word.starts_with("TWITCHER_")).collect();
    assert_eq!(listed, set);
}

#[test]
fn the_readmes_defaults_are_the_programs() {
    let folder = Folder::new();
    files::write(&folder.join("a.toml"), "[[watch]]\nznode = '/a'\ncommand = 'x'\n");
    let output = twitcher().args(["check", "--explain"]).arg(&*folder).output().expect("the program");
    let explained = String::from_utf8(output.stdout).expect("text");
    let readme = readme();
    let mut compared = 0;
    for row in rows(section(&readme, "## Watch files")) {
        let (key, default) = (code(row[0])[0], row[1]);
        let said = explained.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        if let (Some(said), [default]) = (said, &code(default)[..])
            && !["command", "script"].contains(&key)
        {
            assert_eq!(said, *default, "{key}");
            compared += 1;
        }
    }
    assert!(compared > 8, "{compared}");
}

/// The keys of the settings file under `etc`, with the table that each is in.
fn keys_of_settings() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in read("etc/twitcher/twitcher.toml").lines() {
        if line.starts_with('[') {
            table = line.to_owned();
        }
        let key = line.strip_prefix('#').and_then(|line| Some(line.trim_start().split_once(" = ")?.0));
        keys.extend(key.filter(|key| !key.contains(' ')).map(|key| (table.clone(), key.to_owned())));
    }
    keys
}

#[test]
fn the_settings_file_under_etc_and_the_readme_have_the_same_keys() {
    let readme = readme();
    let listed: Vec<(String, String)> = rows(section(&readme, "## The daemon's settings"))
        .iter()
        .map(|row| code(row[0]))
        .filter(|cell| cell[0] != "[defaults]")
        .map(|cell| (cell[0].to_owned(), cell[1].to_owned()))
        .collect();
    let (defaults, others): (Vec<_>, Vec<_>) =
        keys_of_settings().into_iter().partition(|(table, _)| table == "[defaults]");
    assert_eq!(listed, others);
    let defaults: BTreeSet<&str> = defaults.iter().map(|(_, key)| key.as_str()).collect();
    let known = keys::WATCH.iter().copied().filter(|key| !keys::WATCH_OWN.contains(key)).collect();
    assert_eq!(defaults, known);
}

#[test]
fn the_readme_has_a_row_for_each_subcommand() {
    let readme = readme();
    let listed: BTreeSet<String> = rows(section(&readme, "## The command line"))
        .iter()
        .map(|row| code(row[0])[0].split(' ').nth(1).expect("a subcommand").to_owned())
        .collect();
    let cli = Cli::command();
    let known =
        cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    assert_eq!(listed, known.map(|command| command.get_name().to_owned()).collect());
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let document = read(name);
        let anchors: Vec<String> = document
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| {
                line.trim_start_matches(['#', ' ']).to_lowercase().replace('\'', "").replace(' ', "-")
            })
            .collect();
        for (at, _) in document.match_indices("](") {
            let target = &document[at + 2..];
            let target = &target[..target.find(')').expect("the end of a link")];
            match target.strip_prefix('#') {
                Some(anchor) => assert!(anchors.iter().any(|known| known == anchor), "{name}: #{anchor}"),
                None if target.contains("://") => {}
                None => assert!(Path::new(SOURCE).join(target).exists(), "{name}: {target}"),
            }
        }
    }
}

/// Every Rust file below a folder of the source.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(SOURCE).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_tests_and_files_that_architecture_names_exist() {
    let document = read("ARCHITECTURE.md");
    let tests: String = ["src", "tests"].iter().flat_map(|folder| sources(folder)).map(read).collect();
    let (mut named, mut files) = (0, 0);
    // A fence is no code.
    for word in document.split("```").step_by(2).flat_map(code) {
        if word.ends_with(".rs") {
            let exists = ["", "src"].iter().any(|at| Path::new(SOURCE).join(at).join(word).exists());
            // Of a file within the folder that is spoken of, the name is enough.
            assert!(exists || sources("src").iter().any(|path| path.ends_with(word)), "no {word}");
            files += 1;
        } else if word.starts_with('p') && word.contains("_") && word.as_bytes()[1].is_ascii_digit() {
            // One is a program of its own, and has its name in a string.
            let is_there = [format!("fn {word}("), format!("\"{word}\"")].iter().any(|at| tests.contains(at));
            assert!(is_there, "no test {word}");
            named += 1;
        }
    }
    assert!(named > 15 && files > 20, "{named} tests, {files} files");
}

#[test]
fn no_import_points_forward() {
    for path in sources("src") {
        // So that what follows sees each of them.
        assert!(!read(&path).contains("crate::{"), "{} imports from several at once", path.display());
    }
    let order = ["config", "watch", "schedule", "run", "record", "control"];
    for (place, folder) in order.iter().enumerate() {
        for path in sources(&format!("src/{folder}")) {
            let text = read(&path);
            for later in order[place + 1..].iter().chain(&["cli", "daemon"]) {
                assert!(!text.contains(&format!("crate::{later}::")), "{} uses {later}", path.display());
            }
        }
    }
    let known = ["minder", "run::executable", "run::protocol", "schedule::order", "watch::update"];
    for path in sources("src/minder") {
        let text = read(&path);
        for used in text.split("crate::").skip(1) {
            let is_known =
                known.iter().any(|known| used.strip_prefix(known).is_some_and(|rest| rest.starts_with("::")));
            assert!(is_known, "{} uses {}", path.display(), used.lines().next().unwrap_or_default());
        }
        for foreign in ["tokio", "toml", "zookeeper_client"] {
            assert!(!text.contains(&format!("{foreign}::")), "{} uses {foreign}", path.display());
        }
    }
}

#[test]
fn unsafe_is_allowed_nowhere_but_in_the_minder() {
    let minder = Path::new(SOURCE).join("src/minder");
    for path in sources("src").iter().filter(|path| !path.starts_with(&minder)) {
        assert!(!read(path).contains("allow(unsafe_code)"), "{}", path.display());
    }
}
