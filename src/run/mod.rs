//! Orders in, outcomes out: the minder's protocol and the daemon's end of it. Does not know why a run is
//! wanted.

mod asked;
pub mod environment;
pub mod executable;
pub mod folder;
pub mod happening;
pub mod identity;
pub mod link;
pub mod minders;
pub mod preparation;
pub mod protocol;
mod restarts;
pub mod start;
