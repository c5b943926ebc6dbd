//! What a watch is called.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a watch, unique on the host. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct WatchName(#[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9._-]{1,255}$")))] Arc<str>);

/// Why a text is not the name of a watch.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    #[error("a watch name must not be empty")]
    Empty,
    /// It is longer than 255 bytes, more than a file name may have.
    #[error("a watch name must not be longer than 255 characters")]
    TooLong,
    /// It has a character outside of letters, digits, `.`, `_` and `-`.
    #[error("{0:?} cannot be in a watch name; letters, digits, '.', '_' and '-' can")]
    Character(char),
}

/// Of how many watches that are not defined any more something is kept in mind: names may be made up by a program.
pub const MOST_REMEMBERED: usize = 50_000;

/// Since when what is remembered is kept, of things that were last touched at these times: `None`, all of it, where
/// there are no more than `most`. Else somewhat more is let go of than has to be, so as not to sort them each time.
#[must_use]
pub fn kept_since<T: Ord>(mut touched: Vec<T>, most: usize) -> Option<T> {
    if touched.len() <= most {
        return None;
    }
    touched.sort_unstable();
    let kept = most - most / 8;
    touched.into_iter().nth_back(kept - 1)
}

impl WatchName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for WatchName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 255 {
            return Err(NameError::TooLong);
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for WatchName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.as_str().try_into()
    }
}

impl From<WatchName> for String {
    fn from(name: WatchName) -> Self {
        name.as_str().to_owned()
    }
}

impl From<&WatchName> for Arc<str> {
    fn from(name: &WatchName) -> Self {
        Self::clone(&name.0)
    }
}

impl fmt::Display for WatchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
