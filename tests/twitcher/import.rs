//! `import`: watch files of the twitcher of the 2010s, as watch files of this one. What each of those in
//! `tests/import` becomes is beside it; `SNAPSHOTS=overwrite` writes it anew.

use std::fs::{self};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::harness::{Client, DEADLINE, Daemon, Folder, eventually, files, shared_chroot, twitcher};

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// Imports files of that folder.
fn import(names: &[&str]) -> Output {
    twitcher().arg("import").args(names).current_dir(files()).output().expect("the program")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What is printed for a file, which is as it should be and which the daemon takes.
#[track_caller]
fn imported(name: &str, code: i32) -> String {
    let output = import(&[&format!("{name}.twc")]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let toml = text(&output.stdout);
    snapbox::assert_data_eq!(
        &toml,
        snapbox::Data::read_from(&files().join(format!("{name}.toml")), None).raw()
    );
    let folder = Folder::new();
    let path = folder.join("imported.toml");
    files::write(&path, &toml);
    let output = twitcher().arg("check").arg(&path).output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    toml
}

#[test]
fn commands_and_their_keys_are_carried_over() {
    imported("simple", 0);
}

#[test]
fn functions_become_scripts_with_what_they_need() {
    imported("functions", 0);
}

#[test]
fn what_cannot_be_carried_over_is_said_at_its_place() {
    imported("lost", 1);
    let output = import(&["lost.twc"]);
    snapbox::assert_data_eq!(
        text(&output.stderr),
        snapbox::str![[r#"
twitcher: 14 of 17 watches could not be carried over, and stand in comments

"#]]
    );
}

#[test]
fn a_file_that_cannot_be_executed_is_told_where_and_does_not_keep_others_from_being_imported() {
    let output =
        import(&["python2.twc", "simple.twc", "raises.twc", "no-such.twc", "functions.twc", "simple.twc"]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr).replace("what a file prints is not taken for what it registers\n", "");
    snapbox::assert_data_eq!(
        said,
        snapbox::str![[r#"
python2.twc:4:5: error: no Python 3: [..]
 4 |     print "flags", sys.stdin.read()
   |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: a file for Python 2 has to be made one for Python 3 first

raises.twc:4:1: error: KeyError: 'znode'
 4 | RegisterWatch(znode=raise_it['znode'], action=Exec('true'))
   | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

no-such.twc: error: cannot be read: No such file or directory (os error 2)


"#]]
    );
    let toml: toml::Table = text(&output.stdout).parse().expect("TOML");
    let names: Vec<&str> = toml["watch"]
        .as_array()
        .expect("watches")
        .iter()
        .filter_map(|watch| watch["name"].as_str())
        .collect();
    let simple = ["simple", "simple-2", "simple-3", "simple-4", "simple-5"];
    let functions = ["functions", "functions-2", "functions-3", "functions-4", "functions-5"];
    let again = ["simple-6", "simple-7", "simple-8", "simple-9", "simple-10"];
    assert_eq!(names, [&simple[..], &functions, &again].concat());
}

#[test]
fn a_file_that_ends_python_itself_is_told_so() {
    let folder = Folder::new();
    fs::write(folder.join("ends.twc"), "import os\nos._exit(0)\n").expect("a file");
    fs::write(folder.join("exits.twc"), "import sys\nsys.exit('no luck')\n").expect("a file");
    let run = |name| twitcher().args(["import", name]).current_dir(&*folder).output().expect("the program");
    let ends = run("ends.twc");
    assert_eq!(ends.status.code(), Some(1));
    assert!(text(&ends.stderr).contains("cannot import ends.twc"), "{}", text(&ends.stderr));
    let exits = run("exits.twc");
    assert_eq!(exits.status.code(), Some(3));
    assert!(
        text(&exits.stderr).starts_with("exits.twc:2:1: error: SystemExit: no luck"),
        "{}",
        text(&exits.stderr)
    );
}

#[test]
fn a_function_that_was_imported_does_in_the_daemon_what_it_did() {
    let folder = Folder::new();
    let target = folder.join("flags");
    let old = fs::read_to_string(files().join("functions.twc")).expect("a file");
    fs::write(folder.join("old.twc"), old.replace("/tmp/flags", &target.to_string_lossy())).expect("a file");
    let output = twitcher().arg("import").arg(folder.join("old.twc")).output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let zookeeper = shared_chroot("import");
    let client = Client::connect(&zookeeper);
    client.create_all("/app/flags", r#"{"dark": true}"#);
    client.create("/app/two", "");
    let daemon = Daemon::builder(&folder, &zookeeper).watch("old.toml", text(&output.stdout)).start();
    eventually(DEADLINE, "the flags", || match fs::read_to_string(&target) {
        Ok(flags) if flags == r#"{"dark": true, "level": 1}"# => Ok(()),
        other => Err(other),
    });
    daemon.wait_for_log("| two");
    client.set("/app/flags", "no JSON");
    daemon.wait_for_log("outcome=exited(1)");
}
