//! Updates and exits in, orders out. Decides what is run and when; touches neither processes nor
//! ZooKeeper.
//!
//! `step` decides for one watch, `places` shares the host's places between them, and `scheduler` is the
//! loop that performs what they decide.

pub mod ask;
pub mod order;
pub mod pace;
pub mod places;
pub mod progress;
pub mod scheduler;
pub mod step;
