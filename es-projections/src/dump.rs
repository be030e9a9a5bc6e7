//! Keeps the previous content of a read model during a rebuild in place, to compare the two.

use std::mem::size_of;

use es_core::{Position, ReadModelRow, ReadModelSnapshot, StoreError};

use crate::{
    comparison::{Comparison, Difference, Totals, compare, shortened},
    limits,
};

/// The content of a read model at one position, in bounded memory. It contains all rows as long as they do not exceed
/// [`limits::MAX_DUMP_BYTES`], and otherwise the counts and hashes of at most [`limits::MAX_DUMP_RANGES`] ranges of
/// rows.
pub(crate) struct Dump {
    position: Position,
    held: Held,
}

enum Held {
    Rows { rows: Vec<ReadModelRow>, bytes: usize },
    Ranges(Ranges),
}

impl Dump {
    /// Reads a snapshot to its end.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the snapshot could not be read.
    pub(crate) async fn take(mut snapshot: ReadModelSnapshot) -> Result<Self, StoreError> {
        let mut dump = Self { position: snapshot.position(), held: Held::Rows { rows: Vec::new(), bytes: 0 } };
        while let Some(row) = snapshot.next().await? {
            dump.add(row);
        }
        Ok(dump)
    }

    /// Returns the position of the dump: all events up to here have taken effect in it, and no later ones.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    fn add(&mut self, row: ReadModelRow) {
        match &mut self.held {
            Held::Ranges(ranges) => ranges.add(&row),
            Held::Rows { rows, bytes } => {
                *bytes += size_of::<ReadModelRow>() + row.table.len() + row.key.len() + row.content.len();
                rows.push(row);
                if *bytes > limits::MAX_DUMP_BYTES {
                    let mut ranges = Ranges { all: Vec::new(), rows_each: 1 };
                    rows.iter().for_each(|row| ranges.add(row));
                    self.held = Held::Ranges(ranges);
                }
            }
        }
    }

    /// Compares the previous content with the current content at the same position.
    ///
    /// # Errors
    /// Returns [`StoreError`] if the snapshot could not be read.
    pub(crate) async fn compare(self, rebuilt: ReadModelSnapshot) -> Result<Comparison, StoreError> {
        match self.held {
            Held::Rows { rows, .. } => {
                let (live, sender) = ReadModelSnapshot::new(self.position);
                // The channel has room for one page, and this is the only one.
                let _ = sender.try_send(Ok(rows));
                drop(sender);
                compare(live, rebuilt).await
            }
            Held::Ranges(ranges) => ranges.compare(self.position, rebuilt).await,
        }
    }
}

/// Consecutive ranges of rows, in order.
struct Ranges {
    all: Vec<Range>,
    /// The number of rows in each range except the last range of a table.
    rows_each: u64,
}

/// The rows of one table from one key to another. Only the beginnings of long keys are kept. Rows whose keys begin
/// alike are in the same range, so that the rows of another read model can be sorted into the same ranges.
struct Range {
    table: String,
    first: String,
    last: String,
    totals: Totals,
}

impl Ranges {
    fn add(&mut self, row: &ReadModelRow) {
        let key = beginning(&row.key);
        match self.all.last_mut() {
            Some(range) if range.table == row.table && (range.totals.rows < self.rows_each || range.last == key) => {
                range.totals.add(row);
                key.clone_into(&mut range.last);
            }
            _ => {
                let mut totals = Totals::default();
                totals.add(row);
                self.all.push(Range { table: row.table.clone(), first: key.to_owned(), last: key.to_owned(), totals });
                if self.all.len() > limits::MAX_DUMP_RANGES {
                    self.halve();
                }
            }
        }
    }

    /// Merges each two neighboring ranges into one.
    fn halve(&mut self) {
        let mut halved: Vec<Range> = Vec::with_capacity(limits::MAX_DUMP_RANGES);
        for range in std::mem::take(&mut self.all) {
            match halved.last_mut() {
                Some(before) if before.table == range.table && before.totals.rows <= self.rows_each => {
                    before.last = range.last;
                    before.totals.add_all(range.totals);
                }
                _ => halved.push(range),
            }
        }
        self.all = halved;
        self.rows_each *= 2;
    }

