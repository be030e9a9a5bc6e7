//! Projections: read models in their own tables, written through the store's connection.

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

/// A read model in its own tables. Its writes and its checkpoint are committed in one transaction, so each event takes
/// effect exactly once. A projection must not do anything that a rollback cannot undo; use a
/// [`Reactor`](crate::Reactor) for that.
///
/// A projection that takes the names of its tables from [`in_generation`](Self::in_generation) can be rebuilt beside
/// the live one.
///
/// A projection must not execute commands on its own store. It would wait for itself, so such a command is refused.
pub trait Projection: Send + Sync + 'static {
    /// The connection that the projection writes with, which depends on the store: `sqlx::PgConnection`,
    /// `sqlx::SqliteConnection`, and so on.
    type Connection: Send;
    /// The events that the projection receives.
    type Event: EventSet;

    /// Returns the name of the projection's checkpoint. See [`ConsumerName`].
    fn name(&self) -> &str;

    /// Returns the version of the code. Increase it when the projection writes different rows. Code of one version does
    /// not write the tables of another: a runner reports the mismatch and waits for a rebuild.
    fn version(&self) -> u32 {
        1
    }

    /// Returns the projection with the tables of one generation, whose names it takes from `names`. `None`, the
    /// default, means that the projection names its tables itself, and can therefore only be rebuilt in place.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for an invalid table name.
    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName>
    where
        Self: Sized,
    {
        let _ = names;
        Ok(None)
    }

    /// Returns the key whose events must be applied in order. The default is the stream. If an event is parked, events
    /// of other keys continue.
    ///
    /// The key of an event must never change. The code must not write the same row for events of two keys if their
    /// order matters.
    fn partition_key<'a>(&'a self, event: &'a Recorded<Self::Event>) -> Cow<'a, str> {
        event.stream().as_str().into()
    }

    /// Creates the projection's tables if they are missing. It runs in a transaction each time a runner starts.
    fn prepare(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Applies one event to the read model.
    fn apply(
        &self,
        connection: &mut Self::Connection,
        event: &Recorded<Self::Event>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Applies a page of events to the read model, in order. Override it to write many rows with one statement.
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

    /// Creates what is cheaper to create once than to maintain while a generation is loaded, such as indexes that no
    /// handler needs.
    ///
    /// It runs in a transaction, after all history has been applied and before the generation is read. For the first
    /// generation, it runs together with [`prepare`](Self::prepare). Use `IF NOT EXISTS`.
    fn after_load(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Empties the read model before a rebuild.
    fn clear(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// A [`Projection`] with erased types, as stores and runners use it.
#[async_trait]
pub trait PageProjection<C: Send>: Send + Sync {
    /// Returns the name, including the generation.
    fn name(&self) -> &ConsumerName;

    /// Returns the definition. See [`Projection::version`] and [`Projection::in_generation`].
    fn definition(&self) -> ReadModelDefinition;

    /// Returns the projection in another generation, or `None` if it names its tables itself.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for an invalid table name.
    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn PageProjection<C>>>, InvalidName>;

    /// Returns the filter for the events that the projection receives.
    fn filter(&self) -> &EventFilter;

    /// Checks that the projection's events can be read. See [`Decoder::check`].
    ///
    /// # Errors
    /// Returns [`DecodeError::Misconfigured`] if they cannot.
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Returns whether the projection's code knows the type of an event that matches the filter. See
    /// [`Decoder::knows`].
    fn knows(&self, event: &RecordedEvent) -> bool;

    /// Returns the [`Projection::partition_key`] of an event, or `None` for an event of a retired type. For an event
    /// that is split into several, it returns the key of the first one.
    ///
    /// # Errors
    /// Returns [`DecodeError`] for an event that cannot be read.
    fn key(&self, event: &RecordedEvent) -> Result<Option<EventKey>, DecodeError>;

    /// Calls [`Projection::after_load`].
    async fn after_load(&self, connection: &mut C) -> Result<(), ProjectionError>;

    /// Calls [`Projection::prepare`].
    async fn prepare(&self, connection: &mut C) -> Result<(), ProjectionError>;

    /// Calls [`Projection::apply_page`].
    async fn apply_page(&self, connection: &mut C, events: &[RecordedEvent]) -> Result<(), ProjectionError>;

    /// Calls [`Projection::clear`].
    async fn clear(&self, connection: &mut C) -> Result<(), ProjectionError>;
}

/// Turns a [`Projection`] into a [`PageProjection`].
#[derive(Debug)]
pub struct Projector<P: Projection> {
    name: ConsumerName,
    tables: Vec<String>,
    decoder: Decoder<P::Event>,
    /// The projection as the caller passed it, from which other generations are created.
    given: Arc<P>,
    /// The projection of this generation, if it has generations.
    of_generation: Option<P>,
}

impl<P: Projection> Projector<P> {
    /// Wraps a projection, in its first generation.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the name is not a valid [`ConsumerName`], or if a table name cannot be used.
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
