//! How events of older forms become events of today, while they are read. The log is never changed.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::{
    codec::decode::{RawDecodeError, decode_event},
    domain_event::DomainEvent,
};

type Convert<E> = Box<dyn Fn(&str) -> Result<Vec<E>, serde_json::Error> + Send + Sync>;

enum Rule<E> {
    Rename(&'static str),
    Convert(Convert<E>),
    Retire,
}

/// Rules for events of older forms, by event type.
///
/// What decodes as a variant of today is taken as it is; a rule applies to everything else of its type. So a rule
/// may also stand for an older shape of a type that still exists.
///
/// ```
/// use es_core::{DomainEvent, Upcasters};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     Opened { owner: String },
///     Deposited { cents: i64, currency: String },
/// }
///
/// #[derive(Deserialize)]
/// struct DepositedInCrowns { crowns: i64 }
///
/// #[derive(Deserialize)]
/// struct OpenedWithDeposit { owner: String, cents: i64 }
///
/// impl DomainEvent for AccountEvent {
///     const CATEGORY: &'static str = "account";
///
///     fn upcasters() -> Upcasters<Self> {
///         let czk = || "CZK".to_owned();
///         Upcasters::none()
///             .rename("AccountOpened", "Opened")
///             .convert("Deposited", move |old: DepositedInCrowns| {
///                 AccountEvent::Deposited { cents: old.crowns * 100, currency: czk() }
///             })
///             .split("OpenedWithDeposit", move |old: OpenedWithDeposit| vec![
///                 AccountEvent::Opened { owner: old.owner },
///                 AccountEvent::Deposited { cents: old.cents, currency: czk() },
///             ])
///             .retire("AuditRequested")
///     }
/// }
/// ```
pub struct Upcasters<E> {
    rules: BTreeMap<&'static str, Rule<E>>,
}

impl<E: DomainEvent> Upcasters<E> {
    /// No rules: every event is read as it was written.
    pub fn none() -> Self {
        Self { rules: BTreeMap::new() }
    }

    /// The type `old` is called `new` now; its content is the same, or what a rule for `new` reads.
    #[must_use]
    pub fn rename(self, old: &'static str, new: &'static str) -> Self {
        self.with(old, Rule::Rename(new))
    }

    /// A payload of type `event_type` in the form of `Old` becomes one event of today.
    #[must_use]
    pub fn convert<Old: DeserializeOwned>(
        self,
        event_type: &'static str,
        convert: impl Fn(Old) -> E + Send + Sync + 'static,
    ) -> Self {
        self.split(event_type, move |old| vec![convert(old)])
    }

    /// A payload of type `event_type` in the form of `Old` becomes several events of today. They share its position and
    /// differ by their ordinal.
    #[must_use]
    pub fn split<Old: DeserializeOwned>(
        self,
        event_type: &'static str,
        split: impl Fn(Old) -> Vec<E> + Send + Sync + 'static,
    ) -> Self {
        self.with(event_type, Rule::Convert(Box::new(move |payload| serde_json::from_str(payload).map(&split))))
    }

    /// Events of this type are known, and no longer of interest: reading passes over them.
    #[must_use]
    pub fn retire(self, event_type: &'static str) -> Self {
        self.with(event_type, Rule::Retire)
    }

    fn with(mut self, event_type: &'static str, rule: Rule<E>) -> Self {
        self.rules.insert(event_type, rule);
        self
    }

    /// The types that have a rule.
    pub(crate) fn event_types(&self) -> impl Iterator<Item = &'static str> {
        self.rules.keys().copied()
    }

    pub(crate) fn decode(&self, event_type: &str, payload: &str, out: &mut dyn FnMut(E)) -> Result<(), RawDecodeError> {
        let mut event_type = event_type;
        // A chain of renames visits each rule once at most; a circle ends as an unknown type.
        for _ in 0..=self.rules.len() {
            let error = match decode_event(event_type, payload) {
                Ok(event) => {
                    out(event);
                    return Ok(());
                }
                Err(error) => error,
            };
            match (self.rules.get(event_type), error) {
                (None, error) => return Err(error),
                (Some(Rule::Retire), _) => return Ok(()),
                (Some(Rule::Rename(new)), _) => event_type = new,
                (Some(Rule::Convert(convert)), error) => match (convert(payload), error) {
                    (Ok(events), _) => {
                        events.into_iter().for_each(out);
                        return Ok(());
                    }
                    // What neither form fits is reported by the form of today, if there is one.
                    (Err(_), error @ RawDecodeError::Payload(_)) => return Err(error),
                    (Err(source), RawDecodeError::UnknownType) => return Err(RawDecodeError::Payload(source)),
                },
            }
        }
        Err(RawDecodeError::UnknownType)
    }
}

impl<E> std::fmt::Debug for Upcasters<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.rules.keys()).finish()
    }
}
