//! What is kept of what happened: so far the log. Decides nothing.

pub mod journal;
mod line;
pub mod log;
