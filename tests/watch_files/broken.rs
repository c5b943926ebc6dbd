//! What is said of files that are wrong. `SNAPSHOTS=overwrite` writes it anew.

use snapbox::Data;
use twitcher::config::Defaults;
use twitcher::config::parse::parse;

use super::{corpus, name};

#[test]
fn what_is_wrong_with_a_file_is_told_as_it_was() {
    let mut failed = Vec::new();
    let files = corpus("broken");
    for (path, bytes) in &files {
        let (name, base) = name(path);
        let said = match parse(&name, bytes, &Defaults::default(), &base) {
            Ok(watches) => format!("nothing is wrong with it, and it has {} watches\n", watches.len()),
            Err(problems) => problems.iter().map(|problem| format!("{problem}\n\n")).collect(),
        };
        let expected = Data::read_from(&path.with_extension("txt"), None).raw();
        let assert = snapbox::Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV);
        if let Err(difference) = assert.try_eq(Some(&name.display()), said.into(), expected) {
            failed.push(difference.to_string());
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(files.len() >= 40, "{}", files.len());
}

#[test]
fn nothing_is_wrong_with_the_good_ones() {
    for (path, bytes) in corpus("good") {
        let (name, base) = name(&path);
        if let Err(problems) = parse(&name, &bytes, &Defaults::default(), &base) {
            panic!("{problems:#?}");
        }
    }
}
