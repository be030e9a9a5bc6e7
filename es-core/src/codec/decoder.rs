//! How stored events become domain events: which ones are wanted, by what variant or upcaster.

use std::{any::type_name, sync::Arc};

use super::{
    decode::{RawDecodeError, decode_event},
    shape::{Shape, shape_of},
};
use crate::{
    domain_event::DomainEvent,
    error::DecodeError,
    event::{Envelope, Recorded, RecordedEvent},
    event_filter::EventFilter,
};

type Decode<E> = dyn Fn(&str, &str, &mut dyn FnMut(E)) -> Result<(), RawDecodeError> + Send + Sync;

/// Turns stored events into values of `E`, and knows the filter that names exactly those events.
pub struct Decoder<E> {
    categories: Vec<(&'static str, Arc<Decode<E>>)>,
    filter: EventFilter,
}

impl<E> Clone for Decoder<E> {
    fn clone(&self) -> Self {
        Self { categories: self.categories.clone(), filter: self.filter.clone() }
    }
}

impl<E> std::fmt::Debug for Decoder<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl<E: 'static> Decoder<E> {
    /// A decoder of no events; add enums by [`with`](Self::with).
    #[expect(clippy::new_without_default, reason = "an empty decoder is a start, not a useful default")]
    pub fn new() -> Self {
        Self { categories: Vec::new(), filter: EventFilter::all() }
    }

    /// Adds the events of one enum: its variants, and the older types that its upcasters name.
    #[must_use]
    pub fn with<D: DomainEvent>(mut self, wrap: impl Fn(D) -> E + Send + Sync + 'static) -> Self {
        let upcasters = D::upcasters();
        let catches_all = decode_event::<D>("\u{1}", "{}").is_ok();
        match shape_of::<D>() {
            Shape::Enum(variants) if !catches_all => {
                for event_type in variants.iter().copied().chain(upcasters.event_types()) {
                    self.filter = self.filter.or_type(D::CATEGORY, event_type);
                }
            }
            // A `#[serde(other)]` variant wants every type. What is no enum fails when it is read.
            _ => self.filter = self.filter.or_category(D::CATEGORY),
        }
        let decode = move |event_type: &str, payload: &str, out: &mut dyn FnMut(E)| {
            upcasters.decode(event_type, payload, &mut |event| out(wrap(event)))
        };
        self.categories.push((D::CATEGORY, Arc::new(decode)));
        self
    }

    /// The events that this decoder knows.
    pub fn filter(&self) -> &EventFilter {
        &self.filter
    }

    /// The domain events of a stored event: one; several if an upcaster splits it; none if its type is retired.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`] or [`DecodeError::Payload`], with the event's place.
    pub fn decode(&self, event: RecordedEvent) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(1);
        self.decode_into(event, &mut out)?;
        Ok(out)
    }

    /// [`decode`](Self::decode) to the end of a list; on an error the list is as before.
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

    /// Gives each domain event of a stored event to `emit`.
    pub(crate) fn visit(&self, event: &RecordedEvent, emit: &mut dyn FnMut(E)) -> Result<(), DecodeError> {
        // Several enums may share a category, each knowing some of its types.
        let mut result = Err(RawDecodeError::UnknownType);
        for (_, decode) in self.categories.iter().filter(|(category, _)| *category == event.stream().category()) {
            result = decode(event.event_type(), event.payload().as_str(), emit);
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
                RawDecodeError::Payload(source) => {
                    DecodeError::Payload { position, stream, version, event_type, type_name, source }
                }
            }
        })
    }

    /// The domain events of a page that others read too, in order.
    pub fn decode_events(&self, events: &[RecordedEvent]) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(events.len());
        for event in events {
            let (first, others) = self.parts(event)?;
            Self::push(first, others, event.envelope().clone(), &mut out);
        }
        Ok(out)
    }

    /// The domain events of a page, in order.
    pub fn decode_page(&self, events: Vec<RecordedEvent>) -> Result<Vec<Recorded<E>>, DecodeError> {
        let mut out = Vec::with_capacity(events.len());
        events.into_iter().try_for_each(|event| self.decode_into(event, &mut out))?;
        Ok(out)
    }
}
