//! Generations of read models: built side by side, compared, and swapped.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::{
    consumer_name::{ConsumerName, Generation},
    consumer_store::ConsumerStore,
    error::{InvalidName, StoreError},
    lease_store::is_in_force,
    limits,
    name::check_identifier,
    position::Position,
};

/// The state of a generation of a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GenerationState {
    /// The generation is being built, and readers do not use it yet.
    Building,
    /// Readers use this generation, and runners keep it up to date.
    Live,
    /// The generation was live before. It is kept unchanged so that an operator can return to it.
    Retired,
}

impl GenerationState {
    /// Returns the text under which stores keep the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }

    /// Parses the text that [`as_str`](Self::as_str) returned.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Building, Self::Live, Self::Retired].into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The process or operator that builds a generation, and the time until which others leave the generation to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Builder {
    /// The name by which the builder identifies itself: a process, a person, or a host.
    pub by: String,
    /// When the claim began, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When the builder last extended the claim, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub renewed: OffsetDateTime,
    /// When the claim ends, by the store's clock, unless the builder extends it.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl Builder {
    /// Creates a builder. Stores report builders in this way.
    pub fn new(by: String, since: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { by, since, renewed: since, until }
    }

    /// Returns the builder with the time at which it last extended its claim.
    #[must_use]
    pub fn renewed_at(mut self, renewed: OffsetDateTime) -> Self {
        self.renewed = renewed;
        self
    }

    /// Returns whether others leave the generation to this builder at a time of the store's clock; see [`is_in_force`].
    pub fn is_held_at(&self, now: OffsetDateTime) -> bool {
        is_in_force(self.renewed, self.until, now)
    }
}

/// The definition of a read model, as far as a store knows it: the version of the code, and the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadModelDefinition {
    /// The version; see [`View::VERSION`](crate::View::VERSION).
    pub version: u32,
    /// The names of the tables that readers use. Empty for a view, and for a projection that names its tables itself.
    pub tables: Vec<String>,
}

/// One generation of a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationInfo {
    /// The name of the consumer in this generation.
    pub name: ConsumerName,
    /// The state.
    pub state: GenerationState,
    /// The definition of the code that writes the generation.
    pub definition: ReadModelDefinition,
    /// The position up to which every event has taken effect, in every partition. `None` if the generation has not
    /// started.
    pub position: Option<Position>,
    /// When the store first recorded the generation, by the store's clock.
    pub created_at: OffsetDateTime,
    /// The builder, if the generation is being built.
    pub builder: Option<Builder>,
}

impl GenerationInfo {
    /// Creates a generation. Stores report generations in this way.
    pub fn new(
        name: ConsumerName,
        state: GenerationState,
        definition: ReadModelDefinition,
        position: Option<Position>,
        created_at: OffsetDateTime,
        builder: Option<Builder>,
    ) -> Self {
        Self { name, state, definition, position, created_at, builder }
    }

    /// Returns the number of the generation.
    pub fn generation(&self) -> Generation {
        self.name.generation().unwrap_or(Generation::FIRST)
    }
}

/// A claim to build the next generation of a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildClaim {
    /// The consumer whose read model is built.
    pub consumer: ConsumerName,
    /// The claiming process or operator; see [`Builder::by`]. The same text is the same builder.
    pub by: String,
    /// The definition of the code that will write the generation.
    pub definition: ReadModelDefinition,
    /// How long the claim is valid unless it is renewed.
    pub lease: Duration,
}

impl BuildClaim {
    /// Creates a claim.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if `by` is empty, longer than [`limits::MAX_METADATA_TEXT_BYTES`], or contains a control
    /// character.
    pub fn new(
        consumer: &ConsumerName,
        by: &str,
        definition: ReadModelDefinition,
        lease: Duration,
    ) -> Result<Self, InvalidName> {
        crate::name::check_text("builder", by, limits::MAX_METADATA_TEXT_BYTES)?;
        Ok(Self { consumer: consumer.base(), by: by.to_owned(), definition, lease })
    }
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// The caller may build the generation, starting from its position. It is either new, or an earlier builder left
    /// it.
    Yours(GenerationInfo),
    /// Another builder is building a generation.
    Taken(GenerationInfo),
    /// Code of another version left a partly built generation. Drop it, and claim again.
    VersionMismatch(GenerationInfo),
}

/// The direction of a swap for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// Forward to a generation that is not behind the live one.
    Forward,
    /// Back to a generation in the state in which it was retired. Runners bring it up to date from there.
    Back,
}

/// The result of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Swapped {
    /// Readers now use this generation.
    Done,
    /// The generation is behind the live one, whose position this is, so readers would have moved back. Nothing was
    /// changed.
    Behind(Position),
}

/// The tables of a projection, by the names that readers use. In each generation, the tables have different names. The
/// names that readers use are database views of the live tables.
///
/// ```
/// use es_core::{Generation, TableNames};
///
/// let mut names = TableNames::new(Generation::FIRST.next());
/// assert_eq!(names.table("totals")?, "totals_g2");
/// assert_eq!(names.stable(), ["totals"]);
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames {
    generation: Generation,
    stable: Vec<String>,
}

impl TableNames {
    /// Creates an empty list of the tables of one generation.
    pub fn new(generation: Generation) -> Self {
        Self { generation, stable: Vec::new() }
    }

