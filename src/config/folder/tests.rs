//! The folder on a real disk: links, modes, owners, and what is no file at all.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

/// A folder that only its owner can write, and the path of it.
fn temporary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("d");
    fs::create_dir(&root).unwrap();
    mode(&root, 0o755);
    (dir, root)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    mode(path, 0o644);
}

fn mkdir(path: &Path) {
    fs::create_dir_all(path).unwrap();
    mode(path, 0o755);
}

fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The paths below the folder and, in short, what is in the files.
fn contents(scan: &Scan) -> Vec<String> {
    let short = |found: &Found| match &found.content {
        Content::Unchanged => format!("{}: unchanged", found.below.display()),
        Content::Unfinished => format!("{}: unfinished", found.below.display()),
        Content::Bytes(bytes) => format!("{}: {}", found.below.display(), String::from_utf8_lossy(bytes)),
        Content::Refused(_) => format!("{}: refused", found.below.display()),
    };
    scan.files.iter().map(short).collect()
}

#[test]
fn only_toml_files_that_are_not_hidden_are_read_in_path_order() {
    let (_dir, root) = temporary();
    for name in ["b.toml", "a.toml", "c.txt", ".hidden.toml", "toml", "e.toml~"] {
        write(&root.join(name), name);
    }
    mkdir(&root.join("sub"));
    write(&root.join("sub/x.toml"), "x");
    mkdir(&root.join(".git"));
    write(&root.join(".git/y.toml"), "y");
    let scan = Folder::new(root, me()).scan();
    assert_eq!(contents(&scan), ["a.toml: a.toml", "b.toml: b.toml", "sub/x.toml: x"]);
    assert!(scan.problems.is_empty(), "{:?}", scan.problems);
}

#[test]
fn a_file_is_read_again_only_if_it_differs() {
    let (_dir, root) = temporary();
    let old = fs::File::options().create(true).write(true).truncate(true).open(root.join("a.toml")).unwrap();
    let mut folder = Folder::new(root.clone(), me());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while contents(&folder.scan()) != ["a.toml: unchanged"] {
        assert!(std::time::Instant::now() < deadline, "it never settles");
        std::thread::yield_now();
    }
    // The same size and the same time of modification: only the time of change tells.
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(contents(&folder.scan()), ["a.toml: "]);
    write(&root.join("b.toml"), "b");
    fs::rename(root.join("b.toml"), root.join("a.toml")).unwrap();
    assert_eq!(contents(&folder.scan()), ["a.toml: b"]);
}

#[test]
fn what_others_can_write_is_refused_with_a_remedy() {
    let (_dir, root) = temporary();
    let file = root.join("a b.toml");
    write(&file, "");
    mode(&file, 0o664);
    let mut folder = Folder::new(root.clone(), me());
    let refused = |scan: Scan| match scan.files.into_iter().next().unwrap().content {
        Content::Refused(problem) => problem,
        other => panic!("{other:?}"),
    };
    let problem = refused(folder.scan());
    assert_eq!(problem.message, "is not safe: its group or others can write it (mode 0664)");
    assert_eq!(problem.help.unwrap(), format!("chmod go-w '{}'", file.display()));
    mode(&file, 0o644);
    assert_eq!(contents(&folder.scan()), ["a b.toml: "]);
    if me() == 0 {
        chown(&file, Some(12345), None).unwrap();
        let problem = refused(folder.scan());
        assert_eq!(problem.message, "is not safe: it belongs to user 12345, not to root");
        assert_eq!(problem.help.unwrap(), format!("chown 0 '{}'", file.display()));
        assert_eq!(contents(&Folder::new(root, 12345).scan()), ["a b.toml: "]);
    }
}

#[test]
fn a_folder_that_others_can_write_is_passed_over_and_nothing_is_said_of_its_files() {
    let (_dir, root) = temporary();
    mkdir(&root.join("sub"));
    write(&root.join("sub/x.toml"), "");
    mode(&root.join("sub"), 0o777);
    write(&root.join("a.toml"), "");
    let scan = Folder::new(root.clone(), me()).scan();
    assert_eq!(contents(&scan), ["a.toml: "]);
    assert_eq!(scan.unknown, [root.join("sub")]);
    assert_eq!(scan.problems[0].help, Some(format!("chmod go-w {}/sub", root.display())));
    assert!(scan.places.contains_key(&root.join("sub")), "its chmod must be noticed");
}

