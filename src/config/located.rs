//! Where the keys of each watch stand in a text that was already read: for what is said of a watch later on.
//! Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeTable;

/// Where the values of the keys of one `[[watch]]` table stand, in bytes.
pub type Values = BTreeMap<String, Range<usize>>;

/// The values of each `[[watch]]` table of a text, in its order. Of what is no TOML, as far as it goes.
#[must_use]
pub fn values(text: &str) -> Vec<Values> {
    let (document, _) = DeTable::parse_recoverable(text);
    let Some(tables) = document.get_ref().get("watch").and_then(|watch| watch.get_ref().as_array()) else {
        return Vec::new();
    };
    let of = |table: &DeTable<'_>| {
        table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect()
    };
    tables.iter().map(|table| table.get_ref().as_table().map(of).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_key_is_found_in_its_table() {
        let text = "[[watch]]\nuid = 'a'\n[[watch]]\nznode = '/'\nuid = 'b'\n";
        let found: Vec<_> = values(text).iter().map(|table| table["uid"].clone()).collect();
        assert_eq!(found.into_iter().map(|span| &text[span]).collect::<Vec<_>>(), ["'a'", "'b'"]);
        assert_eq!(values("watch = 5"), []);
        assert_eq!(values("[[watch"), [Values::new()]);
    }
}
