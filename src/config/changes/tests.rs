//! What follows from files that come, change, break and go.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::folder::Found;

fn scan(files: &[(&str, &str)]) -> Scan {
    let found = |&(name, text): &(&str, &str)| Found {
        path: Path::new("/etc/twitcher.d").join(name),
        below: name.into(),
        content: Content::Bytes(text.as_bytes().to_vec()),
    };
    Scan { files: files.iter().map(found).collect(), ..Scan::default() }
}

fn watch(keys: &str) -> String {
    format!("[[watch]]\nznode='/a'\ncommand='x'\n{keys}\n")
}

fn catalog(files: &[(&str, &str)]) -> Catalog {
    let mut catalog = Catalog::new(Defaults::default());
    catalog.take_in(scan(files));
    let _ = catalog.settle();
    catalog
}

/// What `files` change, in short.
fn then(catalog: &mut Catalog, files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    catalog.take_in(scan(files));
    let (changes, problems) = catalog.settle();
    let short = |change| match change {
        Change::Added(spec) => format!("+{}", spec.name),
        Change::Redefined { new, .. } => format!("~{}", new.name),
        Change::Removed(name) => format!("-{name}"),
    };
    (changes.into_iter().map(short).collect(), problems.iter().map(Problem::one_line).collect())
}

#[test]
fn a_watch_that_is_new_other_or_gone_is_a_change() {
    let mut c = catalog(&[("a.toml", &watch("")), ("b.toml", &watch(""))]);
    let (changes, _) = then(&mut c, &[("b.toml", &watch("timeout=5")), ("c.toml", &watch(""))]);
    assert_eq!(changes, ["-a", "~b", "+c"]);
}

#[test]
fn the_same_definition_is_no_change_however_it_is_written_or_wherever() {
    let mut c = catalog(&[("a.toml", &watch("name='n'"))]);
    let other = "# moved\n[[watch]]\nname = \"n\"\ncommand = \"x\"\nznode = \"/a\"\ntimeout_ = 1\n"
        .replace("timeout_ = 1", "run_mode = 'queue'");
    assert_eq!(then(&mut c, &[("z.toml", &other)]), (vec![], vec![]));
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_watches_until_it_is_repaired() {
    let mut c = catalog(&[("a.toml", &watch("")), ("b.toml", &watch(""))]);
    let (changes, problems) = then(&mut c, &[("a.toml", "[[watch"), ("b.toml", &watch(""))]);
    assert!(changes.is_empty());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(then(&mut c, &[("a.toml", &watch("timeout=1")), ("b.toml", &watch(""))]).0, ["~a"]);
}

#[test]
fn a_file_that_was_emptied_keeps_its_watches_and_one_that_is_gone_does_not() {
    let mut c = catalog(&[("a.toml", &watch(""))]);
    let (changes, problems) = then(&mut c, &[("a.toml", "")]);
    assert_eq!((changes.len(), problems.len()), (0, 1));
    assert_eq!(then(&mut c, &[("a.toml", "# nothing left\n")]), (vec!["-a".to_owned()], vec![]));
    assert_eq!(then(&mut c, &[("a.toml", "")]), (vec![], vec![]));
}

#[test]
fn a_file_that_is_refused_keeps_its_watches() {
    let mut c = catalog(&[("a.toml", &watch(""))]);
    let mut refused = scan(&[("a.toml", "")]);
    refused.files[0].content = Content::Refused(Problem::of_file("a.toml", "is not safe"));
    c.take_in(refused);
    let (changes, problems) = c.settle();
    assert_eq!((changes.len(), problems.len()), (0, 1));
}

#[test]
fn a_folder_that_cannot_be_looked_into_keeps_its_watches() {
    let mut c = catalog(&[("in/a.toml", &watch("")), ("b.toml", &watch(""))]);
    c.take_in(Scan { unknown: vec!["/etc/twitcher.d/in".into()], ..scan(&[]) });
    assert_eq!(c.settle().0, [Change::Removed(WatchName::try_from("b").unwrap())]);
}

#[test]
fn of_two_files_with_one_name_the_first_in_path_order_keeps_it() {
    let mut c = catalog(&[("b.toml", &watch("name='n'\ntimeout=1"))]);
    let both = [("a.toml", &*watch("name='n'")), ("b.toml", &*watch("name='n'\ntimeout=1"))];
    let (changes, problems) = then(&mut c, &both);
    assert_eq!(changes, ["~n"]);
    assert_eq!(
        problems,
        [
            "/etc/twitcher.d/b.toml:4:6: the name \"n\" is already taken by a watch (help: it is in /etc/twitcher.d/a.toml: rename one of them)"
        ]
    );
    assert_eq!(then(&mut c, &both[1..]), (vec!["~n".to_owned()], vec![]));
}

#[test]
fn a_watch_that_is_not_enabled_is_there_and_takes_its_name_from_nobody() {
    let mut c = catalog(&[("a.toml", &watch("name='n'"))]);
    let off = watch("name='n'\nenabled=false");
    assert_eq!(then(&mut c, &[("a.toml", &off)]).0, ["~n"]);
    assert!(!c.watches().values().next().unwrap().enabled);
    let both = [("a.toml", &*off), ("b.toml", &*watch("name='n'"))];
    assert_eq!(then(&mut c, &both), (vec!["~n".to_owned()], vec![]));
    assert!(c.watches().values().next().unwrap().enabled);
    assert_eq!(then(&mut c, &[("a.toml", &off), ("b.toml", &off)]), (vec!["~n".to_owned()], vec![]));
    assert_eq!(then(&mut c, &[]).0, ["-n"]);
}

#[test]
fn a_watch_whose_file_is_wrong_now_is_known_to_go_on_under_an_older_definition() {
    let good = [("a.toml", &*watch("name='n'\nenabled=false")), ("b.toml", &*watch("name='n'"))];
    let mut c = catalog(&good);
    // It is not the one in this file that goes on.
    then(&mut c, &[("a.toml", "[[watch"), good[1]]);
    assert!(c.outdated().is_empty());
    then(&mut c, &[good[0], ("b.toml", "[[watch]]\nznode = 5\ncommand = 'x'\n")]);
    let outdated: Vec<_> =
        c.outdated().into_iter().map(|(name, why)| format!("{name} {}", why.location())).collect();
    assert_eq!(outdated, ["n /etc/twitcher.d/b.toml:2:9"]);
    then(&mut c, &good);
    assert!(c.outdated().is_empty());
}