#[test]
fn a_link_is_followed_and_judged_by_what_it_points_to() {
    let (dir, root) = temporary();
    let outside = dir.path().canonicalize().unwrap().join("outside");
    mkdir(&outside);
    write(&outside.join("real"), "real");
    symlink("../outside/real", root.join("a.toml")).unwrap();
    symlink(&outside, root.join("sub")).unwrap();
    write(&outside.join("in.toml"), "in");
    let mut folder = Folder::new(root.clone(), me());
    let scan = folder.scan();
    assert_eq!(contents(&scan), ["a.toml: real", "sub/in.toml: in"]);
    assert!(scan.places[&outside].covers(OsStr::new("real")));
    mode(&outside, 0o777);
    let scan = folder.scan();
    assert_eq!(contents(&scan), Vec::<String>::new());
    assert_eq!(scan.unknown, [root.join("a.toml"), root.join("sub")]);
}

#[test]
fn the_links_of_a_config_map_are_followed_through_its_hidden_folders() {
    let (_dir, root) = temporary();
    for version in ["1", "2"] {
        mkdir(&root.join(format!("..{version}")));
        write(&root.join(format!("..{version}/a.toml")), version);
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.toml", root.join("a.toml")).unwrap();
    let mut folder = Folder::new(root.clone(), me());
    let scan = folder.scan();
    assert_eq!(contents(&scan), ["a.toml: 1"]);
    assert!(scan.places[&root].covers(OsStr::new("..data")));
    symlink("..2", root.join("..tmp")).unwrap();
    fs::rename(root.join("..tmp"), root.join("..data")).unwrap();
    assert_eq!(contents(&folder.scan()), ["a.toml: 2"]);
}

#[test]
fn link_loops_and_links_to_nothing_are_problems_and_no_more() {
    let (_dir, root) = temporary();
    mkdir(&root.join("sub"));
    write(&root.join("sub/a.toml"), "a");
    symlink("..", root.join("sub/up")).unwrap();
    symlink("self.toml", root.join("self.toml")).unwrap();
    symlink("nowhere", root.join("gone.toml")).unwrap();
    let scan = Folder::new(root, me()).scan();
    assert_eq!(contents(&scan), ["sub/a.toml: a"]);
    let messages: Vec<_> = scan.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the link cannot be followed: No such file or directory (os error 2)",
            "the link cannot be followed: Too many levels of symbolic links (os error 40)",
            "the link leads back to a folder that it is in",
        ]
    );
}

