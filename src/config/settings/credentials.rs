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
