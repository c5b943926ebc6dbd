//! Watch files in, checked specs out. Knows nothing of ZooKeeper or of children.

pub mod changes;
pub mod spec;
