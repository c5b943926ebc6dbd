//! Who a run is run as: names looked up in the user and group databases, which may ask a directory over the
//! network and so take their time. Blocking.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use thiserror::Error;

use crate::config::spec::{GroupRef, UserRef};
use crate::run::protocol::Identity;

/// A user with what a run's environment says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What to become; `None`: what the daemon is.
    pub identity: Option<Identity>,
    /// `USER` and `LOGNAME`.
    pub name: String,
    /// `HOME`.
    pub home: PathBuf,
    /// `SHELL`.
    pub shell: PathBuf,
    /// Whether it is the superuser, whose `PATH` is longer.
    pub is_root: bool,
}

/// Why nobody can be found to run as.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// There is no user of that name.
    #[error("no such user '{0}'")]
    NoUser(String),
    /// There is no user of that number, so that its group is not known.
    #[error("no user with uid {0}, so its group is not known; give gid too")]
    NoPrimaryGroup(u32),
    /// There is no group of that name.
    #[error("no such group '{0}'")]
    NoGroup(String),
    /// The database did not answer.
    #[error("cannot look up {what}: {why}")]
    Database {
        /// Who was looked up.
        what: String,
        /// What went wrong.
        why: &'static str,
    },
}

/// Looks up who is meant. `uid` alone takes that user's primary and supplementary groups; `gid` alone
/// changes the group only.
///
/// # Errors
/// When there is none such, or the databases do not answer.
pub fn look_up(uid: Option<&UserRef>, gid: Option<&GroupRef>) -> Result<Account, IdentityError> {
    let gid = gid.map(group).transpose()?;
    let own = Uid::effective();
    let (uid, user) = match uid {
        Some(UserRef::Name(name)) => {
            let user = User::from_name(name).map_err(database(name))?;
            let user = user.ok_or_else(|| IdentityError::NoUser(name.clone()))?;
            (user.uid, Some(user))
        }
        Some(UserRef::Id(number)) => {
            let number = Uid::from_raw(*number);
            (number, User::from_uid(number).map_err(database(&number.to_string()))?)
        }
        None => {
            // The daemon's own name is good to have and nothing depends on it.
            let user = User::from_uid(own).ok().flatten();
            let identity = gid.map(|gid| Identity { uid: own.as_raw(), gid: gid.as_raw(), groups: None });
            return Ok(account(own, user, identity));
        }
    };
    let gid = gid.or_else(|| user.as_ref().map(|user| user.gid));
    let gid = gid.ok_or(IdentityError::NoPrimaryGroup(uid.as_raw()))?;
    let groups = match &user {
        Some(user) => supplementary(&user.name, gid)?,
        None => vec![gid.as_raw()],
    };
    let identity = Identity { uid: uid.as_raw(), gid: gid.as_raw(), groups: Some(groups) };
    Ok(account(uid, user, Some(identity)))
}

fn account(uid: Uid, user: Option<User>, identity: Option<Identity>) -> Account {
    let is_root = uid.is_root();
    match user {
        Some(user) => Account { identity, name: user.name, home: user.dir, shell: user.shell, is_root },
        None => {
            let (home, shell) = (PathBuf::from("/"), PathBuf::from("/bin/sh"));
            Account { identity, name: uid.to_string(), home, shell, is_root }
        }
    }
}

/// Looks up a group alone.
///
/// # Errors
/// As [`look_up`].
pub fn group(wanted: &GroupRef) -> Result<Gid, IdentityError> {
    match wanted {
        GroupRef::Id(number) => Ok(Gid::from_raw(*number)),
        GroupRef::Name(name) => {
            let group = Group::from_name(name).map_err(database(name))?;
            group.map(|group| group.gid).ok_or_else(|| IdentityError::NoGroup(name.clone()))
        }
    }
}

fn supplementary(user: &str, gid: Gid) -> Result<Vec<u32>, IdentityError> {
    // A name that came out of the database has no NUL in it.
    let name = CString::new(user).map_err(|_| IdentityError::NoUser(user.to_owned()))?;
    let groups = getgrouplist(&name, gid).map_err(database(user))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

fn database(what: &str) -> impl Fn(nix::errno::Errno) -> IdentityError {
    move |errno| IdentityError::Database { what: what.to_owned(), why: errno.desc() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for_and_nothing_changes() {
        assert_eq!(look_up(None, None).unwrap().identity, None);
    }

    #[test]
    fn a_user_comes_with_its_groups() {
        let root = look_up(Some(&UserRef::Name("root".into())), None).unwrap();
        assert_eq!((root.name.as_str(), root.is_root), ("root", true));
        let identity = root.identity.unwrap();
        assert_eq!((identity.uid, identity.gid), (0, 0));
        assert!(identity.groups.unwrap().contains(&0));
    }

    #[test]
    fn a_group_alone_leaves_the_user_and_the_supplementary_groups() {
        let identity = look_up(None, Some(&GroupRef::Id(4242))).unwrap().identity.unwrap();
        let own = Uid::effective().as_raw();
        assert_eq!(identity, Identity { uid: own, gid: 4242, groups: None });
    }

    #[test]
    fn a_number_that_is_no_user_needs_a_group() {
        let nobody = UserRef::Id(3_999_999);
        assert_eq!(look_up(Some(&nobody), None), Err(IdentityError::NoPrimaryGroup(3_999_999)));
        let account = look_up(Some(&nobody), Some(&GroupRef::Id(7))).unwrap();
        assert_eq!(account.identity, Some(Identity { uid: 3_999_999, gid: 7, groups: Some(vec![7]) }));
        assert_eq!(account.home, PathBuf::from("/"));
    }

    #[test]
    fn a_name_that_is_not_there_is_named() {
        let user = look_up(Some(&UserRef::Name("no-such".into())), None).unwrap_err();
        assert_eq!(user.to_string(), "no such user 'no-such'");
        let group = look_up(None, Some(&GroupRef::Name("no-such".into()))).unwrap_err();
        assert_eq!(group.to_string(), "no such group 'no-such'");
    }
}
