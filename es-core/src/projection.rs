//! Projections: read models in tables of their own, written with the store's connection.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;

use crate::{
    codec::decoder::Decoder,
    consumer_name::{ConsumerName, Generation},
    domain_event::EventSet,
    error::{DecodeError, HandlerError, InvalidName, ProjectionError},
    event::{Recorded, RecordedEvent},
    event_filter::EventFilter,
    event_key::EventKey,
    generation_store::{ReadModelDefinition, TableNames},
};

/// A read model in tables of its own. Its writes and its checkpoint are one transaction, so each event takes effect
/// exactly once; do nothing here that a rollback cannot take back (use a [`Reactor`](crate::Reactor) for that).
///
/// One that asks [`in_generation`](Self::in_generation) for the names of its tables can be rebuilt beside the live one.
///
/// A handler must not execute commands on its own store: it would wait for itself, and is refused.
pub trait Projection: Send + Sync + 'static {
    /// What it writes with: `sqlx::PgConnection`, `sqlx::SqliteConnection`, … as the store says.
    type Connection: Send;
    /// The events that it wants.
    type Event: EventSet;

    /// Names its checkpoint; see [`ConsumerName`].
    fn name(&self) -> &str;

    /// The version of the code: raise it when what is written changes. Code of one version does not write the tables of
    /// another: a runner says so, and waits for a rebuild.
    fn version(&self) -> u32 {
        1
    }

    /// The same projection with the tables of one generation, which takes their names from `names`. `None`, the default,
    /// is a projection that names its tables itself, and so can only be rebuilt in place.
    ///
    /// # Errors
    /// [`InvalidName`] of a table.
    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName>
    where
        Self: Sized,
    {
        let _ = names;
        Ok(None)
    }

    /// The key within which events must be taken in order; the stream, unless it says otherwise. Events of other keys go on when
    /// one of them is parked. It must always be the same for an event, and the same code must not write the same row for
    /// events of two keys where their order counts.
    fn partition_key<'a>(&'a self, event: &'a Recorded<Self::Event>) -> Cow<'a, str> {
        event.stream().as_str().into()
    }

    /// Creates its tables if they are missing. Runs in a transaction whenever a runner starts.
    fn prepare(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Takes one event into the read model.
    fn apply(
        &self,
        connection: &mut Self::Connection,
        event: &Recorded<Self::Event>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Takes a page of events into the read model, in order. Override it to write many rows by one statement.
    fn apply_page(
        &self,
        connection: &mut Self::Connection,
        events: &[Recorded<Self::Event>],
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async move {
            for event in events {
                self.apply(connection, event).await.map_err(|error| error.or_at(event.position()))?;
            }
            Ok(())
        }
    }

    /// What is better made once than kept up while a generation is loaded: indexes that no handler needs. Runs in a
    /// transaction, once all history has been applied and before anybody reads the generation; for the first generation
    /// with [`prepare`](Self::prepare). Use `IF NOT EXISTS`.
    fn after_load(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Empties the read model, for a rebuild.
    fn clear(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// A [`Projection`] whose types are not known: what stores and runners hold.
#[async_trait]
pub trait PageProjection<C: Send>: Send + Sync {
    /// Its name, in its generation.
    fn name(&self) -> &ConsumerName;

    /// See [`Projection::version`] and [`Projection::in_generation`].
    fn definition(&self) -> ReadModelDefinition;

    /// The same projection in another generation; `None` if it names its tables itself.
    ///
    /// # Errors
    /// [`InvalidName`] of a table.
    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn PageProjection<C>>>, InvalidName>;

    /// The events that it wants.
    fn filter(&self) -> &EventFilter;

    /// Checks that its events can be read: see [`Decoder::check`].
    ///
    /// # Errors
    /// [`DecodeError::Misconfigured`].
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Whether the projection's code knows the type of an event that passes the filter; see [`Decoder::knows`].
    fn knows(&self, event: &RecordedEvent) -> bool;

    /// See [`Projection::partition_key`]; `None` for an event of a retired type. Of one that is split into several, the first
    /// one's key.
    ///
    /// # Errors
    /// [`DecodeError`] for an event that cannot be read.
    fn key(&self, event: &RecordedEvent) -> Result<Option<EventKey>, DecodeError>;

    /// See [`Projection::after_load`].
    async fn after_load(&self, connection: &mut C) -> Result<(), ProjectionError>;

    /// See [`Projection::prepare`].
    async fn prepare(&self, connection: &mut C) -> Result<(), ProjectionError>;

    /// See [`Projection::apply_page`].
    async fn apply_page(&self, connection: &mut C, events: &[RecordedEvent]) -> Result<(), ProjectionError>;

    /// See [`Projection::clear`].
    async fn clear(&self, connection: &mut C) -> Result<(), ProjectionError>;
}

/// Makes a [`PageProjection`] of a [`Projection`].
#[derive(Debug)]
pub struct Projector<P: Projection> {
    name: ConsumerName,
    tables: Vec<String>,
    decoder: Decoder<P::Event>,
    /// As it was given: what other generations are made of.
    given: Arc<P>,
    /// The one of this generation, if it has generations.
    of_generation: Option<P>,
}

impl<P: Projection> Projector<P> {
    /// Wraps a projection, in its first generation.
    ///
    /// # Errors
    /// [`InvalidName`] if its name is no [`ConsumerName`], or that of a table cannot be used.
    pub fn new(projection: P) -> Result<Self, InvalidName> {
        Self::of(Arc::new(projection), Generation::FIRST)
    }

    fn of(given: Arc<P>, generation: Generation) -> Result<Self, InvalidName> {
        let mut names = TableNames::new(generation);
        let of_generation = given.in_generation(&mut names)?;
        let name = ConsumerName::new(given.name())?.in_generation(generation);
        Ok(Self { name, tables: names.stable().to_vec(), decoder: P::Event::decoder(), given, of_generation })
    }

    fn projection(&self) -> &P {
        self.of_generation.as_ref().unwrap_or(&self.given)
    }
}

#[async_trait]
impl<P: Projection> PageProjection<P::Connection> for Projector<P> {
    fn name(&self) -> &ConsumerName {
        &self.name
    }

    fn definition(&self) -> ReadModelDefinition {
        ReadModelDefinition { version: self.projection().version(), tables: self.tables.clone() }
    }

    fn in_generation(
        &self,
        generation: Generation,
    ) -> Result<Option<Box<dyn PageProjection<P::Connection>>>, InvalidName> {
        if self.of_generation.is_none() && generation != Generation::FIRST {
            return Ok(None);
        }
        Ok(Some(Box::new(Self::of(Arc::clone(&self.given), generation)?)))
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

    fn key(&self, event: &RecordedEvent) -> Result<Option<EventKey>, DecodeError> {
        let parts = self.decoder.decode_events(std::slice::from_ref(event))?;
        Ok(parts.first().map(|part| EventKey::of(&self.projection().partition_key(part), event.stream())))
    }

    async fn after_load(&self, connection: &mut P::Connection) -> Result<(), ProjectionError> {
        self.projection().after_load(connection).await.map_err(|error| ProjectionError::handler(&self.name, error))
    }

    async fn prepare(&self, connection: &mut P::Connection) -> Result<(), ProjectionError> {
        self.projection().prepare(connection).await.map_err(|error| ProjectionError::handler(&self.name, error))
    }

    async fn apply_page(
        &self,
        connection: &mut P::Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        let events = self.decoder.decode_events(events)?;
        self.projection()
            .apply_page(connection, &events)
            .await
            .map_err(|error| ProjectionError::handler(&self.name, error))
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), ProjectionError> {
        self.projection().clear(connection).await.map_err(|error| ProjectionError::handler(&self.name, error))
    }
}
