//! Given some events, what does a read model hold: tests of views and projections.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::{self, Debug},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use es_core::{
    Advance, Aggregate, ConsumerStore, ConsumerStoreExt, DocumentFold, DomainEvent, EventStore, MemoryStore,
    PageProjection, PageSize, Position, Projection, ProjectionError, ProjectionStore, Projector, Repository,
    StoreError, View, ViewFold, limits,
};
use time::OffsetDateTime;

use crate::given::difference;

type Record = Box<dyn FnOnce(Arc<dyn EventStore>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Events that have happened, to show to a read model. See [`given_events`].
#[must_use = "events test nothing until a read model sees them"]
pub struct GivenEvents {
    records: Vec<Record>,
}

impl Debug for GivenEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenEvents({})", self.records.len())
    }
}

/// Starts a test of a read model from the events that have happened, each with the id of its aggregate.
///
/// ```
/// # #[tokio::main] async fn main() {
/// use es_testkit::{bank::*, given_events};
/// use AccountEvent::*;
///
/// given_events([
///     ("ann", Opened { owner: "Ann".into() }),
///     ("bob", Opened { owner: "Bob".into() }),
///     ("ann", Deposited { cents: 100 }),
///     ("bob", Closed),
/// ])
/// .viewed_by::<Balance>()
/// .await
/// .then([("ann", Balance { owner: "Ann".into(), cents: 100, events: 2 })]);
/// # }
/// ```
pub fn given_events<E: DomainEvent>(events: impl IntoIterator<Item = (impl Into<String>, E)>) -> GivenEvents {
    GivenEvents { records: Vec::new() }.and_events(events)
}

impl GivenEvents {
    /// Then these happened; they may be of another category.
    pub fn and_events<E: DomainEvent>(self, events: impl IntoIterator<Item = (impl Into<String>, E)>) -> Self {
        self.record(events, None)
    }

    /// Then these happened, at a time.
    pub fn and_events_at<E: DomainEvent>(
        self,
        time: OffsetDateTime,
        events: impl IntoIterator<Item = (impl Into<String>, E)>,
    ) -> Self {
        self.record(events, Some(time))
    }

    fn record<E: DomainEvent>(
        mut self,
        events: impl IntoIterator<Item = (impl Into<String>, E)>,
        time: Option<OffsetDateTime>,
    ) -> Self {
        for (id, event) in events {
            let id = id.into();
            self.records.push(Box::new(move |store| Box::pin(record(store, id, event, time))));
        }
        self
    }

    async fn append_to<S: EventStore + Clone + 'static>(self, store: &S) {
        for record in self.records {
            record(Arc::new(store.clone())).await;
        }
    }

    /// What a view makes of the events.
    ///
    /// # Panics
    /// If an event or document cannot be written or read, or if the documents depend on how the events are cut into
    /// pages (because a field does not survive its way through JSON).
    pub async fn viewed_by<V: View>(self) -> Viewed<V> {
        let (store, one_by_one) = (MemoryStore::new(), MemoryStore::new());
        self.append_to(&store).await;
        let fold = must(ViewFold::<V>::new());
        view(&store, &store, &fold, limits::MAX_PAGE_EVENTS).await;
        view(&store, &one_by_one, &fold, 1).await;
        let query = es_core::DocumentQuery::ByKey { after: None, limit: limits::MAX_DOCUMENTS_PER_READ };
        let (expected, found) = (
            must(store.list_documents(fold.name(), &query).await),
            must(one_by_one.list_documents(fold.name(), &query).await),
        );
        let shown = |documents: &[es_core::Document]| -> Vec<(String, String)> {
            documents.iter().map(|doc| (doc.key.clone(), doc.body.as_str().to_owned())).collect()
        };
        let (expected, found) = (shown(&expected), shown(&found));
        assert!(
            expected == found,
            "the view {} depends on its pages: does every field survive its way through JSON? {}",
            V::NAME,
            difference("the documents by one page and by many", &expected, &found)
        );
        let documents = must(store.view::<V>().list(None, limits::MAX_DOCUMENTS_PER_READ).await);
        Viewed { documents: documents.into_iter().collect() }
    }

    /// Appends the events to a store and applies them to a projection; then sends every page again, which must be
    /// refused and change nothing; then rebuilds the read model by other pages, which must give the same. `rows` reads
    /// the read model; the result is what it gave.
    ///
    /// ```
    /// # #[tokio::main] async fn main() {
    /// use es_core::MemoryStore;
    /// use es_testkit::{MemoryHarness, StoreHarness, bank::*, given_events};
    ///
    /// let store = MemoryStore::new();
    /// let rows = given_events([("ann", AccountEvent::Deposited { cents: 5 })])
    ///     .applied_to(&store, MemoryHarness.ledger("ledger"), async |store| {
    ///         MemoryHarness.ledger_rows(store, "ledger").await
    ///     })
    ///     .await;
    /// assert_eq!(rows.len(), 1);
    /// assert_eq!(rows[0].cents, 5);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the projection fails, or if one of these does not hold.
    pub async fn applied_to<S, P, R>(self, store: &S, projection: P, rows: impl AsyncFn(&S) -> R) -> R
    where
        S: EventStore + ProjectionStore + Clone + 'static,
        P: Projection<Connection = S::Connection>,
        R: Debug + PartialEq,
    {
        self.append_to(store).await;
        let projector = must(Projector::new(projection));
        must(store.prepare_projection(&projector).await);
        let name = PageProjection::name(&projector);
        let started = must(store.checkpoint(name).await);
        let start = started.map_or(Position::ZERO, |checkpoint| checkpoint.position);
        apply_pages(store, &projector, start, PageSize::default()).await;
        let once = rows(store).await;
        apply_again(store, &projector, start).await;
        let again = rows(store).await;
        assert!(again == once, "pages that came again changed the read model:\n- {once:#?}\n+ {again:#?}");
        must(store.clear_projection(&projector).await);
        apply_pages(store, &projector, Position::ZERO, must(PageSize::new(1))).await;
        let rebuilt = rows(store).await;
        assert!(rebuilt == once, "the rebuilt read model is another one:\n- {once:#?}\n+ {rebuilt:#?}");
        once
    }
}

