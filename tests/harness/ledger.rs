//! What watches have applied, as the ledger on disk has it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zookeeper_client::Stat;

/// Whether what this watch last applied is this state of its znode, or else what there is in this ledger.
pub fn has_applied(ledger: &Path, watch: &str, stat: &Stat) -> Result<(), String> {
    let text = fs::read_to_string(ledger).map_err(|error| error.to_string())?;
    let contents: Value = serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
    let version = &contents["watches"][watch]["applied"]["version"];
    if version["czxid"] == stat.czxid && version["mzxid"] == stat.mzxid { Ok(()) } else { Err(text) }
}
