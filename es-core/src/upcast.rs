//! The conversion of older forms of events to the current one when they are read. The log is never changed.

use std::any::type_name;

use serde::de::DeserializeOwned;

use crate::{
    codec::{
        decode::{RawDecodeError, decode_event, measure_event, measure_value},
        fit::Fit,
        outline::variants_of,
    },
    domain_event::DomainEvent,
    event::EventType,
};

type Measure = fn(&str) -> Result<Fit, serde_json::Error>;
type Convert<E> = Box<dyn Fn(&str) -> Result<Vec<E>, serde_json::Error> + Send + Sync>;

enum Action<E> {
    Rename(&'static str),
    Convert { form: &'static str, measure: Measure, convert: Convert<E> },
    Retire,
}

struct Rule<E> {
    event_type: &'static str,
    /// The schema version from which the rule no longer applies.
    before: Option<u32>,
    action: Action<E>,
}

/// Rules for older forms of events, by event type.
///
/// A rule takes precedence over the current enum. If several forms of one type can read a payload (the forms of its
/// rules, and the current variant if there is one), the form that matches best is used: the one that ignores the fewest
/// fields of the payload, then the one that leaves the fewest of its own fields unset, then the first rule.
///
/// A rule whose form matches no worse than the current variant would therefore also read current events. In this case,
/// the repository refuses to write such an event. Increase [`DomainEvent::SCHEMA_VERSION`] and put the rule into
/// [`before`](Self::before), so that it applies to older events only.
///
/// A rule that can never apply is an error, which `Runner::build()` reports, and a repository at its first use.
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
    rules: Vec<Rule<E>>,
}

impl<E: DomainEvent> Upcasters<E> {
    /// Creates an empty set of rules: every event is read as it was written.
    pub fn none() -> Self {
        Self { rules: Vec::new() }
    }

    /// Adds a rename: the type `old` is now called `new`. Its content is the same, or has a form that a rule for `new`
    /// reads.
    #[must_use]
    pub fn rename(self, old: &'static str, new: &'static str) -> Self {
        self.with(old, Action::Rename(new))
    }

    /// Adds a conversion of a payload of type `event_type` from the form of `Old` to one current event. A type can have
    /// several such rules, one for each older form.
    #[must_use]
    pub fn convert<Old: DeserializeOwned>(
        self,
        event_type: &'static str,
        convert: impl Fn(Old) -> E + Send + Sync + 'static,
    ) -> Self {
        self.split(event_type, move |old| vec![convert(old)])
    }

    /// Adds a conversion of a payload of type `event_type` from the form of `Old` to several current events. They share
    /// the position of the stored event, and differ in their ordinals.
    #[must_use]
    pub fn split<Old: DeserializeOwned>(
        self,
        event_type: &'static str,
        split: impl Fn(Old) -> Vec<E> + Send + Sync + 'static,
    ) -> Self {
        let convert = Box::new(move |payload: &str| serde_json::from_str(payload).map(&split));
        self.with(event_type, Action::Convert { form: type_name::<Old>(), measure: measure_value::<Old>, convert })
    }

    /// Marks a type as known but no longer needed. Readers skip events of this type.
    #[must_use]
    pub fn retire(self, event_type: &'static str) -> Self {
        self.with(event_type, Action::Retire)
    }

    /// Adds rules for events that were written before a [schema version](DomainEvent::SCHEMA_VERSION). For those
    /// events, the rules take precedence over all other rules and over the current enum. If there are several such
    /// blocks, the one with the lowest version that is still above the event's version applies.
    ///
    /// ```
    /// # use es_core::{DomainEvent, Upcasters}; use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// enum AccountEvent { Deposited { amount: i64 } }
    ///
    /// impl DomainEvent for AccountEvent {
    ///     const CATEGORY: &'static str = "account";
    ///     /// Amounts are in cents since version 2; they were in crowns, under the same name.
    ///     const SCHEMA_VERSION: u32 = 2;
    ///
    ///     fn upcasters() -> Upcasters<Self> {
    ///         #[derive(Deserialize)]
    ///         struct InCrowns { amount: i64 }
    ///         Upcasters::none().before(2, |rules| {
    ///             rules.convert("Deposited", |old: InCrowns| Self::Deposited { amount: old.amount * 100 })
    ///         })
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn before(mut self, version: u32, rules: impl FnOnce(Self) -> Self) -> Self {
        let inner = rules(Self::none()).rules.into_iter();
        self.rules.extend(
            inner.map(|rule| Rule { before: Some(rule.before.map_or(version, |own| own.min(version))), ..rule }),
        );
        self
    }

