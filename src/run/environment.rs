//! The environment of a run: all of it, nothing is inherited. Pure.

use std::collections::BTreeMap;

use crate::config::spec::WatchSpec;
use crate::run::identity::Account;
use crate::schedule::order::RunId;
use crate::watch::update::Update;

/// Where commands are looked for, as Debian's login sets it for the superuser.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where commands are looked for by everybody else.
const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment of one run. `lang` is the daemon's `LANG`.
///
/// `env` of the watch comes over what belongs to the user, and what tells of the update over that: a
/// program can rely on it.
#[must_use]
pub fn environment(
    account: &Account,
    lang: Option<&str>,
    spec: &WatchSpec,
    update: &Update,
    run: RunId,
    attempt: u32,
) -> Vec<(String, String)> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    set("PATH", if account.is_root { ROOT_PATH } else { USER_PATH }.to_owned());
    set("HOME", account.home.to_string_lossy().into_owned());
    set("SHELL", account.shell.to_string_lossy().into_owned());
    set("USER", account.name.clone());
    set("LOGNAME", account.name.clone());
    if let Some(lang) = lang {
        set("LANG", lang.to_owned());
    }
    for (name, value) in &spec.env {
        set(name, value.clone());
    }
    set("TWITCHER_WATCH", spec.name.to_string());
    set("TWITCHER_ZNODE", spec.znode.to_string());
    set("TWITCHER_EVENT", update.event.to_string());
    set("TWITCHER_MZXID", update.version.mzxid.to_string());
    set("TWITCHER_VERSION", update.version.version.to_string());
    if let Some(child) = &update.child {
        set("TWITCHER_CHILD", child.clone());
    }
    set("TWITCHER_RUN_ID", run.to_string());
    set("TWITCHER_ATTEMPT", attempt.to_string());
    all.into_iter().collect()
}