#[test]
fn what_is_no_regular_file_or_too_large_is_refused_at_once() {
    let (_dir, root) = temporary();
    nix::unistd::mkfifo(&root.join("fifo.toml"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    write(&root.join("large.toml"), &"#".repeat(checked::LARGEST as usize + 1));
    mkdir(&root.join("folder.toml"));
    let scan = Folder::new(root, me()).scan();
    assert_eq!(contents(&scan), ["fifo.toml: refused", "large.toml: refused"]);
}

#[test]
fn a_folder_that_is_absent_is_waited_for_in_the_nearest_that_exists() {
    let (_dir, root) = temporary();
    let scan = Folder::new(root.join("x/y"), me()).scan();
    assert_eq!(scan.problems[0].message, "the config folder does not exist");
    assert!(scan.places[&root].covers(OsStr::new("x")));
    assert!(scan.unknown.is_empty());
}

/// Folders of which each has two links to the next, and perhaps a file.
fn fan_out(root: &Path, folders: usize, with_files: bool) {
    let outside = root.with_file_name("fan");
    for number in 0..folders {
        let folder = outside.join(number.to_string());
        mkdir(&folder);
        for link in ["a", "b"].iter().filter(|_| number + 1 < folders) {
            symlink(outside.join((number + 1).to_string()), folder.join(link)).unwrap();
        }
        if with_files {
            write(&folder.join("x.toml"), "x");
        }
    }
    symlink(outside.join("0"), root.join("fan")).unwrap();
}

#[test]
fn p4_a_folder_that_links_multiply_without_end_is_given_up_and_all_is_as_before() {
    for (with_files, most) in [(false, "100000 entries"), (true, "20000 watch files")] {
        let (_dir, root) = temporary();
        write(&root.join("a.toml"), "a");
        write(&root.join("z.toml"), "z");
        let mut folder = Folder::new(root.clone(), me());
        assert_eq!(contents(&folder.scan()), ["a.toml: a", "z.toml: z"]);
        fan_out(&root, 26, with_files);
        write(&root.join("a.toml"), "other");
        let scan = folder.scan();
        assert!(scan.files.is_empty());
        assert_eq!(scan.unknown, std::slice::from_ref(&root));
        let [problem] = &scan.problems[..] else { panic!("{:?}", scan.problems) };
        assert!(problem.message.starts_with(&format!("there are more than {most} ")), "{problem:?}");
        assert!(scan.places[&root].all, "the end of it must be noticed");
        // What was read in vain is read again.
        fs::remove_file(root.join("fan")).unwrap();
        assert_eq!(contents(&folder.scan())[0], "a.toml: other");
    }
}

#[test]
fn what_is_just_not_too_much_is_read() {
    let (_dir, root) = temporary();
    mkdir(&root.join("sub"));
    for name in ["a.toml", "sub/b.toml", "c.txt", ".d"] {
        write(&root.join(name), "four");
    }
    let mut folder = Folder::new(root, me());
    folder.most = Most { entries: 5, files: 2, bytes: 8 };
    assert_eq!(contents(&folder.scan()), ["a.toml: four", "sub/b.toml: four"]);
    for (less, most) in [
        (Most { entries: 4, ..folder.most }, "4 entries"),
        (Most { files: 1, ..folder.most }, "1 watch files"),
        (Most { bytes: 7, ..folder.most }, "0 MiB in watch files"),
    ] {
        folder.most = less;
        let scan = folder.scan();
        assert!(scan.files.is_empty());
        assert!(scan.problems[0].message.contains(most), "{:?}", scan.problems);
    }
}

#[test]
fn looks_at_some_paths_come_to_an_end_where_there_is_more_than_is_read() {
    let (_dir, root) = temporary();
    let paths = ["a.toml", "b.toml", "c.toml"].map(|name| root.join(name));
    write(&paths[0], "four");
    let (mut folder, unfinished) = (Folder::new(root, me()), Unfinished::default());
    folder.most = Most { entries: 100, files: 2, bytes: 1000 };
    folder.scan();
    for (path, is_enough) in [(&paths[1], true), (&paths[2], false)] {
        write(path, "four");
        assert_eq!(folder.glance(&[path.clone()].into(), &unfinished).is_some(), is_enough);
    }
    assert!(folder.scan().problems[0].message.contains("2 watch files"));
}

#[test]
fn p4_a_file_that_is_being_written_is_passed_over() {
    let (_dir, root) = temporary();
    let (a, fresh) = (root.join("a.toml"), root.join("fresh.toml"));
    write(&a, "a");
    fs::File::options().write(true).open(&a).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    symlink(&a, root.join("link.toml")).unwrap();
    let (mut folder, mut unfinished) = (Folder::new(root, me()), Unfinished::default());
    assert_eq!(contents(&folder.scan_finished(&unfinished)), ["a.toml: a", "link.toml: a"]);
    write(&a, "half");
    unfinished.written(a.clone(), Instant::now());
    write(&fresh, "half");
    let scan = folder.scan_finished(&unfinished);
    assert_eq!(contents(&scan), ["a.toml: unfinished", "fresh.toml: unfinished", "link.toml: unfinished"]);
    let unread: Vec<_> = scan.unread.iter().map(|unread| &unread.physical).collect();
    assert_eq!(unread, [&a, &fresh, &a]);
    write(&a, "whole");
    unfinished.whole(a, Instant::now());
    unfinished.whole(fresh, Instant::now());
    let scan = folder.scan_finished(&unfinished);
    assert_eq!(contents(&scan), ["a.toml: whole", "fresh.toml: half", "link.toml: whole"]);
    assert!(scan.unread.is_empty());
}
