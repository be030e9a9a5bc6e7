//! Views: read models that are pure folds, with one JSON document per key.

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec::{decoder::Decoder, json_value::is_same_json, read_back::encode_readable, redact::without_content},
    consumer_name::ConsumerName,
    consumer_store::{ConsumerStore, Document, DocumentChange, check_document_key},
    document_query::{DocumentQuery, FieldQuery},
    domain_event::EventSet,
    error::{DecodeError, InvalidName, ProjectionError, StoreError},
    event::{Payload, Recorded, RecordedEvent},
    event_filter::EventFilter,
    generation_store::ReadModelDefinition,
    limits,
};

/// What happens to a document after a view has applied an event to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentAction {
    /// The document is stored with its current content.
    Keep,
    /// The document is deleted. A later event for its key starts from the default again.
    Delete,
}

/// A read model of one JSON document per key: a pure fold over events whose documents the framework stores.
///
/// A document starts as `Self::default()` with the first event that returns its key.
///
/// Documents are compared as JSON values, so a document may contain a `HashMap`: the order of its keys does not matter.
/// The order of a list does matter, and a `HashSet` is written in a different order each time. Use a `BTreeSet`
/// instead. Otherwise an unchanged document counts as changed, and a rebuild differs from the live read model.
///
/// ```
/// use es_core::{DomainEvent, DocumentAction, Recorded, View};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent { Opened { owner: String }, Deposited { cents: i64 }, Closed }
/// impl DomainEvent for AccountEvent { const CATEGORY: &'static str = "account"; }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Balance { owner: String, cents: i64 }
///
/// impl View for Balance {
///     const NAME: &'static str = "balance";
///     type Event = AccountEvent;
///
///     fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
///         vec![event.stream().id().to_owned()]
///     }
///
///     fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
///         match &event.event {
///             AccountEvent::Opened { owner } => self.owner = owner.clone(),
///             AccountEvent::Deposited { cents } => self.cents += cents,
///             AccountEvent::Closed => return DocumentAction::Delete,
///         }
///         DocumentAction::Keep
///     }
/// }
/// ```
pub trait View: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name of the view, its checkpoint, and its table. See [`ConsumerName`].
    const NAME: &'static str;
    /// The version of the code. Increase it when `keys`, `apply`, or the form of the document changes. Code of one
    /// version does not write the documents of another: a runner reports the mismatch and waits for a rebuild.
    const VERSION: u32 = 1;
    /// The events that the view folds.
    type Event: EventSet;

    /// Returns the keys of the documents that an event concerns, at most [`limits::MAX_KEYS_PER_EVENT`]. An empty list
    /// is allowed.
    fn keys(event: &Recorded<Self::Event>) -> Vec<String>;

    /// Applies an event to the document of one of its keys. A view implements this method, or
    /// [`apply_to`](Self::apply_to) if the result depends on the key. By default, the document does not change.
    fn apply(&mut self, event: &Recorded<Self::Event>) -> DocumentAction {
        let _ = event;
        DocumentAction::Keep
    }

    /// Applies an event to the document of `key`. Implement it for events that concern several documents in different
    /// ways. For example, an order that changes its status leaves the document of one status and enters the document of
    /// another.
    fn apply_to(&mut self, key: &str, event: &Recorded<Self::Event>) -> DocumentAction {
        let _ = key;
        self.apply(event)
    }
}

/// A [`View`] with an erased type, as stores and runners use it.
pub trait DocumentFold: Send + Sync {
    /// Returns the name.
    fn name(&self) -> &ConsumerName;

    /// Returns the definition. See [`View::VERSION`].
    fn definition(&self) -> ReadModelDefinition;

    /// Returns the filter for the events that the view folds.
    fn filter(&self) -> &EventFilter;

    /// Checks that the view's events can be read. See [`Decoder::check`].
    ///
    /// # Errors
    /// Returns [`DecodeError::Misconfigured`] if they cannot.
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Returns whether the view's code knows the type of an event that matches the filter. See [`Decoder::knows`].
    fn knows(&self, event: &RecordedEvent) -> bool;

    /// Returns the keys of the documents that an event concerns, each of them once.
    ///
    /// # Errors
    /// Returns the errors of [`open_page`](Self::open_page).
    fn keys(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectionError>;

    /// Decodes the events of a page and determines which documents they concern.
    ///
    /// # Errors
    /// Returns [`ProjectionError::Decode`] for an event that cannot be read, and [`ProjectionError::Store`] for an
    /// invalid key.
    fn open_page(&self, events: Vec<RecordedEvent>) -> Result<Box<dyn PageFold>, ProjectionError>;
}

/// The events of one page, decoded and grouped by the documents that they concern.
pub trait PageFold: Send {
    /// Returns the keys of all documents that the page concerns, each of them once.
    fn keys(&self) -> Vec<String>;

