//! What of a definition the decisions go by.

use crate::config::spec::{
    OnDelete, OnFailure, Pacing, Retries, RunMode, RunOnLoad, WatchSpec, WatchType, ZnodePath,
};
use crate::schedule::pace::splay_of;

/// What of a definition matters to the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(super) source: Source,
    pub(super) run_mode: RunMode,
    pub(super) run_on_load: RunOnLoad,
    pub(super) on_delete: OnDelete,
    /// Its `splay` is this host's own part of it.
    pub(super) pacing: Pacing,
    pub(super) retries: Retries,
    pub(super) on_failure: OnFailure,
}

/// What is watched. Definitions that differ in it have no update in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The znode.
    pub znode: ZnodePath,
    /// What of it.
    pub watch_type: WatchType,
}

impl Policy {
    /// The policy of a definition on the host of this name.
    #[must_use]
    pub fn new(spec: &WatchSpec, host: &str) -> Self {
        let splay = splay_of(spec.pacing.splay, host, spec.name.as_str());
        Self {
            source: Source { znode: spec.znode.clone(), watch_type: spec.watch_type },
            run_mode: spec.run_mode,
            run_on_load: spec.run_on_load,
            on_delete: spec.on_delete,
            pacing: Pacing { splay, ..spec.pacing },
            retries: spec.retries,
            on_failure: spec.on_failure,
        }
    }
}
