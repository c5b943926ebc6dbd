//! What is kept of what happened: the log, and the ledger of what was applied. Decides nothing.

pub mod journal;
pub mod ledger;
mod line;
pub mod log;
pub mod writer;
