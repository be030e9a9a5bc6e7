//! Queries for the documents of a view, and their order.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use serde_json::value::RawValue;

use crate::{
    consumer_store::{Document, check_document_count, check_document_key},
    error::{InvalidName, NameProblem, StoreError},
    event::Payload,
    limits,
    name::check_text,
};

/// A query for the documents of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentQuery {
    /// Documents in the order of their keys (bytewise), after a key.
    ByKey {
        /// The exclusive lower bound. `None` starts at the first key.
        after: Option<String>,
        /// The maximum number of documents: 1 to [`limits::MAX_DOCUMENTS_PER_READ`].
        limit: usize,
    },
    /// Documents with the largest number in a top-level field, largest first, then by key. Numbers are compared
    /// exactly, whatever their size. Documents where the field is missing or not a number come last.
    TopByField {
        /// The name of the field in JSON.
        field: String,
        /// The maximum number of documents: 1 to [`limits::MAX_DOCUMENTS_PER_READ`].
        limit: usize,
    },
    /// Documents by the number or text in a top-level field.
    ByField(FieldQuery),
}

/// A query for documents by the number or text in a top-level field: a range of values, in either direction, page by
/// page. It reads every document of the view.
///
/// Numbers come before texts. Numbers are compared exactly, and texts bytewise. Documents with equal values are ordered
/// by key, in either direction. Documents where the field is missing or holds another kind of value are not listed.
///
/// ```
/// use es_core::FieldQuery;
/// let first = FieldQuery::new("cents").from(100).to(9_999).limit(20);
/// // The next page continues after the last document of the previous one: its value and its key.
/// let second = first.clone().after(250, "ann");
/// let largest = FieldQuery::new("cents").descending().limit(3);
/// let open = FieldQuery::new("status").equal_to("open");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a query does nothing until a view is asked"]
pub struct FieldQuery {
    field: String,
    is_descending: bool,
    from: Option<FieldValue>,
    to: Option<FieldValue>,
    after: Option<(FieldValue, String)>,
    limit: usize,
}

impl FieldQuery {
    /// Creates a query for documents by a field, smallest value first. It returns at most
    /// [`limits::DEFAULT_DOCUMENTS_PER_READ`] documents.
    pub fn new(field: impl Into<String>) -> Self {
        let limit = limits::DEFAULT_DOCUMENTS_PER_READ;
        Self { field: field.into(), is_descending: false, from: None, to: None, after: None, limit }
    }

    /// Returns the largest value first.
    pub fn descending(mut self) -> Self {
        self.is_descending = true;
        self
    }

    /// Selects only values of the same kind that are at least this one.
    pub fn from(mut self, value: impl Into<FieldValue>) -> Self {
        self.from = Some(value.into());
        self
    }

    /// Selects only values of the same kind that are at most this one.
    pub fn to(mut self, value: impl Into<FieldValue>) -> Self {
        self.to = Some(value.into());
        self
    }

    /// Selects only this value.
    pub fn equal_to(self, value: impl Into<FieldValue>) -> Self {
        let value = value.into();
        self.from(value.clone()).to(value)
    }

    /// Selects only documents after this place in the order of the query: the value of a field, and the key.
    pub fn after(mut self, value: impl Into<FieldValue>, key: impl Into<String>) -> Self {
        self.after = Some((value.into(), key.into()));
        self
    }

    /// Sets the maximum number of documents: 1 to [`limits::MAX_DOCUMENTS_PER_READ`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns the name of the field in JSON.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Returns whether the largest value comes first.
    pub fn is_descending(&self) -> bool {
        self.is_descending
    }

    /// Returns the smallest selected value.
    pub fn first_value(&self) -> Option<&FieldValue> {
        self.from.as_ref()
    }

    /// Returns the largest selected value.
    pub fn last_value(&self) -> Option<&FieldValue> {
        self.to.as_ref()
    }

    /// Returns the value and the key after which the query starts.
    pub fn after_value(&self) -> Option<(&FieldValue, &str)> {
        self.after.as_ref().map(|(value, key)| (value, key.as_str()))
    }

    /// Returns the maximum number of documents.
    pub fn max_documents(&self) -> usize {
        self.limit
    }

