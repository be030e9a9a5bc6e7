//! Loading aggregates from their events, and executing commands on them.

mod execute;
mod participant;
mod snapshots;

pub use execute::{Execute, Executed, Outcome};

use std::{num::NonZeroU64, sync::Arc};

use futures_util::future::join;
use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;
use uuid::Uuid;

use self::snapshots::Snapshots;
use crate::{
    aggregate::Aggregate,
    codec::decoder::Decoder,
    domain_event::{DomainEvent, EventSet},
    error::{InvalidName, LoadError},
    event::Recorded,
    event_store::{EventStore, EventStream, PageSize, StreamPage, pages},
    limits,
    snapshot_store::SnapshotStore,
    stream_id::StreamId,
    version::Version,
};

/// Loads aggregates of one type and executes commands on them. Cloning is cheap.
///
/// ```
/// # use es_core::{Aggregate, AsOf, DomainEvent, MemoryStore, Repository, Version};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum CounterEvent { Added { amount: u32 } }
/// # impl DomainEvent for CounterEvent { const CATEGORY: &'static str = "counter"; }
/// # struct Add(u32);
/// # #[derive(Default, Clone)] struct Counter { total: u32 }
/// # impl Aggregate for Counter {
/// #     type Event = CounterEvent; type Command = Add; type Error = std::convert::Infallible;
/// #     fn handle(&self, c: &Add) -> Result<Vec<CounterEvent>, Self::Error> { Ok(vec![CounterEvent::Added { amount: c.0 }]) }
/// #     fn apply(&mut self, CounterEvent::Added { amount }: &CounterEvent) { self.total += amount; }
/// # }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let counters = Repository::<Counter>::new(&store);
///
/// let done = counters.execute("a", Add(2)).actor("ann").idempotency_key("request-17").await?;
/// assert_eq!((done.state.total, done.version), (2, Version::new(1)));
///
/// // The same key again, whatever was decided: the first outcome.
/// let again = counters.execute("a", Add(2)).idempotency_key("request-17").await?;
/// assert!(again.is_repeated());
/// assert_eq!(counters.load("a").await?.state.total, 2);
///
/// counters.execute("a", Add(5)).await?;
/// assert_eq!(counters.load_at("a", AsOf::Version(Version::new(1))).await?.state.total, 2);
/// # Ok(())
/// # }
/// ```
pub struct Repository<A: Aggregate> {
    store: Arc<dyn EventStore>,
    decoder: Decoder<A::Event>,
    tenant: Option<String>,
    snapshots: Option<Snapshots<A>>,
    conflict_retries: u32,
}

impl<A: Aggregate> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            decoder: self.decoder.clone(),
            tenant: self.tenant.clone(),
            snapshots: self.snapshots.clone(),
            conflict_retries: self.conflict_retries,
        }
    }
}

impl<A: Aggregate> std::fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("category", &A::Event::CATEGORY).finish_non_exhaustive()
    }
}

/// Which moment of an aggregate to load. A question about time says which time it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After the event with this version.
    Version(Version),
    /// As the store knew it at this time: with every event recorded by then.
    Recorded(OffsetDateTime),
    /// As the world was at this time, as far as is known today: with every event that occurred by then, in the order of
    /// versions, whenever it was recorded.
    Occurred(OffsetDateTime),
}

/// An aggregate and how far its stream was read.
#[derive(Debug)]
pub struct Loaded<A> {
    /// Its state; the default for a stream without events.
    pub state: Arc<A>,
    /// The version of the last event that the state holds; [`Version::ZERO`] for a stream without events.
    pub version: Version,
    /// The id of that event.
    pub last_event: Option<Uuid>,
}

impl<A> Clone for Loaded<A> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), ..*self }
    }
}

impl<A: Aggregate> Loaded<A> {
    fn nothing() -> Self {
        Self { state: Arc::default(), version: Version::ZERO, last_event: None }
    }

    fn apply(&mut self, event: &A::Event, version: Version, id: Uuid) {
        Arc::make_mut(&mut self.state).apply(event);
        (self.version, self.last_event) = (version, Some(id));
    }
}