/// The documents of a view. See [`GivenEvents::viewed_by`].
#[derive(Debug)]
#[must_use = "documents test nothing until they are compared"]
pub struct Viewed<V> {
    documents: BTreeMap<String, V>,
}

impl<V> Viewed<V> {
    /// The document of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.documents.get(key)
    }

    /// All documents by key.
    pub fn documents(&self) -> &BTreeMap<String, V> {
        &self.documents
    }

    /// These are all documents, by their keys.
    ///
    /// # Panics
    /// With the difference, if they are not.
    #[track_caller]
    pub fn then<K: Into<String>>(self, expected: impl IntoIterator<Item = (K, V)>)
    where
        V: Debug + PartialEq,
    {
        let expected: BTreeMap<String, V> =
            expected.into_iter().map(|(key, document)| (key.into(), document)).collect();
        if self.documents != expected {
            let (expected, found): (Vec<_>, Vec<_>) = (expected.iter().collect(), self.documents.iter().collect());
            panic!("{}", difference("the documents", &expected, &found));
        }
    }
}

/// An aggregate that records whatever it is given, so that test events go through the codec like all others.
struct Recorder<E>(PhantomData<fn() -> E>);

impl<E> Default for Recorder<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for Recorder<E> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<E: DomainEvent> Aggregate for Recorder<E> {
    type Event = E;
    type Command = ();
    type Error = Infallible;

    fn handle(&self, (): &()) -> Result<Vec<E>, Infallible> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &E) {}
}

async fn record<E: DomainEvent>(store: Arc<dyn EventStore>, id: String, event: E, time: Option<OffsetDateTime>) {
    let event = Mutex::new(Some(event));
    let repository = Repository::<Recorder<E>>::new(&store).with_conflict_retries(0);
    let mut execute = repository.execute_with(id, move |_| {
        let event = event.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(Ok(event.into_iter().collect()))
    });
    if let Some(time) = time {
        execute = execute.occurred_at(time);
    }
    must(execute.await);
}

/// Folds the log of `events` into documents in `documents`, in pages of a size.
async fn view<V: View>(events: &MemoryStore, documents: &MemoryStore, fold: &ViewFold<V>, size: usize) {
    must(documents.prepare_view(fold.name()).await);
    let mut from = Position::ZERO;
    loop {
        let page = must(events.read_all(from, fold.filter(), must(PageSize::new(size))).await);
        if page.scanned_to == from {
            return;
        }
        let open = must(fold.open_page(page.events));
        let before = must(documents.documents(fold.name(), &open.keys()).await);
        let changes = must(open.fold(before));
        must(documents.save_documents(&Advance::new(fold.name(), from, page.scanned_to), &changes).await);
        from = page.scanned_to;
    }
}

async fn apply_pages<S: EventStore + ProjectionStore>(
    store: &S,
    projection: &dyn PageProjection<S::Connection>,
    mut from: Position,
    size: PageSize,
) {
    loop {
        let page = must(store.read_all(from, projection.filter(), size).await);
        if page.scanned_to == from {
            return;
        }
        must(store.apply_page(projection, &Advance::new(projection.name(), from, page.scanned_to), &page.events).await);
        from = page.scanned_to;
    }
}

/// Sends every page again; each must be refused.
async fn apply_again<S: EventStore + ProjectionStore>(
    store: &S,
    projection: &dyn PageProjection<S::Connection>,
    mut from: Position,
) {
    loop {
        let page = must(store.read_all(from, projection.filter(), PageSize::default()).await);
        if page.scanned_to == from {
            return;
        }
        match store.apply_page(projection, &Advance::new(projection.name(), from, page.scanned_to), &page.events).await
        {
            Err(ProjectionError::Store(StoreError::CheckpointMoved { .. })) => {}
            other => panic!("the page after {from} came again and was not refused: {other:?}"),
        }
        from = page.scanned_to;
    }
}

#[track_caller]
fn must<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the test could not go on: {error:?}"),
    }
}
