//! Events of types that a consumer's code does not know.

use std::collections::BTreeSet;

use es_core::{ConsumerName, EventPage, Position, RecordedEvent};

use super::{StepFailure, Steps};
use crate::{
    error::RunnerError,
    lease_session::{LeaseSession, NotOurs},
    options::UnknownEventTypes,
};

/// An event of a type that a consumer's code does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownEvent {
    pub(crate) event: Position,
    pub(crate) category: String,
    pub(crate) event_type: String,
}

impl UnknownEvent {
    fn of(event: &RecordedEvent) -> Self {
        let (category, event_type) = (event.stream().category().to_owned(), event.event_type().to_owned());
        Self { event: event.position(), category, event_type }
    }

    /// Returns the error for a caller that asked a consumer to move past the event.
    pub(crate) fn into_error(self, consumer: ConsumerName) -> RunnerError {
        let Self { event, category, event_type } = self;
        RunnerError::UnknownType { consumer, event, category, event_type }
    }
}

/// The events that a consumer passed over because its code does not know their types.
#[derive(Default)]
pub(super) struct PassedOver {
    /// The position up to which such events are counted. A page may be read again and must not be counted twice.
    counted_to: Position,
    /// The types that have been logged, as (category, type).
    types: BTreeSet<(String, String)>,
}

impl Steps {
    /// Returns once the consumer can continue here after its next event was of an unknown type: the event was passed,
    /// and no other process would run the consumer.
    pub(crate) async fn leave_to_newer_code(
        &mut self,
        unknown: &UnknownEvent,
        session: &LeaseSession,
    ) -> Result<(), StepFailure> {
        if let Some(other) = session.able_other() {
            return Err(StepFailure::NotOurs(NotOurs::Assigned(other)));
        }
        // Another generation may be live now.
        self.forget_place();
        self.locate().await?;
        match self.stored().await? < unknown.event {
            true => Err(StepFailure::UnknownType(unknown.clone())),
            false => Ok(()),
        }
    }

    /// Handles the events of a page whose types the consumer's code does not know: either ends the page before the
    /// first of them, or removes them.
    pub(super) fn see_to_unknown(&mut self, mut page: EventPage) -> Result<EventPage, UnknownEvent> {
        let Some(first) = page.events.iter().position(|event| !self.consumer.knows(event)) else { return Ok(page) };
        match self.options.unknown_event_types {
            UnknownEventTypes::PassOver => {
                let unknown = page.events.extract_if(.., |event| !self.consumer.knows(event));
                let unknown: Vec<UnknownEvent> = unknown.map(|event| UnknownEvent::of(&event)).collect();
                self.note_passed_over(unknown);
                Ok(page)
            }
            UnknownEventTypes::Suspend => {
                let unknown = UnknownEvent::of(&page.events[first]);
                page.events.truncate(first);
                let Some(last) = page.events.last() else { return Err(unknown) };
                page.scanned_to = last.position();
                self.ahead = None;
                Ok(page)
            }
        }
    }

    fn note_passed_over(&mut self, unknown: Vec<UnknownEvent>) {
        // Every partition receives these events, so only one partition counts them.
        if self.partition.index() != 0 {
            return;
        }
        let counted_to = self.passed_over.counted_to;
        let news = unknown.into_iter().filter(|unknown| unknown.event > counted_to);
        for UnknownEvent { event, category, event_type } in news {
            self.passed_over.counted_to = event;
            self.consumer_state.note_passed_over(1);
            let (position, types) = (event.get(), &mut self.passed_over.types);
            if types.insert((category.clone(), event_type.clone())) {
                tracing::warn!(
                    category,
                    event_type,
                    position,
                    "passing over events of a type that the code does not know"
                );
            }
        }
    }
}
