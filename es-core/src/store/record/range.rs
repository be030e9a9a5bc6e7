//! Ranges of keys.

use super::{check_limit, key::RecordKey};
use crate::{error::StoreError, limits};

/// The order in which a scan returns records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOrder {
    /// Lowest key first.
    Ascending,
    /// Highest key first.
    Descending,
}

/// The records that a scan returns, or that an update reads.
///
/// ```
/// use es_core::store::{RecordKey, RecordRange};
///
/// let consumers = RecordRange::under(RecordKey::of(["consumer"])?);
/// assert!(consumers.contains(&RecordKey::of(["consumer", "orders"])?));
/// assert!(!consumers.contains(&RecordKey::of(["consumer"])?));
/// assert!(!consumers.contains(&RecordKey::of(["consumers"])?));
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRange {
    which: Which,
    start: Option<RecordKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    All,
    Under(RecordKey),
    Key(RecordKey),
}

/// The bounds of a range, as texts that are compared bytewise with [`RecordKey::as_str`]. Stores use it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordBounds {
    /// The inclusive lower bound of the range as text.
    pub from: String,
    /// The exclusive upper bound of the range as text; `None` if the range has no upper bound.
    pub to: Option<String>,
}

/// Returns the smallest text after the text of a key. A key has no character below the space, because control
/// characters are escaped.
fn just_after(key: &RecordKey) -> String {
    format!("{key} ")
}

impl RecordRange {
    /// Returns the range of every record.
    pub fn all() -> Self {
        Self { which: Which::All, start: None }
    }

    /// Returns the range of the records below a key, at any depth. The record of the key itself is not one of them.
    pub fn under(prefix: RecordKey) -> Self {
        Self { which: Which::Under(prefix), start: None }
    }

    /// Returns the range of one key.
    pub fn key(key: RecordKey) -> Self {
        Self { which: Which::Key(key), start: None }
    }

    /// Returns the rest of the range, starting at a key. A scan continues with it from the
    /// [`next`](super::RecordRead::next) of its last page. The rest is above the key in an ascending scan, and below
    /// the key in a descending one. It includes the key itself.
    #[must_use]
    pub fn starting_at(self, key: RecordKey) -> Self {
        Self { start: Some(key), ..self }
    }

    /// Returns the key, if the range consists of a single key.
    pub fn single_key(&self) -> Option<&RecordKey> {
        match &self.which {
            Which::Key(key) => Some(key),
            Which::All | Which::Under(_) => None,
        }
    }

    /// Returns the key below which the range lies, if it was created by [`under`](Self::under).
    pub fn prefix(&self) -> Option<&RecordKey> {
        match &self.which {
            Which::Under(prefix) => Some(prefix),
            Which::All | Which::Key(_) => None,
        }
    }