    /// Returns the place of a value in the order of the query, or `None` if the query does not select it.
    fn place(&self, value: Option<FieldValue>, key: &str) -> Option<Place> {
        let value = value?;
        let is_out = |bound: &Option<FieldValue>, out: Ordering| {
            bound.as_ref().is_some_and(|bound| !bound.is_kind_of(&value) || value.cmp(bound) == out)
        };
        if is_out(&self.from, Ordering::Less) || is_out(&self.to, Ordering::Greater) {
            return None;
        }
        let place = |value: &FieldValue, key: &str| Place {
            value: Some(value.clone()),
            is_descending: self.is_descending,
            key: key.to_owned(),
        };
        let own = place(&value, key);
        let is_after = self.after.as_ref().is_none_or(|(value, key)| own > place(value, key));
        is_after.then_some(own)
    }
}

/// A number or a text that the field of a document is compared with.
#[derive(Debug, Clone)]
pub enum FieldValue {
    /// A number, as written in JSON.
    Number(String),
    /// A text.
    Text(String),
}

macro_rules! from_numbers {
    ($($type:ty),*) => {
        $(impl From<$type> for FieldValue {
            fn from(number: $type) -> Self {
                Self::Number(number.to_string())
            }
        })*
    };
}

// Finite floats are written as in JSON. The check of the query refuses all others.
from_numbers!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, usize, f32, f64);

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl FieldValue {
    fn is_kind_of(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Number(_), Self::Number(_)) | (Self::Text(_), Self::Text(_)))
    }

    /// Checks that stores accept the value.
    fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Number(number) if serde_json::from_str::<serde_json::Number>(number).is_ok() => Ok(()),
            Self::Number(_) => {
                Err(StoreError::Refused { reason: "a value of a document query is not a finite number" })
            }
            Self::Text(text) => match text.find('\0') {
                None => Ok(()),
                Some(at) => {
                    let problem = NameProblem::ControlCharacter { at };
                    Err(InvalidName::new("value of a document query", text, problem).into())
                }
            },
        }
    }

    /// Returns the value of a field, if it is a number or a text.
    fn of_field(body: &Payload, field: &str) -> Option<Self> {
        let document: BTreeMap<String, &RawValue> = serde_json::from_str(body.as_str()).ok()?;
        let value = document.get(field)?.get();
        match value.as_bytes().first()? {
            b'"' => serde_json::from_str(value).ok().map(Self::Text),
            b'-' | b'0'..=b'9' => Some(Self::Number(value.to_owned())),
            _ => None,
        }
    }
}

impl Ord for FieldValue {
    /// Numbers come before texts. Numbers are compared by their exact value, and texts bytewise.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Decimal::of(one).cmp(&Decimal::of(other)),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for FieldValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FieldValue {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FieldValue {}

/// A JSON number that was parsed without losing a digit: 0.d₁d₂… · 10^exponent.
struct Decimal {
    is_negative: bool,
    exponent: i64,
    /// The digits without zeros at either end. For zero, there are none.
    digits: Vec<u8>,
}

impl Decimal {
    fn of(number: &str) -> Self {
        let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        digits.truncate(digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1));
        let point = whole.len() as i64 - leading as i64;
        // A number that can be stored does not have so many digits or such an exponent.
        let exponent = exponent.parse::<i64>().unwrap_or_default().saturating_add(point);
        Self { is_negative: is_negative && !digits.is_empty(), exponent, digits }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = |number: &Self| (!number.digits.is_empty()).then_some(number.exponent);
        let by_size = size(self).cmp(&size(other)).then_with(|| self.digits.cmp(&other.digits));
        match (self.is_negative, other.is_negative) {
            (false, false) => by_size,
            (true, true) => by_size.reverse(),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }
}

impl DocumentQuery {
    /// Checks the names and the limit. Stores call it before they use a query.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`], [`StoreError::InvalidName`], or, for a value that is not a number,
    /// [`StoreError::Refused`].
    pub fn check(&self) -> Result<(), StoreError> {
        let check_field = |field: &str| check_text("document field", field, limits::MAX_DOCUMENT_KEY_BYTES);
        check_document_count(self.limit())?;
        match self {
            Self::ByKey { after: Some(key), .. } => check_document_key(key)?,
            Self::ByKey { after: None, .. } => {}
            Self::TopByField { field, .. } => check_field(field)?,
            Self::ByField(query) => {
                check_field(&query.field)?;
                let after = query.after.as_ref().map(|(value, _)| value);
                [query.from.as_ref(), query.to.as_ref(), after]
                    .into_iter()
                    .flatten()
                    .try_for_each(FieldValue::check)?;
                query.after.as_ref().map_or(Ok(()), |(_, key)| check_document_key(key))?;
            }
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        match self {
            Self::ByKey { limit, .. } | Self::TopByField { limit, .. } => *limit,
            Self::ByField(query) => query.limit,
        }
    }

    /// Returns the place of a document in the order of the query, or `None` if the query does not select it.
    fn place(&self, key: &str, body: &Payload) -> Option<Place> {
        match self {
            Self::ByKey { after, .. } => {
                let is_after = after.as_deref().is_none_or(|after| key > after);
                is_after.then(|| Place { value: None, is_descending: false, key: key.to_owned() })
            }
            Self::TopByField { field, .. } => {
                let value = FieldValue::of_field(body, field);
                let value = value.filter(|value| matches!(value, FieldValue::Number(_)));
                Some(Place { value, is_descending: true, key: key.to_owned() })
            }
            Self::ByField(query) => query.place(FieldValue::of_field(body, &query.field), key),
        }
    }
}

/// The place of a document in a list.
#[derive(PartialEq, Eq)]
struct Place {
    value: Option<FieldValue>,
    is_descending: bool,
    key: String,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // `None` is below every value, so it comes last if the largest value comes first.
        let by_value = self.value.cmp(&other.value);
        let by_value = if self.is_descending { by_value.reverse() } else { by_value };
        by_value.then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Selects the documents of a query from all documents of a view, for stores whose database does not compare numbers
/// exactly. It holds at most as many documents as the query requests.
#[derive(Debug)]
pub struct DocumentSelection<'a> {
    query: &'a DocumentQuery,
    /// The last document in the order of the query is on top.
    picked: BinaryHeap<Picked>,
}

struct Picked {
    place: Place,
    body: Payload,
}

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Picked").field(&self.place.key).finish()
    }
}