impl<A: Aggregate> Repository<A> {
    /// A repository on a store; the store's handle is cloned.
    pub fn new<S: EventStore + Clone + 'static>(store: &S) -> Self {
        Self {
            store: Arc::new(store.clone()),
            decoder: A::Event::decoder(),
            tenant: None,
            snapshots: None,
            conflict_retries: limits::DEFAULT_CONFLICT_RETRIES,
        }
    }

    /// The same repository for the streams of one tenant.
    #[must_use]
    pub fn for_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Saves the state of an aggregate after every `every` events, and loads from there.
    ///
    /// A snapshot is ignored when the state's field names or [`Aggregate::STATE_VERSION`] have changed since.
    #[must_use]
    pub fn with_snapshots<S: SnapshotStore + Clone + 'static>(mut self, store: &S, every: NonZeroU64) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(Snapshots::new(Arc::new(store.clone()), every));
        self
    }

    /// How often a command is decided again after a conflict; at most [`limits::MAX_CONFLICT_RETRIES`].
    #[must_use]
    pub fn with_conflict_retries(mut self, retries: u32) -> Self {
        self.conflict_retries = retries.min(limits::MAX_CONFLICT_RETRIES);
        self
    }

    /// The stream of an aggregate.
    ///
    /// # Errors
    /// [`InvalidName`] if the id, the category or the tenant cannot be used.
    pub fn stream_id(&self, id: &str) -> Result<StreamId, InvalidName> {
        let stream = StreamId::new(A::Event::CATEGORY, id)?;
        match &self.tenant {
            None => Ok(stream),
            Some(tenant) => stream.with_tenant(tenant),
        }
    }

    /// The aggregate as it is now. One that has no events is the default, at [`Version::ZERO`].
    ///
    /// # Errors
    /// [`LoadError::Decode`] if an event cannot be read: none is ever skipped.
    pub async fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        self.load_stream(&self.stream_id(id)?).await
    }

    /// The aggregate as it was at a moment.
    ///
    /// # Errors
    /// [`LoadError::VersionInFuture`] for a version that the stream has not reached.
    pub async fn load_at(&self, id: &str, as_of: AsOf) -> Result<Loaded<A>, LoadError> {
        let stream = self.stream_id(id)?;
        let mut loaded = Loaded::nothing();
        let last = self
            .read_after(&stream, Version::ZERO, |event| {
                let (is_wanted, is_over) = match as_of {
                    AsOf::Version(version) => (event.version() <= version, event.version() > version),
                    AsOf::Recorded(time) => (event.recorded_at() <= time, event.recorded_at() > time),
                    AsOf::Occurred(time) => (event.occurred_at() <= time, false),
                };
                if is_wanted {
                    loaded.apply(&event.event, event.version(), event.id());
                }
                !is_over
            })
            .await?;
        let actual = last.map_or(Version::ZERO, |(version, _)| version);
        match as_of {
            AsOf::Version(asked) if actual < asked => Err(LoadError::VersionInFuture { stream, asked, actual }),
            _ => Ok(loaded),
        }
    }

    /// The aggregate's events with their envelopes, oldest first, page by page: for an audit.
    ///
    /// ```
    /// # use es_core::*; use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] enum E { Added {} }
    /// # impl DomainEvent for E { const CATEGORY: &'static str = "c"; }
    /// # #[derive(Default, Clone)] struct C;
    /// # impl Aggregate for C { type Event = E; type Command = (); type Error = std::convert::Infallible;
    /// #   fn handle(&self, _: &()) -> Result<Vec<E>, Self::Error> { Ok(vec![E::Added {}]) } fn apply(&mut self, _: &E) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::TryStreamExt;
    /// # let repository = Repository::<C>::new(&MemoryStore::new());
    /// # repository.execute("a", ()).await?;
    /// let mut history = repository.history("a");
    /// while let Some(event) = history.try_next().await? {
    ///     println!("{} {} {}", event.version(), event.recorded_at(), event.event_type());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn history(&self, id: &str) -> EventStream<'_, Recorded<A::Event>, LoadError> {
        let stream = self.stream_id(id);
        pages(Some(Version::ZERO), move |after| {
            let stream = stream.clone();
            async move {
                let page = self.store.read_stream(&stream?, after, PageSize::default()).await?;
                let next = page.events.last().filter(|_| !page.is_last).map(|event| event.version());
                Ok((self.decoder.decode_page(page.events)?, next))
            }
        })
    }

    /// Executes a command on an aggregate: loads it, decides, appends. Await the result; settings go in between.
    ///
    /// After a conflict the tail is loaded and the command is decided again, a bounded number of times.
    pub fn execute(&self, id: impl Into<String>, command: impl Into<A::Command>) -> Execute<A> {
        let command = command.into();
        let decide = move |state: Arc<A>| std::future::ready(state.handle(&command));
        Execute::new(self.clone(), id.into(), participant::decide_by(decide))
    }

    /// Executes a decision that needs more than the state: the function may look things up. It runs again after a
    /// conflict, so it must not have effects of its own.
    pub fn execute_with<F, Fut>(&self, id: impl Into<String>, decide: F) -> Execute<A>
    where
        F: Fn(Arc<A>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<A::Event>, A::Error>> + Send + 'static,
    {
        Execute::new(self.clone(), id.into(), participant::decide_by(decide))
    }

    async fn load_stream(&self, stream: &StreamId) -> Result<Loaded<A>, LoadError> {
        let mut loaded = match &self.snapshots {
            Some(snapshots) => snapshots.load(stream).await.unwrap_or_else(Loaded::nothing),
            None => Loaded::nothing(),
        };
        self.load_tail(stream, &mut loaded).await?;
        Ok(loaded)
    }

    /// Applies what came after the version that is loaded. If the stream does not hold the event that the loaded state
    /// ends with (a restored backup, a lost tail), the state is of another history, and everything is read.
    async fn load_tail(&self, stream: &StreamId, loaded: &mut Loaded<A>) -> Result<(), LoadError> {
        let first_page = match loaded.last_event {
            None => None,
            Some(last_event) => {
                let before = Version::new(loaded.version.get().saturating_sub(1));
                let mut page = self.store.read_stream(stream, before, PageSize::default()).await?;
                if page.events.first().map(|event| event.id()) == Some(last_event) {
                    page.events.remove(0);
                    Some(page).filter(|page| page.is_last || !page.events.is_empty())
                } else {
                    tracing::warn!(%stream, version = %loaded.version, "the state is of another history; all events are read");
                    *loaded = Loaded::nothing();
                    None
                }
            }
        };
        let last = self
            .read_on(stream, loaded.version, first_page, |event| {
                loaded.apply(&event.event, event.version(), event.id());
                true
            })
            .await?;
        // The last stored event may be of a retired type, which no one has seen.
        if let Some((version, id)) = last {
            (loaded.version, loaded.last_event) = (version, Some(id));
        }
        Ok(())
    }

    /// Reads a stream page by page, until `visit` has seen enough. Gives the last stored event that was read.
    async fn read_after(
        &self,
        stream: &StreamId,
        after: Version,
        visit: impl FnMut(Recorded<A::Event>) -> bool + Send,
    ) -> Result<Option<(Version, Uuid)>, LoadError> {
        self.read_on(stream, after, None, visit).await
    }

    /// [`read_after`](Self::read_after), where the first page may have been read already. While the events of a page are
    /// decoded and visited, the next one is on its way.
    async fn read_on(
        &self,
        stream: &StreamId,
        after: Version,
        first_page: Option<StreamPage>,
        mut visit: impl FnMut(Recorded<A::Event>) -> bool + Send,
    ) -> Result<Option<(Version, Uuid)>, LoadError> {
        let mut page = match first_page {
            Some(page) => page,
            None => self.store.read_stream(stream, after, PageSize::default()).await?,
        };
        let mut last = None;
        loop {
            last = page.events.last().map(|event| (event.version(), event.id())).or(last);
            let next_after = last.filter(|_| !page.is_last && !page.events.is_empty()).map(|(version, _)| version);
            let events = page.events;
            let visiting = async {
                let events = self.decoder.decode_page(events)?;
                Ok::<bool, LoadError>(events.into_iter().all(&mut visit))
            };
            let Some(after) = next_after else { return visiting.await.map(|_| last) };
            // The read is asked for first, so that the store is at work meanwhile.
            let (next, goes_on) = join(self.store.read_stream(stream, after, PageSize::default()), visiting).await;
            if !goes_on? {
                return Ok(last);
            }
            page = next?;
        }
    }
}