    /// Returns whether a key is in the range, wherever a scan of it starts.
    pub fn contains(&self, key: &RecordKey) -> bool {
        match &self.which {
            Which::All => true,
            Which::Under(prefix) => {
                key.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            Which::Key(own) => own == key,
        }
    }

    /// Returns the bounds of what a scan in this order reads. They are empty if the scan starts behind the end.
    pub fn bounds(&self, order: ScanOrder) -> RecordBounds {
        let mut bounds = match &self.which {
            Which::All => RecordBounds { from: String::new(), to: None },
            // '0' follows '/'.
            Which::Under(prefix) => RecordBounds { from: format!("{prefix}/"), to: Some(format!("{prefix}0")) },
            Which::Key(key) => RecordBounds { from: key.to_string(), to: Some(just_after(key)) },
        };
        match (order, &self.start) {
            (_, None) => {}
            (ScanOrder::Ascending, Some(start)) => bounds.from = bounds.from.max(start.to_string()),
            (ScanOrder::Descending, Some(start)) => {
                let end = just_after(start);
                bounds.to = Some(bounds.to.map_or(end.clone(), |to| to.min(end)));
            }
        }
        bounds
    }
}

/// Checks the scope of an update. Returns its bounds in ascending order, without overlap. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`] ranges, and [`StoreError::Refused`] for
/// a range that starts at a key, which only scans support.
pub fn check_scope(scope: &[RecordRange]) -> Result<Vec<RecordBounds>, StoreError> {
    check_limit("ranges in the scope of an update", limits::MAX_RECORDS_PER_READ, scope.len())?;
    if scope.iter().any(|range| range.start.is_some()) {
        return Err(StoreError::Refused { reason: "an update reads whole ranges; leave out `starting_at`" });
    }
    let mut all: Vec<RecordBounds> = scope.iter().map(|range| range.bounds(ScanOrder::Ascending)).collect();
    all.sort_unstable_by(|one, other| one.from.cmp(&other.from));
    let mut merged: Vec<RecordBounds> = Vec::with_capacity(all.len());
    for bounds in all {
        match merged.last_mut() {
            Some(last) if last.to.as_ref().is_none_or(|to| *to >= bounds.from) => {
                // A missing upper bound is the greatest one.
                last.to = last.to.take().zip(bounds.to).map(|(one, other)| one.max(other));
            }
            _ => merged.push(bounds),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RecordKey {
        RecordKey::parse(text).unwrap()
    }

    const KEYS: [&str; 12] = ["a", "a b", "a!", "a%25", "a-b", "a.b", "a/b", "a/b/c", "a/bc", "a0", "ab", "b/a"];

    fn inside(bounds: &RecordBounds) -> Vec<&'static str> {
        let is_below = |text: &str| bounds.to.as_ref().is_none_or(|to| text < to.as_str());
        KEYS.into_iter().filter(|text| bounds.from.as_str() <= *text && is_below(text)).collect()
    }

    #[test]
    fn bounds_enclose_exactly_what_the_range_contains() {
        let ranges = KEYS.into_iter().flat_map(|text| [RecordRange::key(key(text)), RecordRange::under(key(text))]);
        for range in ranges.chain([RecordRange::all()]) {
            let contained: Vec<&str> = KEYS.into_iter().filter(|text| range.contains(&key(text))).collect();
            assert_eq!(inside(&range.bounds(ScanOrder::Ascending)), contained, "{range:?}");
        }
        assert_eq!(inside(&RecordRange::under(key("a")).bounds(ScanOrder::Ascending)), ["a/b", "a/b/c", "a/bc"]);
    }

    #[test]
    fn a_scan_starts_at_its_key_in_either_order() {
        let rest = |order| inside(&RecordRange::under(key("a")).starting_at(key("a/b/c")).bounds(order));
        assert_eq!(rest(ScanOrder::Ascending), ["a/b/c", "a/bc"]);
        assert_eq!(rest(ScanOrder::Descending), ["a/b", "a/b/c"]);
        let beyond = RecordRange::key(key("a")).starting_at(key("b/a"));
        assert_eq!(inside(&beyond.bounds(ScanOrder::Ascending)), [""; 0]);
    }

    #[test]
    fn the_bounds_of_a_scope_are_in_order_and_do_not_overlap() {
        let of = |ranges: &[RecordRange]| check_scope(ranges).unwrap();
        let some = [RecordRange::key(key("b/a")), RecordRange::under(key("a")), RecordRange::key(key("a/b"))];
        let bounds = of(&some);
        assert_eq!(bounds.iter().map(inside).collect::<Vec<_>>(), [vec!["a/b", "a/b/c", "a/bc"], vec!["b/a"]]);
        assert_eq!(of(&[some[0].clone(), RecordRange::all(), some[1].clone()]), of(&[RecordRange::all()]));
        assert_eq!(of(&[]), []);
        let started = RecordRange::all().starting_at(key("a"));
        assert!(matches!(check_scope(&[started]), Err(StoreError::Refused { .. })));
    }
}