    async fn compare(&self, position: Position, mut rebuilt: ReadModelSnapshot) -> Result<Comparison, StoreError> {
        let mut found = vec![Totals::default(); self.all.len()];
        let mut at = 0;
        while let Some(row) = rebuilt.next().await? {
            // The last range that does not begin after the row, or the first range if all do.
            let place = (row.table.as_str(), beginning(&row.key));
            while self.all.get(at + 1).is_some_and(|next| (next.table.as_str(), next.first.as_str()) <= place) {
                at += 1;
            }
            found[at].add(&row);
        }
        let mut comparison = Comparison { by_range: true, ..Comparison::new(position) };
        for (range, found) in self.all.iter().zip(found) {
            comparison.live.add_all(range.totals);
            comparison.rebuilt.add_all(found);
            if range.totals != found {
                comparison.differing += range.totals.rows.max(found.rows);
                let rows = |totals: Totals| Some(format!("{} row(s)", totals.rows));
                comparison.list(Difference {
                    table: range.table.clone(),
                    key: shortened(&format!("{} to {}", range.first, range.last)),
                    live: rows(range.totals),
                    rebuilt: rows(found),
                    changes: Vec::new(),
                });
            }
        }
        Ok(comparison)
    }
}

/// Returns the part of a key that is kept.
fn beginning(key: &str) -> &str {
    match key.char_indices().nth(limits::MAX_SHOWN_ROW_CHARS) {
        None => key,
        Some((end, _)) => &key[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 40_000;

    fn row(key: &str, content: &str) -> ReadModelRow {
        ReadModelRow { table: "t".to_owned(), key: key.to_owned(), content: content.to_owned() }
    }

    fn snapshot(rows: Vec<ReadModelRow>) -> ReadModelSnapshot {
        let (snapshot, sender) = ReadModelSnapshot::new(Position::new(7));
        sender.try_send(Ok(rows)).unwrap();
        snapshot
    }

    /// More bytes than are kept row by row, and more rows than ranges.
    fn large() -> Vec<ReadModelRow> {
        let content = "x".repeat(500);
        (0..ROWS).map(|number| row(&format!("{number:06}"), &content)).collect()
    }

    async fn compared(before: Vec<ReadModelRow>, after: Vec<ReadModelRow>) -> Comparison {
        Dump::take(snapshot(before)).await.unwrap().compare(snapshot(after)).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_small_is_compared_row_by_row() {
        let comparison = compared(vec![row("a", "1"), row("b", "2")], vec![row("a", "1"), row("b", "3")]).await;
        assert!(!comparison.by_range);
        assert_eq!(comparison.to_string().lines().last(), Some("  t b: 2 -> 3"));
    }

    #[tokio::test]
    async fn what_is_large_is_compared_range_by_range_in_bounded_memory() {
        let dump = Dump::take(snapshot(large())).await.unwrap();
        let Held::Ranges(ranges) = &dump.held else { panic!("it is remembered row by row") };
        assert!(ranges.all.len() <= limits::MAX_DUMP_RANGES, "{} ranges", ranges.all.len());
        assert_eq!(ranges.rows_each, 4);
        let same = dump.compare(snapshot(large())).await.unwrap();
        assert!(same.by_range && same.is_same() && same.live == same.rebuilt, "{same}");
        assert_eq!(same.live.rows, ROWS as u64);
    }

    #[tokio::test]
    async fn a_row_more_or_less_or_another_one_is_found_in_its_range() {
        let changed = |change: &dyn Fn(&mut Vec<ReadModelRow>)| {
            let mut rows = large();
            change(&mut rows);
            rows
        };
        let cases: [(Vec<ReadModelRow>, &str); 6] = [
            (changed(&|rows| rows[9].content.push('y')), "  t 000008 to 000011: 4 row(s) -> 4 row(s)"),
            (changed(&|rows| drop(rows.remove(8))), "  t 000008 to 000011: 4 row(s) -> 3 row(s)"),
            (changed(&|rows| rows.insert(12, row("000011a", ""))), "  t 000008 to 000011: 4 row(s) -> 5 row(s)"),
            (changed(&|rows| rows.insert(0, row("", ""))), "  t 000000 to 000003: 4 row(s) -> 5 row(s)"),
            (changed(&|rows| rows.push(row("9", ""))), "  t 039996 to 039999: 4 row(s) -> 5 row(s)"),
            (Vec::new(), "  and perhaps more"),
        ];
        for (rebuilt, line) in cases {
            let text = compared(large(), rebuilt).await.to_string();
            assert_eq!(text.lines().last(), Some(line), "{text}");
        }
    }

    #[tokio::test]
    async fn rows_whose_long_keys_begin_alike_are_in_one_range() {
        let alike = "k".repeat(limits::MAX_SHOWN_ROW_CHARS);
        let rows: Vec<_> = (0..ROWS).map(|number| row(&format!("{alike}{number:06}"), &alike)).collect();
        let mut other = rows.clone();
        other.insert(0, row(&alike, ""));
        assert!(compared(rows.clone(), rows.clone()).await.is_same());
        assert_eq!(compared(rows, other).await.first.len(), 1);
    }
}
