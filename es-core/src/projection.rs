//! Projections: read models in tables of their own, written with the store's connection.

use async_trait::async_trait;

use crate::{
    codec::decoder::Decoder,
    consumer_store::ConsumerName,
    domain_event::EventSet,
    error::{HandlerError, InvalidName, ProjectionError},
    event::{Recorded, RecordedEvent},
    event_filter::EventFilter,
};

/// A read model in tables of its own. Its writes and its checkpoint are one transaction, so each event takes effect
/// exactly once; do nothing here that a rollback cannot take back (use a [`Reactor`](crate::Reactor) for that).
///
/// A handler must not execute commands on its own store: it would wait for itself, and is refused.
pub trait Projection: Send + Sync + 'static {
    /// What it writes with: `sqlx::PgConnection`, `sqlx::SqliteConnection`, … as the store says.
    type Connection: Send;
    /// The events that it wants.
    type Event: EventSet;

    /// Names its checkpoint; see [`ConsumerName`].
    fn name(&self) -> &str;

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

    /// Empties the read model, for a rebuild.
    fn clear(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// A [`Projection`] whose types are not known: what stores and runners hold.
#[async_trait]
pub trait PageProjection<C: Send>: Send + Sync {
    /// Its name.
    fn name(&self) -> &ConsumerName;

    /// The events that it wants.
    fn filter(&self) -> &EventFilter;

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
    decoder: Decoder<P::Event>,
    projection: P,
}

impl<P: Projection> Projector<P> {
    /// Wraps a projection.
    ///
    /// # Errors
    /// [`InvalidName`] if its name is no [`ConsumerName`].
    pub fn new(projection: P) -> Result<Self, InvalidName> {
        Ok(Self { name: ConsumerName::new(projection.name())?, decoder: P::Event::decoder(), projection })
    }
}

#[async_trait]
impl<P: Projection> PageProjection<P::Connection> for Projector<P> {
    fn name(&self) -> &ConsumerName {
        &self.name
    }

    fn filter(&self) -> &EventFilter {
        self.decoder.filter()
    }

    async fn prepare(&self, connection: &mut P::Connection) -> Result<(), ProjectionError> {
        self.projection.prepare(connection).await.map_err(|error| ProjectionError::handler(&self.name, error))
    }

    async fn apply_page(
        &self,
        connection: &mut P::Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        let events = self.decoder.decode_events(events)?;
        self.projection
            .apply_page(connection, &events)
            .await
            .map_err(|error| ProjectionError::handler(&self.name, error))
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), ProjectionError> {
        self.projection.clear(connection).await.map_err(|error| ProjectionError::handler(&self.name, error))
    }
}
