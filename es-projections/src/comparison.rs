//! Two generations of a read model, row by row.

use std::{
    cmp::Ordering,
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
};

use es_core::{FrozenReadModel, Position, ReadModelRow, StoreError};

use crate::limits;

/// How a rebuilt read model compares with the live one, both at the same position.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Every event up to here has taken effect in both.
    pub position: Position,
    /// The live one.
    pub live: Totals,
    /// The rebuilt one.
    pub rebuilt: Totals,
    /// How many rows differ, or are in one of them only; of ranges of rows, at most so many.
    pub differing: u64,
    /// The first of them, by table and key; at most [`limits::MAX_LISTED_DIFFERENCES`].
    pub first: Vec<Difference>,
    /// Whether it was compared range by range instead of row by row, since what was live was too large to be remembered
    /// while it was rebuilt in place: then `first` names ranges of keys, and how many rows they hold.
    pub by_range: bool,
}

/// What a read model holds as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Its rows or documents.
    pub rows: u64,
    /// The sum of the hashes of all rows, whatever their order. Of the same version of this crate only.
    pub hash: u64,
}

/// A row that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The table's name for readers; empty for the documents of a view.
    pub table: String,
    /// The row's key.
    pub key: String,
    /// What is live, shortened to [`limits::MAX_SHOWN_ROW_CHARS`]; `None` if it is not there.
    pub live: Option<String>,
    /// What was rebuilt, shortened in the same way; `None` if it is not there.
    pub rebuilt: Option<String>,
}

impl Comparison {
    /// Whether both are the same, row for row.
    pub fn is_same(&self) -> bool {
        self.differing == 0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, live, rebuilt, differing, first, by_range } = self;
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
        for Difference { table, key, live, rebuilt } in first {
            let (live, rebuilt) = (live.as_deref().unwrap_or("-"), rebuilt.as_deref().unwrap_or("-"));
            let dot = if table.is_empty() { "" } else { " " };
            write!(f, "\n  {table}{dot}{key}: {live} -> {rebuilt}")?;
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
        row.hash(&mut hasher);
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hasher.finish());
    }

    pub(crate) fn add_all(&mut self, other: Totals) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

/// Compares two pictures of the same position, in one pass over both and in bounded memory.
///
/// # Errors
/// [`StoreError`] if one of them could not be read to its end.
pub(crate) async fn compare(mut live: FrozenReadModel, mut rebuilt: FrozenReadModel) -> Result<Comparison, StoreError> {
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
        if old != new {
            comparison.note(old, new);
        }
    }
}

impl Comparison {
    /// Of two that are empty.
    pub(crate) fn new(position: Position) -> Self {
        let (live, rebuilt) = (Totals::default(), Totals::default());
        Self { position, live, rebuilt, differing: 0, first: Vec::new(), by_range: false }
    }

    fn note(&mut self, live: Option<ReadModelRow>, rebuilt: Option<ReadModelRow>) {
        self.differing += 1;
        let Some(row) = live.as_ref().or(rebuilt.as_ref()) else { return };
        self.list(Difference {
            table: row.table.clone(),
            key: shortened(&row.key),
            live: live.as_ref().map(|row| shortened(&row.content)),
            rebuilt: rebuilt.as_ref().map(|row| shortened(&row.content)),
        });
    }

    /// Lists a difference, if there is room for it.
    pub(crate) fn list(&mut self, difference: Difference) {
        if self.first.len() < limits::MAX_LISTED_DIFFERENCES {
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

    async fn picture(rows: &[(&str, &str)]) -> FrozenReadModel {
        let (frozen, sender) = FrozenReadModel::new(Position::new(7));
        let row = |&(key, content): &(&str, &str)| ReadModelRow {
            table: String::new(),
            key: key.to_owned(),
            content: content.to_owned(),
        };
        sender.send(Ok(rows.iter().map(row).collect())).await.unwrap();
        frozen
    }

    #[tokio::test]
    async fn equal_read_models_have_equal_totals_and_no_differences() {
        let rows = [("ann", "1"), ("bob", "2")];
        let same = compare(picture(&rows).await, picture(&rows).await).await.unwrap();
        assert!(same.is_same());
        assert_eq!((same.live, same.live.rows, same.position), (same.rebuilt, 2, Position::new(7)));
        assert_eq!(same.to_string(), "at position 7 both have the same 2 row(s)");
        let empty = compare(picture(&[]).await, picture(&[]).await).await.unwrap();
        assert!(empty.is_same());
    }

    #[tokio::test]
    async fn what_differs_and_what_is_missing_on_either_side_is_listed_by_key() {
        let live = picture(&[("ann", "1"), ("bob", "2"), ("cid", "3")]).await;
        let rebuilt = picture(&[("aaa", "0"), ("ann", "1"), ("cid", "4"), ("dan", "5")]).await;
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
    async fn rows_without_a_key_of_their_own_are_compared_as_often_as_they_occur() {
        let comparison = compare(picture(&[("x", "x"), ("x", "x")]).await, picture(&[("x", "x")]).await).await.unwrap();
        assert_eq!((comparison.differing, comparison.first.len()), (1, 1));
    }

    #[tokio::test]
    async fn a_long_list_of_differences_ends_and_says_how_many_there_are() {
        let keys: Vec<String> = (100..200).map(|number| number.to_string()).collect();
        let rows: Vec<_> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        let comparison = compare(picture(&rows).await, picture(&[]).await).await.unwrap();
        assert_eq!((comparison.differing, comparison.first.len()), (100, limits::MAX_LISTED_DIFFERENCES));
        assert!(comparison.to_string().ends_with("and 80 more"), "{comparison}");
        let long = "é".repeat(limits::MAX_SHOWN_ROW_CHARS + 1);
        assert_eq!(shortened(&long).chars().count(), limits::MAX_SHOWN_ROW_CHARS + 1);
    }
}