impl Ord for Picked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

impl PartialOrd for Picked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Picked {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Picked {}

impl<'a> DocumentSelection<'a> {
    /// Creates an empty selection.
    pub fn new(query: &'a DocumentQuery) -> Self {
        Self { query, picked: BinaryHeap::new() }
    }

    /// Examines a document. Documents may come in any order.
    pub fn offer(&mut self, key: &str, body: &Payload) {
        let Some(place) = self.query.place(key, body) else { return };
        if self.picked.len() >= self.query.limit() {
            match self.picked.peek_mut() {
                Some(mut last) if place < last.place => *last = Picked { place, body: body.clone() },
                _ => {}
            }
            return;
        }
        self.picked.push(Picked { place, body: body.clone() });
    }

    /// Returns the selected documents, in the order of the query.
    pub fn finish(self) -> Vec<Document> {
        let picked = self.picked.into_sorted_vec().into_iter();
        picked.map(|Picked { place, body }| Document { key: place.key, body }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_digit_by_digit() {
        let ascending = [
            "-1e300",
            "-18446744073709551617",
            "-18446744073709551616",
            "-2",
            "-1.5",
            "-1e-300",
            "0",
            "5e-324",
            "0.1",
            "0.10000000000000001",
            "1",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "1.8446744073709552e19",
            "340282366920938463463374607431768211454",
            "340282366920938463463374607431768211455",
            "1e300",
        ];
        let number = |text: &str| FieldValue::Number(text.to_owned());
        for (index, one) in ascending.iter().enumerate() {
            for (place, other) in ascending.iter().enumerate() {
                assert_eq!(number(one).cmp(&number(other)), index.cmp(&place), "{one} {other}");
            }
        }
        for (one, other) in
            [("0", "-0.0"), ("0e5", "0.00"), ("1", "1.0"), ("10", "1e1"), ("0.5", "5E-1"), ("120", "1.2e+2")]
        {
            assert_eq!(number(one), number(other));
        }
        assert!(number("5") < FieldValue::from("") && FieldValue::from("Z") < FieldValue::from("a"));
    }

    #[test]
    fn a_value_that_no_store_can_be_asked_for_is_refused() {
        let check = |query| DocumentQuery::ByField(query).check();
        assert!(check(FieldQuery::new("n").from(1.5).to(u128::MAX).after("", "key")).is_ok());
        assert!(matches!(check(FieldQuery::new("n").from(f64::NAN)), Err(StoreError::Refused { .. })));
        assert!(matches!(check(FieldQuery::new("n").equal_to("\0")), Err(StoreError::InvalidName(_))));
        assert!(matches!(check(FieldQuery::new("n").after(1, "")), Err(StoreError::InvalidName(_))));
        assert!(matches!(check(FieldQuery::new("")), Err(StoreError::InvalidName(_))));
        let limit = limits::MAX_DOCUMENTS_PER_READ + 1;
        assert!(matches!(check(FieldQuery::new("n").limit(limit)), Err(StoreError::LimitExceeded { .. })));
    }
}