    /// Removes all documents except those whose keys are wanted.
    fn retain(&mut self, is_wanted: &dyn Fn(&str) -> bool);

    /// Folds the page into the existing documents, and returns the changes.
    ///
    /// # Errors
    /// Returns [`ProjectionError::Decode`] for a document that does not match the view's type, and
    /// [`ProjectionError::Document`] for a document that cannot be written.
    fn fold(self: Box<Self>, documents: Vec<Document>) -> Result<Vec<DocumentChange>, ProjectionError>;
}

/// Turns a [`View`] into a [`DocumentFold`].
#[derive(Debug)]
pub struct ViewFold<V: View> {
    name: ConsumerName,
    decoder: Decoder<V::Event>,
}

impl<V: View> ViewFold<V> {
    /// Creates the fold of the view `V`.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if `V::NAME` is not a valid [`ConsumerName`].
    pub fn new() -> Result<Self, InvalidName> {
        Ok(Self { name: ConsumerName::new(V::NAME)?, decoder: V::Event::decoder() })
    }
}

impl<V: View> DocumentFold for ViewFold<V> {
    fn name(&self) -> &ConsumerName {
        &self.name
    }

    fn definition(&self) -> ReadModelDefinition {
        ReadModelDefinition { version: V::VERSION, tables: Vec::new() }
    }

    fn filter(&self) -> &EventFilter {
        self.decoder.filter()
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.decoder.check()
    }

    fn knows(&self, event: &RecordedEvent) -> bool {
        self.decoder.knows(event)
    }

    fn keys(&self, event: &RecordedEvent) -> Result<Vec<String>, ProjectionError> {
        Ok(self.open_page(vec![event.clone()])?.keys())
    }

    fn open_page(&self, events: Vec<RecordedEvent>) -> Result<Box<dyn PageFold>, ProjectionError> {
        let events = self.decoder.decode_page(events)?;
        // Ordered by key, so that two stores write their documents in the same order.
        let mut events_by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            let keys = V::keys(event);
            if keys.len() > limits::MAX_KEYS_PER_EVENT {
                return Err(ProjectionError::Store(StoreError::LimitExceeded {
                    what: "documents that one event concerns",
                    limit: limits::MAX_KEYS_PER_EVENT as u64,
                    actual: keys.len() as u64,
                }));
            }
            for key in keys {
                check_document_key(&key)?;
                let indexes = events_by_key.entry(key).or_default();
                if indexes.last() != Some(&index) {
                    indexes.push(index);
                }
            }
        }
        Ok(Box::new(ViewPage::<V> { view: self.name.clone(), events, events_by_key }))
    }
}

struct ViewPage<V: View> {
    view: ConsumerName,
    events: Vec<Recorded<V::Event>>,
    events_by_key: BTreeMap<String, Vec<usize>>,
}

impl<V: View> PageFold for ViewPage<V> {
    fn keys(&self) -> Vec<String> {
        self.events_by_key.keys().cloned().collect()
    }

    fn retain(&mut self, is_wanted: &dyn Fn(&str) -> bool) {
        self.events_by_key.retain(|key, _| is_wanted(key));
    }

    fn fold(self: Box<Self>, documents: Vec<Document>) -> Result<Vec<DocumentChange>, ProjectionError> {
        let Self { view, events, events_by_key } = *self;
        let mut stored: HashMap<String, Payload> = documents.into_iter().map(|doc| (doc.key, doc.body)).collect();
        let mut changes = Vec::with_capacity(events_by_key.len());
        for (key, indexes) in events_by_key {
            let before = stored.remove(&key);
            let mut document = before.as_ref().map(|body| read_document::<V>(&view, &key, body)).transpose()?;
            for index in indexes {
                let mut now = document.take().unwrap_or_default();
                if now.apply_to(&key, &events[index]) == DocumentAction::Keep {
                    document = Some(now);
                }
            }
            let body = document.map(|document| write_document(&view, &key, &document)).transpose()?;
            if !is_unchanged(before.as_ref(), body.as_ref()) {
                changes.push(DocumentChange { key, body });
            }
        }
        Ok(changes)
    }
}

fn read_document<V: View>(view: &ConsumerName, key: &str, body: &Payload) -> Result<V, DecodeError> {
    serde_json::from_str(body.as_str()).map_err(|source| DecodeError::Document {
        view: view.clone(),
        key: key.to_owned(),
        source: without_content(&source),
    })
}

/// Returns whether a document is unchanged. The order of keys in objects does not matter, because a hash map is written
/// in any order.
fn is_unchanged(before: Option<&Payload>, now: Option<&Payload>) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return before == now };
    let (before, now) = (before.as_str(), now.as_str());
    // The same writer wrote both documents. The same value in another order therefore consists of the same bytes, and
    // comparing the sums of the bytes detects nearly every changed document.
    let sum = |text: &str| text.bytes().map(u64::from).sum::<u64>();
    before == now || (before.len() == now.len() && sum(before) == sum(now) && is_same_json(before, now))
}

