//! The text of a watch file in, its watches or all its problems out. Pure: no file is opened here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::keys;
use super::problem::{Place, Problem, Source};
use super::reader::Reader;
use super::spec::{WatchName, WatchSpec};
use super::watch_table::{self, Defaults};

/// A watch, and where its name stands (or its table, if it has the name of its file).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The definition.
    pub spec: Arc<WatchSpec>,
    /// Where problems with its name are shown.
    pub place: Place,
}

/// Reads the bytes of a watch file. `path` is for messages; `base_name` is what the first watch without
/// a `name` is called (see [`base_name`]).
///
/// # Errors
/// All that is wrong with the file, in the order of the text. A file with one problem has no watches.
pub fn parse(
    path: &Path,
    bytes: &[u8],
    defaults: &Defaults,
    base_name: &str,
) -> Result<Vec<Placed>, Vec<Problem>> {
    let source = Source::decode(path, bytes).map_err(|problem| vec![problem])?;
    let mut r = Reader::new(source);
    let mut found = Vec::new();
    let document = r.document().unwrap_or_default();
    for (key, value) in &document {
        match (key.get_ref().as_ref(), value.get_ref().as_array(), value.get_ref().is_table()) {
            ("watch", Some(tables), _) => {
                for (index, table) in tables.iter().enumerate() {
                    let name = numbered(base_name, index);
                    if let Some(fields) = r.table("watch", table) {
                        found.extend(watch_table::read(&mut r, table.span(), fields, defaults, name));
                    }
                }
            }
            ("watch", None, true) => {
                let help = "write [[watch]]: a file may have several";
                r.report_with_help(value.span(), "a watch is written with two brackets", help);
            }
            ("watch", None, false) => r.wrong_type("watch", value, "a table [[watch]]"),
            (other, _, true) => {
                r.report_with_help(
                    key.span(),
                    format!("unknown table [{other}] in a watch file"),
                    meant(other),
                );
            }
            (other, Some(tables), _) if tables.iter().any(|table| table.get_ref().is_table()) => {
                r.report_with_help(
                    key.span(),
                    format!("unknown table [[{other}]] in a watch file"),
                    meant(other),
                );
            }
            (other, ..) => {
                let message = format!("the key {other:?} stands outside of a [[watch]] table");
                r.report_with_help(key.span(), message, "put [[watch]] above the keys of a watch");
            }
        }
    }
    let mut seen: BTreeMap<WatchName, usize> = BTreeMap::new();
    let mut watches = Vec::new();
    for (spec, span) in found {
        let place = r.place(span.clone());
        if let Some(line) = seen.get(&spec.name) {
            let message = format!("a second watch with the name {:?}", spec.name.as_str());
            r.report_with_help(span, message, format!("the first is on line {line}: rename one of them"));
            continue;
        }
        seen.insert(spec.name.clone(), place.line);
        watches.push(Placed { spec: Arc::new(spec), place });
    }
    r.finish(watches)
}

/// What to write in the place of a table of this name.
fn meant(table: &str) -> &'static str {
    match keys::nearest(table, ["watch"]) {
        Some(_) => "did you mean [[watch]]?",
        None => "the only one is [[watch]]",
    }
}

/// The name of the first watch of the file at `below`, a path below the config folder: without `.toml`,
/// `/` as `.`.
#[must_use]
pub fn base_name(below: &Path) -> String {
    let parts: Vec<_> =
        below.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join(".")
}

/// The name of table number `index` of a file: `name`, `name-2`, `name-3`…
fn numbered(base: &str, index: usize) -> Result<WatchName, String> {
    let name = if index == 0 { base.to_owned() } else { format!("{base}-{}", index + 1) };
    WatchName::try_from(&*name).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
