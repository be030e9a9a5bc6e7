//! Appends, and what can go wrong with them.

use std::sync::atomic::Ordering;

use es_core::{
    Append, Appended, AppendedStream, EventStore, EventType, ExpectedVersion, NewEvent, Payload, StoreError,
    StreamAppend, StreamId, Version,
};
use time::OffsetDateTime;
use tokio::task::yield_now;
use uuid::Uuid;

use crate::{defect::Defect, store::BrokenStore};

/// The same append, with each of its parts changed or left out.
fn rebuilt(append: &Append, change: impl Fn(&StreamAppend) -> Option<StreamAppend>) -> Append {
    let parts = append.streams().iter().filter_map(change);
    let builder = parts.fold(Append::builder(), |builder, part| builder.and_stream(part));
    match append.idempotency_key() {
        Some(key) => builder.idempotency_key(key.clone()).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn with_events(append: &Append, change: impl Fn(&NewEvent) -> NewEvent) -> Append {
    rebuilt(append, |part| {
        let events = part.events().iter().map(&change).collect();
        Some(
            StreamAppend::new(part.stream().clone(), part.expected(), events).decided_after(part.expected_last_event()),
        )
    })
}

fn expecting_nothing(append: &Append) -> Append {
    rebuilt(append, |part| Some(StreamAppend::new(part.stream().clone(), ExpectedVersion::Any, part.events().to_vec())))
}

fn with_new_ids(append: &Append) -> Append {
    with_events(append, |event| event.clone().with_id(Uuid::now_v7()))
}

fn without_key(append: &Append) -> Append {
    let parts = append.streams().iter().cloned();
    parts.fold(Append::builder(), |builder, part| builder.and_stream(part)).build().unwrap()
}

pub(crate) fn without_tenant(stream: &StreamId) -> StreamId {
    StreamId::new(stream.category(), stream.id()).unwrap()
}

fn normalised(event: &NewEvent) -> NewEvent {
    let value: serde_json::Value = serde_json::from_str(event.payload().as_str()).unwrap_or_default();
    same_but(event, Payload::trusted(value.to_string()), event.occurred_at())
}

fn by_the_millisecond(event: &NewEvent) -> NewEvent {
    let time = event.occurred_at().map(|time| time.replace_millisecond(time.millisecond()).unwrap());
    same_but(event, event.payload().clone(), time)
}

fn same_but(event: &NewEvent, payload: Payload, time: Option<OffsetDateTime>) -> NewEvent {
    let same = NewEvent::new(EventType::new(event.event_type()).unwrap(), payload)
        .with_id(event.id())
        .with_metadata(event.metadata().clone());
    match time {
        Some(time) => same.with_occurred_at(time),
        None => same,
    }
}

impl BrokenStore {
    pub(crate) async fn append_wrongly(&self, append: &Append) -> Result<Appended, StoreError> {
        let store = &self.store;
        match self.defect {
            Defect::ForgetsTheVersionCheck => store.append(&expecting_nothing(append)).await,
            Defect::ChecksTheVersionBeforeTheLock => self.check_then_append(append).await,
            Defect::IgnoresTheLastEvent => {
                let careless = rebuilt(append, |part| Some(part.clone().decided_after(None)));
                store.append(&careless).await
            }
            Defect::KnowsConflictsOfOneDigit => match store.append(append).await {
                Err(conflict @ StoreError::Conflict { actual, .. }) if actual > Version::new(9) => {
                    Err(StoreError::Backend { source: Box::new(conflict) })
                }
                result => result,
            },
            Defect::IgnoresGuards => {
                let unguarded = rebuilt(append, |part| (!part.events().is_empty()).then(|| part.clone()));
                store.append(&unguarded).await
            }
            Defect::TearsOnConflict => self.append_and_tear(append).await,
            Defect::TearsWhenDropped => self.append_in_two_parts(append).await,
            Defect::StoresRepeatsAgain => match store.append(append).await {
                Ok(appended) if appended.repeated => {
                    store.append(&without_key(&with_new_ids(&expecting_nothing(append)))).await
                }
                result => result,
            },
            Defect::AsksTheVersionBeforeTheIds => {
                self.check(append).await?;
                store.append(append).await
            }
            Defect::TakesKnownIdsWithOtherContent => match store.append(append).await {
                Err(StoreError::IdReused { what: "event id", .. }) => {
                    store.append(&with_new_ids(&expecting_nothing(append))).await
                }
                result => result,
            },
            Defect::IgnoresKeys => store.append(&without_key(append)).await,
            Defect::ComparesTheStreamsOfAKeyAlone => match (store.append(append).await, append.idempotency_key()) {
                (Err(StoreError::IdReused { what: "idempotency key", id }), Some(key)) => {
                    let is_within = |earlier: &Appended| {
                        let is_named =
                            |part: &AppendedStream| append.streams().iter().any(|own| *own.stream() == part.stream);
                        earlier.streams.iter().all(is_named)
                    };
                    let earlier = store.find_append(key).await?.filter(is_within);
                    let earlier = earlier.map(|earlier| earlier.with_request(append.request()));
                    earlier.ok_or(StoreError::IdReused { what: "idempotency key", id })
                }
                (result, _) => result,
            },
            Defect::RemembersRefusedKeys => self.append_and_remember(append).await,
            Defect::ForgetsTenants => {
                let of_nobody = rebuilt(append, |part| {
                    let stream = without_tenant(part.stream());
                    let part = StreamAppend::new(stream, part.expected(), part.events().to_vec())
                        .decided_after(part.expected_last_event());
                    Some(part)
                });
                store.append(&of_nobody).await
            }
            Defect::LosesAnEvent => self.append_and_lose(append).await,
            Defect::NormalisesPayloads => store.append(&with_events(append, normalised)).await,
            Defect::KeepsMilliseconds => store.append(&with_events(append, by_the_millisecond)).await,
            Defect::LeavesAGapAfterAConflict => {
                let result = store.append(append).await;
                if matches!(result, Err(StoreError::Conflict { .. })) {
                    let event = NewEvent::new(EventType::new("Hidden").unwrap(), Payload::trusted("{}"));
                    let stream = StreamId::new(Self::HIDDEN, "gap").unwrap();
                    store.append(&Append::to(stream, ExpectedVersion::Any, vec![event]).build()?).await?;
                }
                result
            }
            Defect::SkipsALateCommit => {
                self.shared.appends_under_way.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
                let result = store.append(append).await;
                yield_now().await;
                self.shared.appends_under_way.fetch_sub(1, Ordering::SeqCst);
                result
            }
            _ => store.append(append).await,
        }
    }

    /// The category of events that readers of the log do not see.
    pub(crate) const HIDDEN: &'static str = "hidden";

    async fn check(&self, append: &Append) -> Result<(), StoreError> {
        for part in append.streams() {
            let last = self.last_event(part.stream()).await?;
            let actual = last.map_or(Version::ZERO, |(version, _)| version);
            if !part.expected().check(part.expected_last_event(), actual, last.map(|(_, id)| id)) {
                return Err(StoreError::Conflict { stream: part.stream().clone(), expected: part.expected(), actual });
            }
        }
        Ok(())
    }

    async fn last_event(&self, stream: &StreamId) -> Result<Option<(Version, Uuid)>, StoreError> {
        let (mut last, mut after) = (None, Version::ZERO);
        loop {
            let page = self.store.read_stream(stream, after, es_core::PageSize::default()).await?;
            last = page.events.last().map(|event| (event.version(), event.id())).or(last);
            match last {
                Some((version, _)) if !page.is_last => after = version,
                _ => return Ok(last),
            }
        }
    }

    async fn check_then_append(&self, append: &Append) -> Result<Appended, StoreError> {
        if self.check(append).await.is_err() {
            return self.store.append(append).await;
        }
        yield_now().await;
        match self.store.append(append).await {
            Err(StoreError::Conflict { .. }) => self.store.append(&expecting_nothing(append)).await,
            result => result,
        }
    }

    async fn append_and_tear(&self, append: &Append) -> Result<Appended, StoreError> {
        let result = self.store.append(append).await;
        if let Err(StoreError::Conflict { stream, .. }) = &result {
            let in_front = append.streams().iter().take_while(|part| part.stream() != stream);
            let builder = in_front.fold(Append::builder(), |builder, part| builder.and_stream(part.clone()));
            if let Ok(torn) = builder.build() {
                self.store.append(&torn).await?;
            }
        }
        result
    }

    async fn append_in_two_parts(&self, append: &Append) -> Result<Appended, StoreError> {
        let (first, rest) = append.streams().split_first().unwrap();
        let rest = rest.iter().fold(Append::builder(), |builder, part| builder.and_stream(part.clone())).build();
        let (Ok(()), Ok(rest), Ok(first)) =
            (self.check(append).await, rest, Append::builder().and_stream(first.clone()).build())
        else {
            return self.store.append(append).await;
        };
        let head = self.store.append(&first).await?;
        for _ in 0..Self::MOMENT_YIELDS {
            yield_now().await;
        }
        let tail = self.store.append(&rest).await?;
        Ok(Appended::new([head.streams, tail.streams].concat(), tail.recorded_at, tail.repeated))
    }

    async fn append_and_remember(&self, append: &Append) -> Result<Appended, StoreError> {
        let Some(key) = append.idempotency_key() else { return self.store.append(append).await };
        if self.shared.refused_keys.lock().unwrap().contains(key) {
            return Err(StoreError::IdReused { what: "idempotency key", id: key.to_string() });
        }
        let result = self.store.append(append).await;
        if result.is_err() {
            self.shared.refused_keys.lock().unwrap().insert(key.clone());
        }
        result
    }

    /// Stores all but the third event of the last stream, and reports it.
    async fn append_and_lose(&self, append: &Append) -> Result<Appended, StoreError> {
        let Some(last) = append.streams().last().filter(|part| part.events().len() == 3) else {
            return self.store.append(append).await;
        };
        let lossy = rebuilt(append, |part| {
            let kept = if part == last { &part.events()[..2] } else { part.events() };
            let part = StreamAppend::new(part.stream().clone(), part.expected(), kept.to_vec())
                .decided_after(part.expected_last_event());
            Some(part)
        });
        let appended = self.store.append(&lossy).await?;
        let mut streams = appended.streams;
        if let Some(place) = streams.last_mut() {
            place.last_version = place.last_version.next();
        }
        Ok(Appended::new(streams, appended.recorded_at, appended.repeated))
    }
}