    /// Returns the name of a table in this generation, which the projection creates, writes, and indexes. It is safe in
    /// SQL without quotes. Append [`suffix`](Self::suffix) to the names of indexes too.
    ///
    /// # Errors
    /// Returns [`InvalidName`] unless the name consists of lower-case ASCII letters, digits, and `_`, starts with a
    /// letter, and is at most [`limits::MAX_TABLE_NAME_BYTES`] long. On PostgreSQL, it may be preceded by a schema and
    /// a `.`.
    pub fn table(&mut self, name: &str) -> Result<String, InvalidName> {
        for part in name.splitn(2, '.') {
            check_identifier("table name", part, limits::MAX_TABLE_NAME_BYTES)?;
        }
        if !self.stable.iter().any(|known| known == name) {
            self.stable.push(name.to_owned());
        }
        Ok(format!("{name}{}", self.suffix()))
    }

    /// Returns the table of a generation that readers find under a name.
    pub fn of(generation: &ConsumerName, stable: &str) -> String {
        format!("{stable}{}", Self::new(generation.generation().unwrap_or(Generation::FIRST)).suffix())
    }

    /// Returns the suffix of every name in this generation.
    pub fn suffix(&self) -> String {
        format!("_g{}", self.generation)
    }

    /// Returns the names that readers use, in the order in which they were first requested.
    pub fn stable(&self) -> &[String] {
        &self.stable
    }
}

/// One row of a read model, as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadModelRow {
    /// The name of the table for readers. Empty for the documents of a view.
    pub table: String,
    /// The part that distinguishes the row from other rows of the table: the key of a document, or the columns of the
    /// primary key as JSON. Without a primary key, it is the whole row.
    pub key: String,
    /// The document, or all columns as JSON.
    pub content: String,
}

impl std::fmt::Debug for ReadModelRow {
    /// Shows only the sizes: a row may be private and must not appear in logs. Without a primary key, the key is the
    /// row.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadModelRow({:?}, {} + {} bytes)", self.table, self.key.len(), self.content.len())
    }
}

/// A read model as it was at one position, row by row: ordered by table, then by key, bytewise.
///
/// It does not contain later writes. Memory use is bounded, whatever the number of rows.
#[derive(Debug)]
pub struct ReadModelSnapshot {
    position: Position,
    pages: mpsc::Receiver<Result<Vec<ReadModelRow>, StoreError>>,
    page: std::vec::IntoIter<ReadModelRow>,
}

impl ReadModelSnapshot {
    /// Creates a snapshot at a position, and the sender for its pages of rows. The store stops when the receiver is
    /// dropped.
    pub fn new(position: Position) -> (Self, mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>) {
        let (sender, pages) = mpsc::channel(1);
        (Self { position, pages, page: Vec::new().into_iter() }, sender)
    }

    /// Returns the position of the snapshot. Every event up to it has taken effect in the snapshot, and no later one.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the next row, or `None` after the last.
    ///
    /// # Errors
    /// Returns a [`StoreError`] if the rest could not be read.
    ///
    /// # Cancel safety
    /// This method is cancel safe: no row is lost.
    pub async fn next(&mut self) -> Result<Option<ReadModelRow>, StoreError> {
        loop {
            if let Some(row) = self.page.next() {
                return Ok(Some(row));
            }
            match self.pages.recv().await {
                Some(page) => self.page = page?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// The part of a store that keeps the generations of read models. The trait is object-safe, like [`ConsumerStore`].
///
/// A consumer starts with one generation, which is live. While a later one is built, both have their own checkpoint and
/// tables. Readers use names that stand for the tables of the live generation and that change with the swap.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait GenerationStore: ConsumerStore {
    /// Returns the generations of a consumer, ordered by number. The list is empty if no runner has run the consumer
    /// yet.
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError>;

    /// Returns the live generation of a consumer. If there is none, the first generation becomes live, with this
    /// definition.
    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError>;

    /// Claims the next generation of a read model for building. The store creates the generation, or lets the caller
    /// take over the generation that an earlier builder of the same code version left when its lease expired. A second
    /// claim of the same builder extends its lease.
    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError>;

    /// Releases a claim, so that other builders do not need to wait until its lease expires. It has no effect on a
    /// claim of another builder.
    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError>;

    /// Makes a generation live, for all readers at once. A generation that is already live stays live.
    ///
    /// The previously live generation is retired. Its checkpoints can no longer move, and a runner that tries gets
    /// [`StoreError::StaleGeneration`]. If the retired generation ran as several partitions and the new one does not,
    /// the new one gets the same number of partitions.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if readers of the old tables do not finish in time; nothing was changed, so try
    /// again. Returns [`StoreError::Refused`] if there is no such generation.
    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError>;

    /// Drops a generation that is not live, with its tables and its checkpoint. It has no effect if there is no such
    /// generation.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if readers of its tables do not finish in time; nothing was changed, so try again.
    /// Returns [`StoreError::Refused`] for the live generation.
    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError>;

    /// Opens a snapshot of a generation in its current state, to compare it with another.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] while its partitions are not all at one position, because the snapshot would not
    /// have a single position.
    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError>;
}

#[async_trait]
impl<S: GenerationStore + ?Sized> GenerationStore for Arc<S> {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        (**self).generations(consumer).await
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        (**self).live_generation(consumer, definition).await
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        (**self).claim_build(claim).await
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        (**self).release_build(generation, by).await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        (**self).make_live(generation, direction).await
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        (**self).drop_generation(generation).await
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        (**self).open_snapshot(generation).await
    }
}
