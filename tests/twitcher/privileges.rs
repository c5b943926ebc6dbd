//! Whom a child runs as.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Uid, User};

use crate::harness::{DEADLINE, Site, WatchFile, eventually};

/// What `id` says with these options, of the user if one is named, and of this process otherwise.
fn id(options: &[&str]) -> String {
    let output = Command::new("id").args(options).output().expect("id");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A child's lines about its user, its group and all of its groups.
fn ids_of_a_child(keys: &[(&str, &str)], wrapper: &[&str]) -> Vec<String> {
    let site = Site::new("privileges");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let command = ["-u", "-g", "-G"].map(|option| runs.append(&format!("$(id {option})"))).join("\n");
    let watch =
        keys.iter().fold(WatchFile::watch("/value", &command), |watch, (key, value)| watch.key(key, value));
    let daemon = site.builder().watch("value.toml", watch);
    let daemon = if wrapper.is_empty() { daemon } else { daemon.wrapped_in(wrapper) };
    let _daemon = daemon.start();
    runs.wait_for(3)
}

#[test]
fn p7_a_child_without_a_user_of_its_own_has_those_of_the_daemon() {
    assert_eq!(ids_of_a_child(&[], &[]), [id(&["-u"]), id(&["-g"]), id(&["-G"])]);
}

#[test]
fn p7_a_child_has_exactly_the_user_and_the_groups_of_the_user_asked_for() {
    if Uid::effective().is_root() {
        // The daemon's own supplementary groups must not be the child's.
        let wrapper = ["setpriv", "--groups", "1,2,3"];
        let nobody = [id(&["-u", "nobody"]), id(&["-g", "nobody"]), id(&["-G", "nobody"])];
        assert_eq!(ids_of_a_child(&[("uid", "\"nobody\"")], &wrapper), nobody);
        assert_eq!(ids_of_a_child(&[("uid", &nobody[0])], &wrapper), nobody);
    } else {
        // Only root can be asked for others; to ask for oneself is no other.
        let name = format!("{:?}", id(&["-un"]));
        assert_eq!(ids_of_a_child(&[("uid", &name)], &[]), [id(&["-u"]), id(&["-g"]), id(&["-G"])]);
    }
}

#[test]
fn p7_a_group_alone_changes_the_group_only() {
    if Uid::effective().is_root() {
        let ids = ids_of_a_child(&[("gid", "\"daemon\"")], &["setpriv", "--groups", "2,3"]);
        let group = id(&["-g", "daemon"]);
        assert_eq!(ids, [id(&["-u"]), group.clone(), format!("{group} 2 3")]);
    } else {
        let ids = ids_of_a_child(&[("gid", &id(&["-g"]))], &[]);
        assert_eq!(ids, [id(&["-u"]), id(&["-g"]), id(&["-G"])]);
    }
}

#[test]
fn p7_a_user_and_a_group_are_both_taken() {
    if Uid::effective().is_root() {
        let ids =
            ids_of_a_child(&[("uid", "\"nobody\""), ("gid", "\"daemon\"")], &["setpriv", "--groups", "2"]);
        assert_eq!(ids[..2], [id(&["-u", "nobody"]), id(&["-g", "daemon"])]);
        assert!(!ids[2].split(' ').any(|group| group == "2"), "{ids:?}");
    } else {
        let (user, group) = (id(&["-u"]), id(&["-g"]));
        assert_eq!(ids_of_a_child(&[("uid", &user), ("gid", &group)], &[])[..2], [user, group]);
    }
}

#[test]
fn p7_a_child_of_another_user_can_be_given_files_of_that_user() {
    let site = Site::new("directory");
    site.client.create("/value", "0");
    let theirs = site.folder.join("theirs");
    fs::create_dir(&theirs).expect("a folder");
    let user = if Uid::effective().is_root() { "nobody".to_owned() } else { id(&["-un"]) };
    let user = User::from_name(&user).expect("the user database").expect("a user");
    nix::unistd::chown(&theirs, Some(user.uid), Some(user.gid)).expect("a folder of that user");
    fs::set_permissions(&theirs, Permissions::from_mode(0o700)).expect("a folder for that user alone");
    let watch = WatchFile::watch("/value", "umask > draft; pwd >> draft; mv draft done")
        .key("uid", user.uid)
        .key("directory", format!("{theirs:?}"))
        .key("umask", "\"027\"");
    let _daemon = site.builder().watch("value.toml", watch).start();
    let done = theirs.join("done");
    let text = eventually(DEADLINE, "the file", || fs::read_to_string(&done).ok());
    assert_eq!(text, format!("0027\n{}\n", theirs.display()));
    assert_eq!(mode(&done), 0o640);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
