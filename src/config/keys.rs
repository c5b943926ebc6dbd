//! The keys that a file may have, and the nearest one to a misspelt one. Knows nothing of what a key means.

/// The keys of a `[[watch]]` table, in the order in which people are shown them.
pub const WATCH: &[&str] = &[
    "name",
    "description",
    "znode",
    "watch_type",
    "command",
    "script",
    "pipe_stdin",
    "run_on_load",
    "run_mode",
    "max_parallel",
    "notify_signal",
    "uid",
    "gid",
    "timeout",
    "kill_after",
    "directory",
    "umask",
    "env",
    "output",
    "on_delete",
    "settle",
    "splay",
    "min_interval",
    "retries",
    "retry_delay",
    "retry_max_delay",
    "on_failure",
    "enabled",
];

/// Keys of `[[watch]]` that belong to one watch and can have no default.
pub const WATCH_OWN: &[&str] = &["name", "znode", "command", "script"];

/// What a key of the twitcher of the 2010s is called today.
#[must_use]
pub fn todays_word(key: &str) -> Option<&'static str> {
    (key == "action").then_some("command")
}

/// The candidate that was probably meant by `given`: the nearest by edits, if it is near at all.
#[must_use]
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let given = plain(given);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&given, &plain(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= given.len().max(candidate.len()).div_ceil(3).min(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_over_a_slip_of_the_finger_and_not_over_another_word() {
        let all = || WATCH.iter().copied();
        assert_eq!(nearest("timout", all()), Some("timeout"));
        assert_eq!(nearest("Kill-After", all()), Some("kill_after"));
        assert_eq!(nearest("zndoe", all()), Some("znode"));
        assert_eq!(nearest("piep_stdin", all()), Some("pipe_stdin"));
        assert_eq!(nearest("guid", all()), Some("uid"));
        assert_eq!(nearest("schedule", all()), None);
    }
}
