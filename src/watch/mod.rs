//! Specs in, updates out: the ZooKeeper session and a loop for each znode. Decides nothing about what
//! an update leads to. Only `session` and the loops name the ZooKeeper crate.

pub mod update;
