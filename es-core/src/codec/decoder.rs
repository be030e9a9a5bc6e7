//! How stored events become domain events: which events are read, and by which variant or upcaster.

use std::{
    any::type_name,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    decode::{RawDecodeError, decode_event},
    redact::without_content,
};
use crate::{
    domain_event::{Coverage, DomainEvent},
    error::DecodeError,
    event::{Envelope, Recorded, RecordedEvent},
    event_filter::EventFilter,
    limits,
    upcast::Reading,
};

type Decode<E> = dyn Fn(&RecordedEvent, &mut dyn FnMut(E)) -> Result<(), RawDecodeError> + Send + Sync;

/// Decodes stored events into values of `E`, and provides the filter for exactly those events.
pub struct Decoder<E> {
    categories: Vec<(&'static str, Arc<Decode<E>>)>,
    filter: EventFilter,
    known: BTreeMap<&'static str, KnownTypes>,
    /// The first enum that cannot be read: its type, and the problem.
    misconfigured: Option<(&'static str, String)>,
}

/// The event types of a category that a decoder knows.
#[derive(Debug, Clone)]
enum KnownTypes {
    All,
    Some(BTreeSet<&'static str>),
}

impl<E> Clone for Decoder<E> {
    fn clone(&self) -> Self {
        Self {
            categories: self.categories.clone(),
            filter: self.filter.clone(),
            known: self.known.clone(),
            misconfigured: self.misconfigured.clone(),
        }
    }
}

impl<E> std::fmt::Debug for Decoder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl<E: 'static> Decoder<E> {
    /// Creates a decoder of no events. Add enums with [`with`](Self::with).
    #[expect(clippy::new_without_default, reason = "an empty decoder is a start, not a useful default")]
    pub fn new() -> Self {
        Self { categories: Vec::new(), filter: EventFilter::none(), known: BTreeMap::new(), misconfigured: None }
    }

    /// Adds the events of one enum: its variants, and the older types that its upcasters name. The
    /// [coverage](DomainEvent::COVERAGE) determines whether other types of the category are read too, so that they are
    /// noticed.
    #[must_use]
    pub fn with<D: DomainEvent>(mut self, wrap: impl Fn(D) -> E + Send + Sync + 'static) -> Self {
        let reading = Reading::<D>::new();
        if let Err(problem) = reading.check() {
            self.misconfigured.get_or_insert((type_name::<D>(), problem));
        }
        // A `#[serde(other)]` variant accepts every type.
        let types = match decode_event::<D>("\u{1}", "{}") {
            Ok(_) => KnownTypes::All,
            Err(_) => KnownTypes::Some(reading.event_types().collect()),
        };
        self.filter = match &types {
            // An enum without variants cannot have written any events.
            KnownTypes::Some(types) if types.is_empty() => self.filter,
            KnownTypes::Some(types) if D::COVERAGE == Coverage::Part => {
                let by_type = types.iter().fold(self.filter.clone(), |all, name| all.or_type(D::CATEGORY, *name));
                match by_type.selectors().len() {
                    0..=limits::MAX_FILTER_SELECTORS => by_type,
                    _ => self.filter.or_category(D::CATEGORY),
                }
            }
            _ => self.filter.or_category(D::CATEGORY),
        };
        // Several enums may share a category, and each knows some of its types.
        match (self.known.entry(D::CATEGORY).or_insert(KnownTypes::Some(BTreeSet::new())), types) {
            (KnownTypes::Some(known), KnownTypes::Some(types)) => known.extend(types),
            (known, _) => *known = KnownTypes::All,
        }
        let decode = move |event: &RecordedEvent, out: &mut dyn FnMut(E)| {
            let (version, payload) = (event.metadata().schema_version(), event.payload().as_str());
            reading.decode(event.event_type(), payload, version, &mut |event| out(wrap(event)))
        };
        self.categories.push((D::CATEGORY, Arc::new(decode)));
        self
    }

    /// Checks that each enum can be read and that each of its upcasters can apply. Decoding also performs this check.
    ///
    /// # Errors
    /// Returns [`DecodeError::Misconfigured`], which says what to change.
    pub fn check(&self) -> Result<(), DecodeError> {
        match &self.misconfigured {
            None => Ok(()),
            Some((type_name, problem)) => Err(DecodeError::Misconfigured { type_name, problem: problem.clone() }),
        }
    }

    /// Returns whether an enum of this decoder knows the type of an event, whatever the category of the event is.
    /// Events that match the [filter](Self::filter) and are not known were written by newer code.
    pub fn knows(&self, event: &RecordedEvent) -> bool {
        match self.known.get(event.stream().category()) {
            Some(KnownTypes::Some(types)) => types.contains(event.event_type()),
            Some(KnownTypes::All) => true,
            None => false,
        }
    }

    /// Returns the filter for this decoder: whole categories, and for enums with [`Coverage::Part`] the types that they
    /// know.
    pub fn filter(&self) -> &EventFilter {
        &self.filter
    }

    /// Returns the domain events of a stored event: one, several if an upcaster splits it, or none if its type is
    /// retired.
    ///
    /// # Errors
    /// Returns [`DecodeError::UnknownType`] or [`DecodeError::Payload`], with the event's place.
    pub fn decode(&self, event: RecordedEvent) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(1);
        self.decode_into(event, &mut out)?;
        Ok(out)
    }

    /// Appends the result of [`decode`](Self::decode) to a list. If it fails, the list is not changed.
    pub fn decode_into(&self, event: RecordedEvent, out: &mut Vec<Recorded<E>>) -> Result<(), DecodeError> {
        let (first, others) = self.parts(&event)?;
        Self::push(first, others, event.into_parts().0, out);
        Ok(())
    }

    fn parts(&self, event: &RecordedEvent) -> Result<(Option<E>, Vec<E>), DecodeError> {
        let mut first = None;
        let mut others = Vec::new();
        self.visit(event, &mut |event| match first {
            None => first = Some(event),
            Some(_) => others.push(event),
        })?;
        Ok((first, others))
    }

    fn push(first: Option<E>, others: Vec<E>, envelope: Envelope, out: &mut Vec<Recorded<E>>) {
        let Some(first) = first else { return };
        if others.is_empty() {
            return out.push(Recorded::part(first, 0, envelope));
        }
        out.push(Recorded::part(first, 0, envelope.clone()));
        out.extend((1..).zip(others).map(|(ordinal, event)| Recorded::part(event, ordinal, envelope.clone())));
    }

    /// Passes each domain event of a stored event to `emit`.
    pub(crate) fn visit(&self, event: &RecordedEvent, emit: &mut dyn FnMut(E)) -> Result<(), DecodeError> {
        self.check()?;
        // Several enums may share a category, and each knows some of its types.
        let mut result = Err(RawDecodeError::UnknownType);
        for (_, decode) in self.categories.iter().filter(|(category, _)| *category == event.stream().category()) {
            result = decode(event, emit);
            if !matches!(result, Err(RawDecodeError::UnknownType)) {
                break;
            }
        }
        result.map_err(|error| {
            let (position, stream, version) = (event.position(), event.stream().clone(), event.version());
            let (event_type, type_name) = (event.event_type().to_owned(), type_name::<E>());
            match error {
                RawDecodeError::UnknownType => {
                    DecodeError::UnknownType { position, stream, version, event_type, type_name }
                }
                RawDecodeError::Payload(error) => {
                    let source = without_content(&error);
                    DecodeError::Payload { position, stream, version, event_type, type_name, source }
                }
            }
        })
    }

    /// Returns the domain events of a page, in order. It borrows the page, which has other readers too.
    pub fn decode_events(&self, events: &[RecordedEvent]) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(events.len());
        for event in events {
            let (first, others) = self.parts(event)?;
            Self::push(first, others, event.envelope().clone(), &mut out);
        }
        Ok(out)
    }

    /// Returns the domain events of a page, in order.
    pub fn decode_page(&self, events: Vec<RecordedEvent>) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(events.len());
        events.into_iter().try_for_each(|event| self.decode_into(event, &mut out))?;
        Ok(out)
    }
}
