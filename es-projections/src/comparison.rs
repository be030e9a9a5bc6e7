//! Compares two generations of a read model row by row.

mod changes;

use std::{
    cmp::Ordering,
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
};

use es_core::{Position, ReadModelRow, ReadModelSnapshot, StoreError, canonical_json, is_same_json};

pub use changes::{Change, ColumnSummary};
use changes::{changes, excerpts};

use crate::limits;

/// The comparison of a rebuilt read model with the live one, at the same position.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// All events up to this position have taken effect in both.
    pub position: Position,
    /// The totals of the live read model.
    pub live: Totals,
    /// The totals of the rebuilt read model.
    pub rebuilt: Totals,
    /// The number of rows that differ or exist in only one of the two. For a comparison by range, an upper bound.
    pub differing: u64,
    /// The number of these rows that exist only in the live read model.
    pub only_live: u64,
    /// The number of these rows that exist only in the rebuilt read model.
    pub only_rebuilt: u64,
    /// The columns in which the other rows differ, with the number of rows, by table and in the order in which they
    /// were found; at most [`limits::MAX_LISTED_COLUMNS`]. Rows that are not JSON objects do not contribute.
    pub columns: Vec<ColumnSummary>,
    /// The first differing rows, by table and key; at most [`limits::MAX_LISTED_DIFFERENCES`].
    pub first: Vec<Difference>,
    /// Whether ranges of rows were compared instead of single rows, because the live read model was too large to keep
    /// in memory during a rebuild in place. In this case, `first` names ranges of keys and the number of rows in them.
    pub by_range: bool,
}

/// The totals of a read model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// The number of rows or documents.
    pub rows: u64,
    /// The sum of the hashes of all rows, regardless of their order. Comparable only within the same version of this
    /// crate.
    pub hash: u64,
}

/// A row that differs between the two read models.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The name of the table as readers use it; empty for the documents of a view.
    pub table: String,
    /// The key of the row.
    pub key: String,
    /// The live row, shortened to [`limits::MAX_SHOWN_ROW_CHARS`] around the first difference; `None` if it does not
    /// exist.
    pub live: Option<String>,
    /// The rebuilt row, shortened in the same way; `None` if it does not exist.
    pub rebuilt: Option<String>,
    /// The columns that differ; at most [`limits::MAX_LISTED_COLUMNS`]. Empty if the row exists in only one of the two,
    /// or is not a JSON object.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Returns whether both are identical, row for row.
    pub fn is_same(&self) -> bool {
        self.differing == 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, live, rebuilt, differing, only_live, only_rebuilt, columns, first, by_range } = self;
        if self.is_same() {
            return write!(f, "at position {position} both have the same {} row(s)", live.rows);
        }
        write!(
            f,
            "at position {position} the live one has {} row(s), the rebuilt one {}; {}{differing} differ",
            live.rows,
            rebuilt.rows,
            if *by_range { "at most " } else { "" }
        )?;
        let in_both = *differing - only_live - only_rebuilt;
        if *only_live > 0 {
            write!(f, "\n  {only_live} row(s) are gone")?;
        }
        if *only_rebuilt > 0 {
            write!(f, "\n  {only_rebuilt} row(s) are new")?;
        }
        let only = if columns.len() == 1 { "only " } else { "" };
        for summary in columns {
            let ColumnSummary { table, column, .. } = summary;
            let dot = if table.is_empty() { "" } else { "." };
            write!(f, "\n  {only}{table}{dot}{column} {}", summary.text(in_both))?;
        }
        if columns.len() == limits::MAX_LISTED_COLUMNS {
            f.write_str("\n  and perhaps other columns")?;
        }
        for Difference { table, key, live, rebuilt, changes } in first {
            let dot = if table.is_empty() { "" } else { " " };
            write!(f, "\n  {table}{dot}{key}:")?;
            let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            if changes.is_empty() {
                write!(f, " {} -> {}", or_none(live), or_none(rebuilt))?;
            }
            for (index, Change { column, live, rebuilt, .. }) in changes.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                write!(f, "{comma} {column} {} -> {}", or_none(live), or_none(rebuilt))?;
            }
        }
        if *by_range && first.len() == limits::MAX_LISTED_DIFFERENCES {
            f.write_str("\n  and perhaps more")?;
        } else if !by_range && *differing > first.len() as u64 {
            write!(f, "\n  and {} more", differing - first.len() as u64)?;
        }
        Ok(())
    }
}

