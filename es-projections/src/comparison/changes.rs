//! Finds the columns of a row, or fields of a document, that differ.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::Value;

use crate::limits;

/// A column of a row, or a field of a document, that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The name of the column. For a nested field, its path, such as `address.city`.
    pub column: String,
    /// The live value as JSON, shortened to [`limits::MAX_SHOWN_ROW_CHARS`] around the first difference; `None` if
    /// there is none.
    pub live: Option<String>,
    /// The rebuilt value, shortened in the same way; `None` if there is none.
    pub rebuilt: Option<String>,
    /// Whether the two values contain the same elements and differ only in the order of their lists. For example, a
    /// `HashSet` is written in a different order each time.
    pub is_reordered: bool,
}

/// The number of rows in which a column differs, among the rows that exist in both read models.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnSummary {
    /// The name of the table as readers use it; empty for the documents of a view.
    pub table: String,
    /// The name of the column; see [`Change::column`].
    pub column: String,
    /// The number of rows that have the column only in the rebuilt read model.
    pub new: u64,
    /// The number of rows that no longer have the column.
    pub gone: u64,
    /// The number of rows with a different value.
    pub changed: u64,
    /// The number of rows with the same elements in a [different order](Change::is_reordered).
    pub reordered: u64,
}

impl ColumnSummary {
    pub(super) fn new(table: &str, column: &str) -> Self {
        Self { table: table.to_owned(), column: column.to_owned(), new: 0, gone: 0, changed: 0, reordered: 0 }
    }

    pub(super) fn count(&mut self, change: &Change) {
        match (&change.live, &change.rebuilt) {
            (None, _) => self.new += 1,
            (_, None) => self.gone += 1,
            _ if change.is_reordered => self.reordered += 1,
            _ => self.changed += 1,
        }
    }

    /// Returns a description of the changes. `rows` is the number of rows that exist in both read models.
    pub(super) fn text(&self, rows: u64) -> String {
        let parts = [
            ("is new", self.new),
            ("is gone", self.gone),
            ("has another value", self.changed),
            ("has the same elements in another order", self.reordered),
        ];
        let parts = parts.iter().filter(|(_, count)| *count > 0);
        let parts: Vec<_> = parts.map(|(what, count)| format!("{what} in {count} of {rows} row(s)")).collect();
        let hint = if self.reordered > 0 { "; use a BTreeSet or a sorted list instead of a HashSet" } else { "" };
        format!("{}{hint}", parts.join(", "))
    }
}

/// Returns the columns of a row that differ, or `None` unless both rows are JSON objects. The order of columns does not
/// matter.
pub(super) fn changes(live: &str, rebuilt: &str) -> Option<Vec<Change>> {
    let (Ok(live @ Value::Object(_)), Ok(rebuilt @ Value::Object(_))) =
        (serde_json::from_str(live), serde_json::from_str(rebuilt))
    else {
        return None;
    };
    let mut changes = Vec::new();
    collect("", Some(&live), Some(&rebuilt), &mut changes);
    Some(changes)
}

fn collect(path: &str, live: Option<&Value>, rebuilt: Option<&Value>, changes: &mut Vec<Change>) {
    if live == rebuilt {
        return;
    }
    if let (Some(Value::Object(live)), Some(Value::Object(rebuilt))) = (live, rebuilt) {
        for key in live.keys().chain(rebuilt.keys()).collect::<BTreeSet<_>>() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            collect(&path, live.get(key), rebuilt.get(key), changes);
        }
        return;
    }
    let is_reordered = live.map(sorted) == rebuilt.map(sorted);
    let (live, rebuilt) = (live.map(Value::to_string), rebuilt.map(Value::to_string));
    let (live, rebuilt) = excerpts(live.as_deref(), rebuilt.as_deref());
    changes.push(Change { column: path.to_owned(), live, rebuilt, is_reordered });
}

/// Returns the value as text, with the elements of its lists in a canonical order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<String> = elements.iter().map(sorted).collect();
            elements.sort_unstable();
            format!("[{}]", elements.join(","))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name:?}:{}", sorted(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

/// Shortens two texts to the length that is shown, starting shortly before the first difference.
pub(super) fn excerpts(live: Option<&str>, rebuilt: Option<&str>) -> (Option<String>, Option<String>) {
    let start = match (live, rebuilt) {
        (Some(live), Some(rebuilt)) => {
            let alike = live.chars().zip(rebuilt.chars()).take_while(|(a, b)| a == b).count();
            let longest = live.chars().count().max(rebuilt.chars().count());
            match longest.cmp(&limits::MAX_SHOWN_ROW_CHARS) {
                Ordering::Greater => alike.saturating_sub(limits::SHOWN_CHARS_BEFORE_A_DIFFERENCE),
                _ => 0,
            }
        }
        _ => 0,
    };
    (live.map(|text| excerpt(text, start)), rebuilt.map(|text| excerpt(text, start)))
}

fn excerpt(text: &str, start: usize) -> String {
    let rest: String = text.chars().skip(start).collect();
    format!("{}{}", if start > 0 { "…" } else { "" }, super::shortened(&rest))
}
