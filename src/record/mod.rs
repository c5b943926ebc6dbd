//! What is kept of what happened: the log, the ledger of what was applied, the history of what ran, the events,
//! and what is counted for metrics. Decides nothing.

pub mod events;
pub mod history;
pub mod journal;
mod journald;
pub mod ledger;
mod line;
pub mod log;
pub mod metrics;
pub mod reader;
mod run_log;
pub mod run_record;
mod runs;
mod stream;
mod syslog;
mod text;
pub mod writer;