impl Totals {
    pub(crate) fn add(&mut self, row: &ReadModelRow) {
        let mut hasher = DefaultHasher::new();
        (&row.table, &row.key, canonical_json(&row.content)).hash(&mut hasher);
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hasher.finish());
    }

    pub(crate) fn add_all(&mut self, other: Totals) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// Compares two snapshots of the same position, in one pass over both and with bounded memory.
///
/// # Errors
/// Returns [`StoreError`] if one of them could not be read to its end.
pub(crate) async fn compare(
    mut live: ReadModelSnapshot,
    mut rebuilt: ReadModelSnapshot,
) -> Result<Comparison, StoreError> {
    let mut comparison = Comparison::new(live.position());
    let (mut left, mut right) = (live.next().await?, rebuilt.next().await?);
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(comparison),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => (&left.table, &left.key).cmp(&(&right.table, &right.key)),
        };
        let old = if order.is_le() { left.take() } else { None };
        let new = if order.is_ge() { right.take() } else { None };
        if let Some(old) = &old {
            comparison.live.add(old);
            left = live.next().await?;
        }
        if let Some(new) = &new {
            comparison.rebuilt.add(new);
            right = rebuilt.next().await?;
        }
        if !is_same_row(old.as_ref(), new.as_ref()) {
            comparison.note(old, new);
        }
    }
}

/// Returns whether two rows have the same content. The content is JSON, and the order of keys in its objects does not
/// matter, because a hash map is written in any order.
fn is_same_row(old: Option<&ReadModelRow>, new: Option<&ReadModelRow>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            (&old.table, &old.key) == (&new.table, &new.key) && is_same_json(&old.content, &new.content)
        }
        _ => old.is_none() && new.is_none(),
    }
}

impl Comparison {
    /// Returns a comparison of two empty read models.
    pub(crate) fn new(position: Position) -> Self {
        let (live, rebuilt) = (Totals::default(), Totals::default());
        let (columns, first) = (Vec::new(), Vec::new());
        Self { position, live, rebuilt, differing: 0, only_live: 0, only_rebuilt: 0, columns, first, by_range: false }
    }

    fn note(&mut self, live: Option<ReadModelRow>, rebuilt: Option<ReadModelRow>) {
        let Some(row) = live.as_ref().or(rebuilt.as_ref()) else { return };
        let changes = match (&live, &rebuilt) {
            (Some(live), Some(rebuilt)) => match changes(&live.content, &rebuilt.content) {
                // Only the order of their columns differs.
                Some(changes) if changes.is_empty() => return,
                changes => changes.unwrap_or_default(),
            },
            _ => Vec::new(),
        };
        self.differing += 1;
        self.only_live += u64::from(rebuilt.is_none());
        self.only_rebuilt += u64::from(live.is_none());
        changes.iter().for_each(|change| self.count(&row.table, change));
        if self.has_room() {
            let (table, key) = (row.table.clone(), shortened(&row.key));
            let content = |row: &Option<ReadModelRow>| row.as_ref().map(|row| row.content.clone());
            let (live, rebuilt) = excerpts(content(&live).as_deref(), content(&rebuilt).as_deref());
            let changes = changes.into_iter().take(limits::MAX_LISTED_COLUMNS).collect();
            self.list(Difference { table, key, live, rebuilt, changes });
        }
    }

    fn count(&mut self, table: &str, change: &Change) {
        let is_it = |known: &ColumnSummary| known.table == table && known.column == change.column;
        match self.columns.iter().position(is_it) {
            Some(index) => self.columns[index].count(change),
            None if self.columns.len() < limits::MAX_LISTED_COLUMNS => {
                let mut new = ColumnSummary::new(table, &change.column);
                new.count(change);
                self.columns.push(new);
            }
            None => {}
        }
    }

