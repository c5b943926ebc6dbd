//! What is kept of what ran.

mod history;
