//! The store of events: appends go to their defects, and reads have their own.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, CommandQueue, EventFilter, EventPage, EventStore, EventType, IdempotencyKey, NewEvent,
    PageSize, Position, RecordedEvent, StoreError, StreamId, StreamPage, Version, WakeupSender, Wakeups,
};

use crate::{append::without_tenant, defect::Defect, store::BrokenStore};

/// The event at another position.
fn moved(event: &RecordedEvent, position: Position) -> RecordedEvent {
    let same = NewEvent::new(EventType::new(event.event_type()).unwrap(), event.payload().clone())
        .with_id(event.id())
        .with_metadata(event.metadata().clone());
    let same = match event.occurred_at() == event.recorded_at() {
        true => same,
        false => same.with_occurred_at(event.occurred_at()),
    };
    same.recorded(event.stream().clone(), event.version(), position, event.recorded_at())
}

#[async_trait]
impl EventStore for BrokenStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        let mut appended = self.append_wrongly(append).await?;
        if self.defect == Defect::ForgetsTheLastEventOfRepeats && appended.repeated {
            appended.last_event_id = None;
        }
        Ok(appended)
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.store.find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        if self.defect == Defect::ForgetsTenants {
            return self.store.read_stream(&without_tenant(stream), after, page).await;
        }
        let mut found = self.store.read_stream(stream, after, page).await?;
        if self.defect == Defect::GuessesTheLastPage {
            found.is_last = found.events.len() < page.get();
        }
        Ok(found)
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        let mut found = self.store.read_all(after, filter, page).await?;
        match self.defect {
            Defect::NamesNoEventInPages => (found.after, found.seen, found.log_end) = (None, None, None),
            Defect::SkipsALateCommit => {
                let is_open = self.shared.appends_under_way.load(Ordering::SeqCst) > 0;
                if is_open && found.events.len() > 1 {
                    found.events.remove(found.events.len() - 2);
                }
            }
            Defect::UsesAPositionTwice => {
                for event in &mut found.events {
                    if event.position() == Position::new(6) {
                        *event = moved(event, Position::new(5));
                    }
                }
            }
            Defect::StandsStillAtANarrowFilter => {
                found.scanned_to = found.events.last().map_or(after, |event| event.position());
            }
            Defect::PutsReadersBack => found.scanned_to = found.scanned_to.min(self.store.head().await?),
            Defect::ReadsAnyNumberOfBytes => {
                while found.events.len() < page.get() && found.scanned_to < self.store.head().await? {
                    let rest = PageSize::new(page.get() - found.events.len())?;
                    let next = self.store.read_all(found.scanned_to, filter, rest).await?;
                    found.events.extend(next.events);
                    found.scanned_to = next.scanned_to;
                }
            }
            Defect::ScansWithoutBound => {
                while found.events.is_empty() && found.scanned_to < self.store.head().await? {
                    found = self.store.read_all(found.scanned_to, filter, page).await?;
                }
            }
            Defect::RunsAheadOfAFullPage => found.scanned_to = self.store.head().await?.max(after),
            Defect::LeavesAGapAfterAConflict => {
                found.events.retain(|event| event.stream().category() != Self::HIDDEN);
            }
            _ => {}
        }
        Ok(found)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store.head().await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        match self.defect {
            Defect::VerifiesNothing => Ok(()),
            _ => self.store.verify(seen).await,
        }
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store.wait_durable(position).await
    }

    fn command_queue(&self) -> CommandQueue {
        self.store.command_queue()
    }

    fn wakeups(&self) -> Wakeups {
        match self.defect {
            Defect::NeverWakes => WakeupSender::new().subscribe(),
            _ => self.store.wakeups(),
        }
    }
}
