//! The file of credentials for ZooKeeper: who may read it, and what its lines say.
//!
//! Nothing of it stands in a message, since those go to logs that many can read. So a problem names the
//! number of a line and not the line.

use std::fmt;
use std::path::Path;

use crate::config::checked;
use crate::config::folder::safety::Owner;
use crate::config::problem::Problem;

/// What a line looks like, for a `help:` line.
const FORM: &str = "write a scheme and what it takes on a line, such as: digest user:password";

/// What ZooKeeper is told of who this is: the two arguments of `addauth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// How ZooKeeper is to check it, mostly `digest`.
    pub scheme: String,
    /// What is checked; for `digest` it is `user:password`.
    pub auth: Secret,
}

/// A text that is for ZooKeeper only.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text. Not for messages.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Credential {
    /// Reads the file of `credentials_file`, which must be 0600 or stricter and belong to root or to the
    /// user `euid`. Blocking.
    ///
    /// # Errors
    /// It is unsafe or cannot be read, or all that is wrong with its lines.
    pub fn read(path: &Path, euid: u32) -> Result<Vec<Self>, Vec<Problem>> {
        let owner = Owner::new(euid);
        let (bytes, _) = checked::read(path, path, |metadata| owner.check_secret(path, metadata))
            .map_err(|problem| vec![problem])?;
        Self::parse(path, &bytes)
    }

    /// The credentials that stand in a file called `path`, one a line; blank lines and those that begin
    /// with `#` are passed over. Pure.
    ///
    /// # Errors
    /// All that is wrong with the lines.
    fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Self>, Vec<Problem>> {
        let (mut credentials, mut problems) = (Vec::new(), Vec::new());
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            match Self::of_line(line) {
                Ok(found) => credentials.extend(found),
                Err(wrong) => {
                    let problem = Problem::of_file(path, format!("line {number} {}", wrong.message()));
                    problems.push(problem.with_help(wrong.help()));
                }
            }
        }
        if credentials.is_empty() && problems.is_empty() {
            problems.push(Problem::of_file(path, "has no credential in it").with_help(FORM));
        }
        if problems.is_empty() { Ok(credentials) } else { Err(problems) }
    }

    /// What one line says; `None` if it is blank or a comment.
    fn of_line(line: &[u8]) -> Result<Option<Self>, Wrong> {
        let line = std::str::from_utf8(line).map_err(|_| Wrong::Encoding)?.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (scheme, auth) = line.split_once(char::is_whitespace).ok_or(Wrong::Form)?;
        let auth = auth.trim_start();
        if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err(Wrong::Form);
        }
        // ZooKeeper takes one without a colon too, for another user than was meant.
        if scheme == "digest" && auth.split_once(':').is_none_or(|(user, _)| user.is_empty()) {
            return Err(Wrong::Digest);
        }
        Ok(Some(Self { scheme: scheme.to_owned(), auth: Secret(auth.to_owned()) }))
    }
}

/// What is wrong with a line.
enum Wrong {
    Encoding,
    Form,
    Digest,
}

impl Wrong {
    fn message(&self) -> &'static str {
        match self {
            Self::Encoding => "is not UTF-8",
            Self::Form => "is not a credential",
            Self::Digest => "has no user:password after its scheme",
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Self::Encoding => "save the file as UTF-8",
            Self::Form | Self::Digest => FORM,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::path::PathBuf;

    use super::*;

    fn problems(found: Result<Vec<Credential>, Vec<Problem>>) -> String {
        found.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn euid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    /// A file that is as it should be, and the folder that it is in.
    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zookeeper.credentials");
        fs::write(&path, "digest git:geheim\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        (dir, path)
    }

    fn problem_of(path: &Path, euid: u32) -> String {
        problems(Credential::read(path, euid)).replace(&path.display().to_string(), "/c")
    }

    #[test]
    fn every_line_but_blank_ones_and_comments_is_a_credential() {
        let text = "# for the ensemble\n\ndigest git:ge heim#1\r\n  x509\t CN=web1 \n   # the end";
        let found = Credential::parse(Path::new("/c"), text.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|found| (&*found.scheme, found.auth.expose())).collect();
        assert_eq!(found, [("digest", "git:ge heim#1"), ("x509", "CN=web1")]);
    }

    #[test]
    fn a_message_has_the_number_of_a_line_and_nothing_of_what_it_says() {
        let text =
            b"geheim\nu:geheim x\ndigest geheim\ndigest :geheim\ndigest \xffgeheim:geheim\ndigest a:geheim";
        snapbox::assert_data_eq!(
            problems(Credential::parse(Path::new("/c"), text)),
            snapbox::str![[r#"
/c: error: line 1 is not a credential
help: write a scheme and what it takes on a line, such as: digest user:password
/c: error: line 2 is not a credential
help: write a scheme and what it takes on a line, such as: digest user:password
/c: error: line 3 has no user:password after its scheme
help: write a scheme and what it takes on a line, such as: digest user:password
/c: error: line 4 has no user:password after its scheme
help: write a scheme and what it takes on a line, such as: digest user:password
/c: error: line 5 is not UTF-8
help: save the file as UTF-8
"#]]
        );
        snapbox::assert_data_eq!(
            problems(Credential::parse(Path::new("/c"), b"# digest a:b\n")),
            snapbox::str![[r#"
/c: error: has no credential in it
help: write a scheme and what it takes on a line, such as: digest user:password
"#]]
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let found = Credential::parse(Path::new("/c"), b"digest git:geheim").unwrap();
        assert_eq!(format!("{found:?}"), r#"[Credential { scheme: "digest", auth: Secret(…) }]"#);
    }

    #[test]
    fn a_file_that_only_its_owner_can_read_is_read() {
        let (dir, path) = file();
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(Credential::read(&path, euid()).unwrap().len(), 1);
        }
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(Credential::read(&link, euid()).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_dir, path) = file();
        for mode in [0o640, 0o604, 0o620, 0o700] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = problem_of(&path, euid());
            let expected = format!(
                "/c: error: is not safe for a secret: its mode must be 0600 or stricter, not 0{mode:o}\nhelp: \
                 chmod 600 /c"
            );
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let (_dir, path) = file();
        if euid() != 0 {
            // Only root can give a file away; what is one's own is another's to somebody else.
            assert!(problem_of(&path, 0).contains("belongs to user"));
            return;
        }
        assert!(Credential::read(&path, 1234).is_ok(), "root's is trusted");
        chown(&path, Some(4321), None).unwrap();
        let said =
            "/c: error: is not safe: it belongs to user 4321, not to root or user 1234\nhelp: chown 1234 /c";
        assert_eq!(problem_of(&path, 1234), said);
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let (dir, path) = file();
        assert_eq!(problem_of(dir.path(), euid()), "/c: error: is not a regular file");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(problem_of(&fifo, euid()), "/c: error: is not a regular file");
        fs::remove_file(&path).unwrap();
        assert_eq!(
            problem_of(&path, euid()),
            "/c: error: cannot be read: No such file or directory (os error 2)"
        );
    }
}