    fn has_room(&self) -> bool {
        self.first.len() < limits::MAX_LISTED_DIFFERENCES
    }

    /// Lists a difference, if the list is not full.
    pub(crate) fn list(&mut self, difference: Difference) {
        if self.has_room() {
            self.first.push(difference);
        }
    }
}

pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(limits::MAX_SHOWN_ROW_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn snapshot(rows: &[(&str, &str)]) -> ReadModelSnapshot {
        let (snapshot, sender) = ReadModelSnapshot::new(Position::new(7));
        let row = |&(key, content): &(&str, &str)| ReadModelRow {
            table: String::new(),
            key: key.to_owned(),
            content: content.to_owned(),
        };
        sender.send(Ok(rows.iter().map(row).collect())).await.unwrap();
        snapshot
    }

    #[tokio::test]
    async fn equal_read_models_have_equal_totals_and_no_differences() {
        let rows = [("ann", "1"), ("bob", "2")];
        let same = compare(snapshot(&rows).await, snapshot(&rows).await).await.unwrap();
        assert!(same.is_same());
        assert_eq!((same.live, same.live.rows, same.position), (same.rebuilt, 2, Position::new(7)));
        assert_eq!(same.to_string(), "at position 7 both have the same 2 row(s)");
        let empty = compare(snapshot(&[]).await, snapshot(&[]).await).await.unwrap();
        assert!(empty.is_same());
    }

    #[tokio::test]
    async fn what_differs_and_what_is_missing_on_either_side_is_listed_by_key() {
        let live = snapshot(&[("ann", "1"), ("bob", "2"), ("cid", "3")]).await;
        let rebuilt = snapshot(&[("aaa", "0"), ("ann", "1"), ("cid", "4"), ("dan", "5")]).await;
        let comparison = compare(live, rebuilt).await.unwrap();
        let text = |text: &str| Some(text.to_owned());
        let listed: Vec<_> =
            comparison.first.iter().map(|d| (d.key.as_str(), d.live.clone(), d.rebuilt.clone())).collect();
        assert_eq!(
            listed,
            [
                ("aaa", None, text("0")),
                ("bob", text("2"), None),
                ("cid", text("3"), text("4")),
                ("dan", None, text("5"))
            ]
        );
        assert_eq!((comparison.differing, comparison.live.rows, comparison.rebuilt.rows), (4, 3, 4));
        assert_ne!(comparison.live.hash, comparison.rebuilt.hash);
        assert!(comparison.to_string().contains("\n  cid: 3 -> 4"), "{comparison}");
    }

    #[tokio::test]
    async fn rows_whose_keys_have_another_order_are_the_same_and_elements_of_a_list_are_not() {
        let live = || snapshot(&[("ann", r#"{"a":{"x":1,"y":2},"b":[1,2]}"#)]);
        let same = compare(live().await, snapshot(&[("ann", r#"{"b":[1,2],"a":{"y":2,"x":1}}"#)]).await).await.unwrap();
        assert!(same.is_same() && same.live == same.rebuilt, "{same}");
        let other =
            compare(live().await, snapshot(&[("ann", r#"{"b":[2,1],"a":{"y":2,"x":1}}"#)]).await).await.unwrap();
        assert!(!other.is_same() && other.live != other.rebuilt, "{other}");
        let summary = "  only b has the same elements in another order in 1 of 1 row(s); use a BTreeSet or a sorted list instead of a HashSet";
        assert_eq!(other.to_string().lines().nth(1), Some(summary));
    }

    #[tokio::test]
    async fn a_new_column_is_named_once_with_its_rows_and_long_rows_do_not_hide_it() {
        let long = "x".repeat(5_000);
        let keys: Vec<String> = (100..399).map(|number| number.to_string()).collect();
        let of =
            |tail: &str| keys.iter().map(|_| format!(r#"{{"note":"{long}","cents":1{tail}}}"#)).collect::<Vec<_>>();
        let (old, new) = (of(""), of(r#","days":7"#));
        let rows = |contents: &[String]| {
            let rows: Vec<(String, String)> = keys.iter().cloned().zip(contents.iter().cloned()).collect();
            rows
        };
        let as_rows = |rows: &[(String, String)]| {
            let row = |(key, content): &(String, String)| ReadModelRow {
                table: "orders".to_owned(),
                key: key.clone(),
                content: content.clone(),
            };
            let (snapshot, sender) = ReadModelSnapshot::new(Position::new(7));
            sender.try_send(Ok(rows.iter().map(row).collect())).unwrap();
            snapshot
        };
        let comparison = compare(as_rows(&rows(&old)), as_rows(&rows(&new))).await.unwrap();
        assert_eq!((comparison.differing, comparison.columns.len()), (299, 1));
        let text = comparison.to_string();
        let mut lines = text.lines().skip(1);
        assert_eq!(lines.next(), Some("  only orders.days is new in 299 of 299 row(s)"), "{text}");
        assert_eq!(lines.next(), Some("  orders 100: days - -> 7"), "{text}");
        // The whole row is shown from shortly before the first difference.
        assert!(comparison.first[0].rebuilt.as_deref().unwrap().ends_with(r#","cents":1,"days":7}"#));
    }

    #[tokio::test]
    async fn columns_that_changed_or_are_gone_are_counted_also_within_others_and_new_rows_apart() {
        let live = snapshot(&[
            ("a", r#"{"at":{"city":"Brno","zip":1},"old":1}"#),
            ("b", r#"{"at":{"city":"Brno"},"old":1}"#),
            ("c", "{}"),
        ]);
        let rebuilt = snapshot(&[
            ("a", r#"{"at":{"zip":1,"city":"Praha"}}"#),
            ("b", r#"{"old":1,"at":{"city":"Brno"}}"#),
            ("d", "{}"),
        ]);
        let comparison = compare(live.await, rebuilt.await).await.unwrap();
        assert_eq!((comparison.differing, comparison.only_live, comparison.only_rebuilt), (3, 1, 1));
        let text = comparison.to_string();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  1 row(s) are gone",
                "  1 row(s) are new",
                "  at.city has another value in 1 of 1 row(s)",
                "  old is gone in 1 of 1 row(s)",
                r#"  a: at.city "Brno" -> "Praha", old 1 -> -"#,
                "  c: {} -> -",
                "  d: - -> {}"
            ]
        );
    }

    #[tokio::test]
    async fn long_values_are_shown_from_where_they_differ() {
        let (old, new) = ("x".repeat(1_000) + "old", "x".repeat(1_000) + "new");
        let comparison = compare(snapshot(&[("a", &old)]).await, snapshot(&[("a", &new)]).await).await.unwrap();
        assert!(comparison.to_string().ends_with(&format!("xold -> …{}new", "x".repeat(40))), "{comparison}");
    }

    #[tokio::test]
    async fn rows_without_a_key_of_their_own_are_compared_as_often_as_they_occur() {
        let comparison =
            compare(snapshot(&[("x", "x"), ("x", "x")]).await, snapshot(&[("x", "x")]).await).await.unwrap();
        assert_eq!((comparison.differing, comparison.first.len()), (1, 1));
    }

    #[tokio::test]
    async fn a_long_list_of_differences_ends_and_says_how_many_there_are() {
        let keys: Vec<String> = (100..200).map(|number| number.to_string()).collect();
        let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        let comparison = compare(snapshot(&rows).await, snapshot(&[]).await).await.unwrap();
        assert_eq!((comparison.differing, comparison.first.len()), (100, limits::MAX_LISTED_DIFFERENCES));
        assert!(comparison.to_string().ends_with("and 80 more"), "{comparison}");
        let long = "é".repeat(limits::MAX_SHOWN_ROW_CHARS + 1);
        assert_eq!(shortened(&long).chars().count(), limits::MAX_SHOWN_ROW_CHARS + 1);
    }
}
