//! Which znode: the rules that ZooKeeper has for its paths.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// An absolute znode path that ZooKeeper accepts. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZnodePath(Arc<str>);

/// Why ZooKeeper would refuse a path: the rules of its `PathUtils.validatePath`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ZnodePathError {
    /// It has no characters.
    #[error("a znode path must not be empty")]
    Empty,
    /// It does not start with a slash.
    #[error("a znode path must be absolute: start it with '/'")]
    Relative,
    /// It ends in a slash and is not the root.
    #[error("a znode path must not end in '/'")]
    TrailingSlash,
    /// It has two slashes in a row.
    #[error("a znode path must not have an empty name in it ('//')")]
    EmptyName,
    /// One of its names is `.` or `..`.
    #[error("a znode path is taken as it stands: '{0}' cannot be a name in it")]
    Dots(&'static str),
    /// It has a character that ZooKeeper forbids.
    #[error("ZooKeeper forbids the character {0:?} in a znode path")]
    Character(char),
}

impl ZnodePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The paths above this one, from the top down, without the root: what `poke --create` makes.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').skip(1).map(|(at, _)| &self.0[..at])
    }
}

impl TryFrom<&str> for ZnodePath {
    type Error = ZnodePathError;

    fn try_from(text: &str) -> Result<Self, ZnodePathError> {
        if text.is_empty() {
            return Err(ZnodePathError::Empty);
        }
        let Some(below) = text.strip_prefix('/') else {
            return Err(ZnodePathError::Relative);
        };
        if below.is_empty() {
            return Ok(Self(text.into()));
        }
        if below.ends_with('/') {
            return Err(ZnodePathError::TrailingSlash);
        }
        for name in below.split('/') {
            match name {
                "" => return Err(ZnodePathError::EmptyName),
                "." => return Err(ZnodePathError::Dots(".")),
                ".." => return Err(ZnodePathError::Dots("..")),
                _ => {}
            }
        }
        // Java tests UTF-16 units, so that what lies beyond the basic plane is refused as surrogates.
        match text.chars().find(|&c| {
            matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{f000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
                || c > '\u{ffff}'
        }) {
            Some(c) => Err(ZnodePathError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_path_is_refused_for_the_reasons_zookeeper_has() {
        use ZnodePathError::*;
        for (text, why) in [
            ("", Empty),
            ("git", Relative),
            ("/git/", TrailingSlash),
            ("//", TrailingSlash),
            ("/git//head", EmptyName),
            ("/git/./head", Dots(".")),
            ("/git/..", Dots("..")),
            ("/a\0b", Character('\0')),
            ("/a\u{85}b", Character('\u{85}')),
            ("/a\u{f123}", Character('\u{f123}')),
            ("/a😀", Character('😀')),
        ] {
            assert_eq!(ZnodePath::try_from(text), Err(why), "{text:?}");
        }
        for text in ["/", "/git", "/git/head", "/grüße/.hidden/a b/..."] {
            assert_eq!(ZnodePath::try_from(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_ancestors_of_a_path_go_from_the_top_down() {
        let above =
            |text| ZnodePath::try_from(text).unwrap().ancestors().map(String::from).collect::<Vec<_>>();
        assert_eq!(above("/a/b/c"), ["/a", "/a/b"]);
        assert!(above("/a").is_empty());
        assert!(above("/").is_empty());
    }
}