fn write_document<V: View>(view: &ConsumerName, key: &str, document: &V) -> Result<Payload, ProjectionError> {
    let body = encode_readable(view.as_str(), document).map_err(|source| ProjectionError::Document {
        view: view.clone(),
        key: key.to_owned(),
        source,
    })?;
    if body.as_str().len() > limits::MAX_DOCUMENT_BYTES {
        return Err(ProjectionError::Store(StoreError::LimitExceeded {
            what: "bytes of a view's document",
            limit: limits::MAX_DOCUMENT_BYTES as u64,
            actual: body.as_str().len() as u64,
        }));
    }
    Ok(body)
}

/// The reason why a view could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The store refused the request or failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A document does not match the view's type. Rebuild the view.
    #[error("{0}")]
    Decode(#[from] DecodeError),
}

impl From<InvalidName> for ViewError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

/// Reads the documents of one view.
#[derive(Debug)]
pub struct ViewReader<'a, S: ?Sized, V> {
    store: &'a S,
    view: PhantomData<fn() -> V>,
}

impl<'a, S: ConsumerStore + ?Sized, V: View> ViewReader<'a, S, V> {
    pub(crate) fn new(store: &'a S) -> Self {
        Self { store, view: PhantomData }
    }

    /// Returns the document of a key, if there is one.
    ///
    /// # Errors
    /// Returns [`ViewError::Decode`] if the stored document has an older form. In this case, rebuild the view.
    pub async fn get(&self, key: &str) -> Result<Option<V>, ViewError> {
        Ok(self.get_many(&[key]).await?.pop().flatten())
    }

    /// Returns the documents of several keys, in the order of the keys, with `None` for each key that has no document.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] for more than [`limits::MAX_DOCUMENTS_PER_READ`] keys.
    pub async fn get_many<K: AsRef<str>>(&self, keys: &[K]) -> Result<Vec<Option<V>>, ViewError> {
        let name = ConsumerName::new(V::NAME)?.live();
        let keys: Vec<String> = keys.iter().map(|key| key.as_ref().to_owned()).collect();
        keys.iter().try_for_each(|key| check_document_key(key))?;
        let documents = self.store.documents(&name, &keys).await?;
        let bodies: HashMap<&str, &Payload> = documents.iter().map(|doc| (doc.key.as_str(), &doc.body)).collect();
        keys.iter()
            .map(|key| Ok(bodies.get(key.as_str()).map(|body| read_document(&name, key, body)).transpose()?))
            .collect()
    }

    /// Returns the next `limit` documents after a key, in the order of their keys. `None` starts at the first key.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, V)>, ViewError> {
        self.query(DocumentQuery::ByKey { after: after.map(str::to_owned), limit }).await
    }

    /// Returns documents by the number or text in a top-level field: a range of values, in either direction, page by
    /// page.
    ///
    /// ```
    /// # use es_core::*; use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] enum E { Opened {} }
    /// # impl DomainEvent for E { const CATEGORY: &'static str = "order"; }
    /// # #[derive(Default, Serialize, Deserialize)] struct Order { status: String, cents: i64 }
    /// # impl View for Order { const NAME: &'static str = "orders"; type Event = E;
    /// #   fn keys(_: &Recorded<E>) -> Vec<String> { vec![] } fn apply(&mut self, _: &Recorded<E>) -> DocumentAction {
    /// #     DocumentAction::Keep } }
    /// # async fn doc(store: &MemoryStore) -> Result<(), ViewError> {
    /// let open = store.view::<Order>().find(FieldQuery::new("status").equal_to("open")).await?;
    /// let mut page = store.view::<Order>().find(FieldQuery::new("cents").from(100).limit(20)).await?;
    /// while let Some((key, last)) = page.last() {
    ///     let next = FieldQuery::new("cents").from(100).limit(20).after(last.cents, key);
    ///     page = store.view::<Order>().find(next).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns [`ViewError::Store`] for a query that [`DocumentQuery::check`] refuses.
    pub async fn find(&self, query: FieldQuery) -> Result<Vec<(String, V)>, ViewError> {
        self.query(DocumentQuery::ByField(query)).await
    }

    /// Returns the `limit` documents with the largest number in a top-level field, largest first.
    pub async fn top(&self, field: &str, limit: usize) -> Result<Vec<(String, V)>, ViewError> {
        self.query(DocumentQuery::TopByField { field: field.to_owned(), limit }).await
    }

    async fn query(&self, query: DocumentQuery) -> Result<Vec<(String, V)>, ViewError> {
        let name = ConsumerName::new(V::NAME)?.live();
        let documents = self.store.list_documents(&name, &query).await?;
        documents
            .into_iter()
            .map(|doc| {
                let document = read_document(&name, &doc.key, &doc.body)?;
                Ok((doc.key, document))
            })
            .collect()
    }
}
