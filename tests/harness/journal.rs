//! A file that children append lines to. The order of its lines is what tests assert.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{DEADLINE, eventually};

const OVERLAP: &str = "overlap";

/// Every write of a line is one `write(2)` to a file opened with `O_APPEND`, so that lines never mix.
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// An empty file of that name, which a child of any user can write to.
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        File::create_new(&path).expect("a new journal");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("a journal for all users");
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A shell command that appends this text, in which the shell expands what is in double quotes.
    pub fn append(&self, text: &str) -> String {
        format!("echo \"{text}\" >> {}", self.path.display())
    }

    /// Shell commands that append this text, and `overlap` where others do so at the same time. While they do, there is
    /// a folder at `lock`.
    pub fn append_alone(&self, text: &str, lock: &Path) -> String {
        let lock = lock.display();
        let overlap = self.append(OVERLAP);
        format!("mkdir {lock} || {overlap}\n{}\nrmdir {lock}", self.append(text))
    }

    /// That no two appended at the same time what was to be appended alone.
    #[track_caller]
    pub fn expect_no_overlap(&self) {
        assert!(!self.lines().contains(&OVERLAP.into()), "{:#?}", self.lines());
    }

    /// What was written so far, without a line that is being written.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).expect("the journal");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(String::from).collect()
    }

    /// Waits until there are so many lines, and returns those there are.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        eventually(DEADLINE, format!("{count} lines in {}", self.path.display()), || {
            let lines = self.lines();
            if lines.len() < count { Err(lines) } else { Ok(lines) }
        })
    }

    /// Waits until there are as many lines as are expected, and asserts that those there are then are as expected. Of
    /// what comes later it says nothing: that there is no more, a line shows that is expected after it.
    #[track_caller]
    pub fn expect(&self, lines: &[&str]) {
        assert_eq!(self.wait_for(lines.len()), lines, "in {}", self.path.display());
    }
}
