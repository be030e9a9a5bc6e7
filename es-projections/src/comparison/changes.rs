//! Which columns of a row, or fields of a document, are not the same.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::Value;

use crate::limits;

/// A column of a row, or a field of a document, that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The column; of a field within another its path, such as `address.city`.
    pub column: String,
    /// Its live value as JSON, shortened to [`limits::MAX_SHOWN_ROW_CHARS`] from where it differs; `None` if there is none.
    pub live: Option<String>,
    /// Its rebuilt value, shortened in the same way; `None` if there is none.
    pub rebuilt: Option<String>,
    /// Whether the two values hold the same elements and differ only in the order of their lists. A `HashSet` is written in
    /// another order each time.
    pub is_reordered: bool,
}

/// In how many rows a column is not the same, among the rows that are in both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnSummary {
    /// The table's name for readers; empty for the documents of a view.
    pub table: String,
    /// The column; see [`Change::column`].
    pub column: String,
    /// How many rows have it only since the rebuild.
    pub new: u64,
    /// How many rows have it no more.
    pub gone: u64,
    /// How many rows have another value.
    pub changed: u64,
    /// How many rows have the same elements in [another order](Change::is_reordered).
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

    /// What became of it, in so many rows that are in both.
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

/// The columns of a row that are not the same; `None` if the two are not both JSON objects. The order of columns is of no
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

/// The value as text, with the elements of its lists in one order.
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

/// Two texts, each shortened to what can be shown, from shortly before the place where they differ.
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
