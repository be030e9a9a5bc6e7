//! Loading aggregates from their events, and executing commands on them.

mod cache;
mod command;
mod command_queue;
mod context;
mod execute;
mod load;
mod outcome;
mod participant;
mod recall;
mod snapshots;
mod states_at;

pub use cache::CacheOptions;
pub use command_queue::{CommandQueue, Sleep};
pub use context::CommandContext;
pub use execute::Execute;
pub use load::{AsOf, Loaded};
pub use outcome::{Executed, Outcome};

use std::{
    num::NonZeroU64,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use self::{
    cache::Cache,
    participant::{IsPure, decide_by, handle_by},
    snapshots::Snapshots,
};
use crate::{
    aggregate::Aggregate,
    codec::decoder::Decoder,
    domain_event::{DomainEvent, EventSet},
    error::{InvalidName, LoadError},
    event::Recorded,
    event_store::{EventStore, EventStream, PageSize, pages},
    limits,
    snapshot_store::SnapshotStore,
    stream_id::StreamId,
    version::Version,
};

/// Loads aggregates of one type and executes commands on them. Cloning is cheap.
///
/// A repository caches recent aggregates for all of its clones ([`CacheOptions`]). A command on a cached aggregate
/// needs only one call of the store: the append, which checks that the stream has not changed since. If there is no
/// append to check the state, the repository reads the tail of the stream before it returns: for a rejection, for a
/// decision to do nothing, and for a state that [`load`](Self::load) returns. A stale state is therefore never visible.
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
/// // The same command returns the first outcome. Another command with the same key is refused.
/// let again = counters.execute("a", Add(2)).idempotency_key("request-17").await?;
/// assert!(again.is_repeated());
/// assert!(counters.execute("a", Add(3)).idempotency_key("request-17").await.is_err());
/// assert_eq!(counters.load("a").await?.state.total, 2);
///
/// counters.execute("a", Add(5)).await?;
/// assert_eq!(counters.load_at("a", AsOf::Version(Version::new(1))).await?.state.total, 2);
/// # Ok(())
/// # }
/// ```
pub struct Repository<A: Aggregate> {
    shared: Arc<Shared<A>>,
}

struct Shared<A: Aggregate> {
    store: Arc<dyn EventStore>,
    decoder: Decoder<A::Event>,
    tenant: Option<String>,
    snapshots: Option<Snapshots<A>>,
    cache: Option<Arc<Cache<A>>>,
    /// Earlier states, for commands that are sent again.
    recalled: Option<Arc<Cache<A>>>,
    /// Whether the last command with an idempotency key was a repetition.
    was_repetition: Arc<AtomicBool>,
    queue: CommandQueue,
    conflict_retries: u32,
    conflict_retry_time: Duration,
}

impl<A: Aggregate> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Aggregate> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            decoder: self.decoder.clone(),
            tenant: self.tenant.clone(),
            snapshots: self.snapshots.clone(),
            cache: self.cache.clone(),
            recalled: self.recalled.clone(),
            was_repetition: Arc::clone(&self.was_repetition),
            queue: self.queue.clone(),
            conflict_retries: self.conflict_retries,
            conflict_retry_time: self.conflict_retry_time,
        }
    }
}

impl<A: Aggregate> std::fmt::Debug for Repository<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("category", &A::Event::CATEGORY).finish_non_exhaustive()
    }
}