    fn with(mut self, event_type: &'static str, action: Action<E>) -> Self {
        self.rules.push(Rule { event_type, before: None, action });
        self
    }
}

impl<E> std::fmt::Debug for Upcasters<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.rules.iter().map(|rule| rule.event_type)).finish()
    }
}

/// The rules of an enum, and the enum itself: everything that is needed to read its events.
pub(crate) struct Reading<E> {
    /// Ordered by type, then by the version before which they apply, then in the order in which they were added.
    rules: Vec<Rule<E>>,
    /// The current variants, by the names that are read. `None` if the type is not an externally tagged enum.
    variants: Option<&'static [&'static str]>,
}

impl<E: DomainEvent> Reading<E> {
    pub(crate) fn new() -> Self {
        let mut rules = E::upcasters().rules;
        rules.sort_by_key(|rule| (rule.event_type, rule.before.unwrap_or(u32::MAX)));
        Self { rules, variants: variants_of::<E>() }
    }

    fn variants(&self) -> &'static [&'static str] {
        self.variants.unwrap_or_default()
    }

    /// Returns the types that are read: the variants, and those that have a rule.
    pub(crate) fn event_types(&self) -> impl Iterator<Item = &'static str> {
        self.variants().iter().copied().chain(self.rules.iter().map(|rule| rule.event_type))
    }

    fn rules_of(&self, event_type: &str) -> &[Rule<E>] {
        let from = self.rules.partition_point(|rule| rule.event_type < event_type);
        let rules = &self.rules[from..];
        &rules[..rules.partition_point(|rule| rule.event_type == event_type)]
    }

    /// Returns the rules of a type that apply to events of a schema version, in groups. The group for the nearest
    /// version comes first.
    fn groups(&self, event_type: &str, version: u32) -> impl Iterator<Item = &[Rule<E>]> {
        self.rules_of(event_type)
            .chunk_by(|one, next| one.before == next.before)
            .filter(move |group| group.iter().all(|rule| rule.before.is_none_or(|before| version < before)))
    }

    pub(crate) fn decode(
        &self,
        event_type: &str,
        payload: &str,
        version: u32,
        out: &mut dyn FnMut(E),
    ) -> Result<(), RawDecodeError> {
        let mut event_type = event_type;
        // A chain of renames visits each rule at most once. A cycle results in an unknown type.
        'renamed: for _ in 0..=self.rules.len() {
            let mut failure = None;
            for group in self.groups(event_type, version) {
                match &group[0].action {
                    Action::Retire => return Ok(()),
                    Action::Rename(new) => {
                        event_type = new;
                        continue 'renamed;
                    }
                    Action::Convert { .. } => match self.convert(group, event_type, payload) {
                        Ok(events) => {
                            events.into_iter().for_each(out);
                            return Ok(());
                        }
                        Err(error) => failure = Some(error),
                    },
                }
            }
            // If no form matches, the current form reports the error, if there is one.
            return match (failure, self.variants().contains(&event_type)) {
                (Some(failure), false) => Err(failure),
                _ => decode_event(event_type, payload).map(out),
            };
        }
        Err(RawDecodeError::UnknownType)
    }

    /// Returns the events that the best of several forms makes of a payload. Rules without a version compete with the
    /// current variant, and win if they match no worse.
    fn convert(&self, group: &[Rule<E>], event_type: &str, payload: &str) -> Result<Vec<E>, RawDecodeError> {
        let mut best: Option<(Fit, &Convert<E>)> = None;
        let mut failure = None;
        for rule in group {
            let Action::Convert { measure, convert, .. } = &rule.action else { continue };
            match measure(payload) {
                Ok(fit) if best.as_ref().is_none_or(|(best, _)| fit < *best) => best = Some((fit, convert)),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            if best.as_ref().is_some_and(|(best, _)| *best == Fit::PERFECT) {
                break;
            }
        }
        let competes = group[0].before.is_none() && self.variants().contains(&event_type);
        if competes && best.as_ref().is_none_or(|(best, _)| *best > Fit::PERFECT) {
            match (measure_event(event_type, payload), &best) {
                (Ok((event, fit)), best) if best.as_ref().is_none_or(|(best, _)| fit < *best) => {
                    return Ok(vec![event]);
                }
                (Err(error), None) => return Err(error),
                _ => {}
            }
        }
        match (best, failure) {
            (Some((_, convert)), _) => convert(payload).map_err(RawDecodeError::Payload),
            (None, Some(error)) => Err(RawDecodeError::Payload(error)),
            (None, None) => Err(RawDecodeError::UnknownType),
        }
    }

    /// Checks that the enum can be read, and that each rule can apply.
    ///
    /// # Errors
    /// Returns the problem, and what to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.variants.is_none() {
            return Err(
                "the type is not an enum in serde's default (externally tagged) form, or has an `untagged` variant"
                    .to_owned(),
            );
        }
        for group in self.rules.chunk_by(|one, next| (one.event_type, one.before) == (next.event_type, next.before)) {
            self.check_group(group)?;
        }
        self.rules.iter().try_for_each(|rule| self.check_chain(rule))
    }

    /// Checks the rules of one type that apply to the same events.
    fn check_group(&self, group: &[Rule<E>]) -> Result<(), String> {
        let name = group[0].event_type;
        EventType::new(name).map_err(|error| format!("the rule for {name:?} can never apply: {error}"))?;
        if let Some(before) = group[0].before
            && !(2..=E::SCHEMA_VERSION).contains(&before)
        {
            return Err(format!(
                "the rule for {name:?} is for events before version {before}, and SCHEMA_VERSION is {}; versions \
                 start at 1",
                E::SCHEMA_VERSION
            ));
        }
        let unconditional = group.iter().any(|rule| !matches!(rule.action, Action::Convert { .. }));
        if unconditional && group.len() > 1 {
            return Err(format!(
                "{name:?} is renamed or retired, so that another rule for it can never apply; keep one of them, or \
                 bound one by a version"
            ));
        }
        for (index, rule) in group.iter().enumerate() {
            let Action::Convert { form, .. } = &rule.action else { continue };
            let is_same =
                |other: &Rule<E>| matches!(&other.action, Action::Convert { form: other, .. } if other == form);
            if group[..index].iter().any(is_same) {
                return Err(format!("two rules for {name:?} read the same form {form}; the second can never apply"));
            }
        }
        Ok(())
    }

    /// Checks that a rename leads to a type that is read.
    fn check_chain(&self, rule: &Rule<E>) -> Result<(), String> {
        // The last version to which the rule applies represents all of them, because later rules only drop out.
        let version = rule.before.map_or(u32::MAX, |before| before - 1);
        let mut action = &rule.action;
        for _ in 0..=self.rules.len() {
            let Action::Rename(new) = action else { return Ok(()) };
            match self.groups(new, version).next() {
                Some(group) => action = &group[0].action,
                None if self.variants().contains(new) => return Ok(()),
                None => {
                    return Err(format!(
                        "{:?} is renamed to {new:?}, which is neither a variant nor a type with a rule",
                        rule.event_type
                    ));
                }
            }
        }
        Err(format!("the renames of {:?} lead back to where they began", rule.event_type))
    }
}
