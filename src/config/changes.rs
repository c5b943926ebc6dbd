//! What became different in the set of watch definitions.

use std::sync::Arc;

use super::spec::{WatchName, WatchSpec};

/// One difference between the definitions that were in force and those that are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A watch that was not defined before.
    Added(Arc<WatchSpec>),
    /// A watch of the same name with another definition.
    Redefined {
        /// What it was.
        old: Arc<WatchSpec>,
        /// What it is from here on.
        new: Arc<WatchSpec>,
    },
    /// A watch that is no longer defined.
    Removed(WatchName),
}
