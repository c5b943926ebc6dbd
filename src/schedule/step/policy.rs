//! What of a definition the decisions go by.

use crate::config::spec::{OnDelete, OnFailure, Pacing, Retries, RunMode, RunOnLoad, WatchSpec};
use crate::schedule::pace::splay_of;
use crate::watch::subscriptions::Target;

/// What of a definition matters to the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is watched. Definitions that differ in it have no update in common.
    pub(super) target: Target,
    pub(super) run_mode: RunMode,
    pub(super) run_on_load: RunOnLoad,
    pub(super) on_delete: OnDelete,
    /// Its `splay` is this host's own part of it.
    pub(super) pacing: Pacing,
    pub(super) retries: Retries,
    pub(super) on_failure: OnFailure,
}

impl Policy {
    /// The policy of a definition on the host of this name.
    #[must_use]
    pub fn new(spec: &WatchSpec, host: &str) -> Self {
        let splay = splay_of(spec.pacing.splay, host, spec.name.as_str());
        Self {
            target: Target::of(spec),
            run_mode: spec.run_mode,
            run_on_load: spec.run_on_load,
            on_delete: spec.on_delete,
            pacing: Pacing { splay, ..spec.pacing },
            retries: spec.retries,
            on_failure: spec.on_failure,
        }
    }
}