impl<A: Aggregate> Repository<A> {
    /// Creates a repository on a store. It clones the store's handle.
    pub fn new<S: EventStore + Clone + 'static>(store: &S) -> Self {
        let shared = Shared {
            store: Arc::new(store.clone()),
            decoder: A::Event::decoder(),
            tenant: None,
            snapshots: None,
            cache: None,
            recalled: None,
            was_repetition: Arc::default(),
            queue: store.command_queue(),
            conflict_retries: limits::DEFAULT_CONFLICT_RETRIES,
            conflict_retry_time: limits::DEFAULT_CONFLICT_RETRY_TIME,
        };
        Self { shared: Arc::new(shared) }.with_cache(CacheOptions::default())
    }

    /// Returns the repository with its own cache, with other limits.
    #[must_use]
    pub fn with_cache(self, options: CacheOptions) -> Self {
        self.with(|shared| {
            shared.cache = Some(Arc::new(Cache::new(options)));
            shared.recalled = Some(Arc::new(Cache::new(options.for_recalled())));
        })
    }

    /// Returns the repository without a cache. Every command then loads its aggregate.
    #[must_use]
    pub fn without_cache(self) -> Self {
        self.with(|shared| (shared.cache, shared.recalled) = (None, None))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared<A>)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Returns the repository for the streams of one tenant.
    #[must_use]
    pub fn for_tenant(self, tenant: impl Into<String>) -> Self {
        self.with(|shared| shared.tenant = Some(tenant.into()))
    }

    /// Saves the state of an aggregate after every `every` events, and loads from the saved state.
    ///
    /// A snapshot is ignored if the fields of the state, including those of nested types, or
    /// [`Aggregate::STATE_VERSION`] have changed since. If a category has several aggregates, each has its own
    /// snapshots ([`Aggregate::aggregate_name`]).
    #[must_use]
    pub fn with_snapshots<S: SnapshotStore + Clone + 'static>(self, store: &S, every: NonZeroU64) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.with(|shared| shared.snapshots = Some(Snapshots::new(Arc::new(store.clone()), every)))
    }

    /// Sets how often a command is decided again after a conflict, at most [`limits::MAX_CONFLICT_RETRIES`]. The
    /// [time](Self::with_conflict_retry_time) may end the retries earlier.
    #[must_use]
    pub fn with_conflict_retries(self, retries: u32) -> Self {
        self.with(|shared| shared.conflict_retries = retries.min(limits::MAX_CONFLICT_RETRIES))
    }

    /// Sets for how long a command is decided again after conflicts, at most [`limits::MAX_CONFLICT_RETRY_TIME`]. The
    /// [number](Self::with_conflict_retries) of retries may end them earlier.
    #[must_use]
    pub fn with_conflict_retry_time(self, time: Duration) -> Self {
        self.with(|shared| shared.conflict_retry_time = time.min(limits::MAX_CONFLICT_RETRY_TIME))
    }

    /// Returns the stream of an aggregate.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the ID, the category, or the tenant cannot be used.
    pub fn stream_id(&self, id: &str) -> Result<StreamId, InvalidName> {
        let stream = StreamId::new(A::Event::CATEGORY, id)?;
        match &self.shared.tenant {
            None => Ok(stream),
            Some(tenant) => stream.with_tenant(tenant),
        }
    }

    /// Returns the aggregate's events with their envelopes, oldest first, page by page. Use it for an audit, for
    /// example.
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
                let page = self.shared.store.read_stream(&stream?, after, PageSize::default()).await?;
                let next = page.events.last().filter(|_| !page.is_last).map(|event| event.version());
                Ok((self.shared.decoder.decode_page(page.events)?, next))
            }
        })
    }

    /// Executes a command on an aggregate: loads it, decides, and appends the events. Change settings on the returned
    /// value, and then await it.
    ///
    /// After a conflict, the repository loads the tail and decides the command again, a bounded number of times. It may
    /// call `handle` more than once for other reasons too: about a cached aggregate that turned out to be stale, or
    /// about a command that was executed before under its [idempotency key](Execute::idempotency_key). `handle` is
    /// pure, and those results are discarded.
    pub fn execute(&self, id: impl Into<String>, command: impl Into<A::Command>) -> Execute<A> {
        Execute::new(self.clone(), id.into(), handle_by(command.into()), IsPure(true))
    }

    /// Executes a decision that needs more than the state: the function may look things up. It runs again after a
    /// conflict, so it must not have effects of its own.
    pub fn execute_with<F, Fut>(&self, id: impl Into<String>, decide: F) -> Execute<A>
    where
        F: Fn(Arc<A>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<A::Event>, A::Error>> + Send + 'static,
    {
        Execute::new(self.clone(), id.into(), decide_by(decide), IsPure(false))
    }
}
