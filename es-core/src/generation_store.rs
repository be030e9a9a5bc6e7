//! Generations of read models: built side by side, compared, and put in each other's place.

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

/// What a generation of a read model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GenerationState {
    /// It is being built. Nobody reads it yet.
    Building,
    /// Readers are given this one, and runners keep it up to date.
    Live,
    /// It was live before, and is kept as it was then, to go back to.
    Retired,
}

impl GenerationState {
    /// As stores keep it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Building, Self::Live, Self::Retired].into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for GenerationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who builds a generation, and until when others leave it to them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Builder {
    /// Who: a process, a person, a host, as they call themselves.
    pub by: String,
    /// Since when, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When they last said that they are still at it, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub renewed: OffsetDateTime,
    /// Until when, by the store's clock, unless they say before that they are still at it.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl Builder {
    /// A builder, as stores report it.
    pub fn new(by: String, since: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { by, since, renewed: since, until }
    }

    /// The same, who said at some time that they are still at it.
    #[must_use]
    pub fn renewed_at(mut self, renewed: OffsetDateTime) -> Self {
        self.renewed = renewed;
        self
    }

    /// Whether others leave the generation to them at a time of the store's clock; see [`is_in_force`].
    pub fn is_held_at(&self, now: OffsetDateTime) -> bool {
        is_in_force(self.renewed, self.until, now)
    }
}

/// How a read model is defined, as far as a store knows: the version of its code, and its tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadModelDefinition {
    /// Its version; see [`View::VERSION`](crate::View::VERSION).
    pub version: u32,
    /// The names by which readers find its tables; none for a view, and for a projection that names its tables itself.
    pub tables: Vec<String>,
}

/// One generation of a read model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationInfo {
    /// The consumer, in this generation.
    pub name: ConsumerName,
    /// What it is for.
    pub state: GenerationState,
    /// The definition of the code that writes it.
    pub definition: ReadModelDefinition,
    /// Everything up to here has taken effect, in every partition; `None` if it has not begun.
    pub position: Option<Position>,
    /// When it was first known, by the store's clock.
    pub created_at: OffsetDateTime,
    /// Who is building it, if somebody is.
    pub builder: Option<Builder>,
}

impl GenerationInfo {
    /// A generation, as stores report it.
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

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.name.generation().unwrap_or(Generation::FIRST)
    }
}

/// What a builder asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildClaim {
    /// Whose read model.
    pub consumer: ConsumerName,
    /// Who asks; see [`Builder::by`]. The same text is the same builder.
    pub by: String,
    /// The definition of the code that will write it.
    pub definition: ReadModelDefinition,
    /// For how long the claim holds unless it is made again.
    pub lease: Duration,
}

impl BuildClaim {
    /// A claim.
    ///
    /// # Errors
    /// [`InvalidName`] if `by` is empty, over [`limits::MAX_METADATA_TEXT_BYTES`] or holds a control character.
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

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// The generation is the claimer's to build, from where it is: it was just made, or an earlier builder left it.
    Yours(GenerationInfo),
    /// Somebody else is building one.
    Taken(GenerationInfo),
    /// Code of another version left one half built. Drop it, and claim again.
    VersionMismatch(GenerationInfo),
}

/// Which way readers are taken by a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// To a generation that is no older than the live one.
    Forward,
    /// Back to a generation as it was when it was retired; runners bring it up to date from there.
    Back,
}

/// What came of putting a generation in the live one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Swapped {
    /// Readers are given this generation from now on.
    Done,
    /// It is behind the live one, which is here: readers would have been taken back. Nothing was changed.
    Behind(Position),
}

/// The tables of a projection, by the names that readers use. In each generation they have names of its own; what readers
/// use is a view of the live ones.
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
    /// The names of one generation's tables, none so far.
    pub fn new(generation: Generation) -> Self {
        Self { generation, stable: Vec::new() }
    }

    /// The name of a table in this generation: the one to create, write and index. It is safe in SQL without quotes.
    /// Put [`suffix`](Self::suffix) behind the names of indexes too.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is of lower-case ASCII letters, digits and `_`, a letter first, and at most
    /// [`limits::MAX_TABLE_NAME_BYTES`] long. On PostgreSQL a schema and a `.` may stand before it.
    pub fn table(&mut self, name: &str) -> Result<String, InvalidName> {
        for part in name.splitn(2, '.') {
            check_identifier("table name", part, limits::MAX_TABLE_NAME_BYTES)?;
        }
        if !self.stable.iter().any(|known| known == name) {
            self.stable.push(name.to_owned());
        }
        Ok(format!("{name}{}", self.suffix()))
    }

    /// The table of a generation that readers find by a name.
    pub fn of(generation: &ConsumerName, stable: &str) -> String {
        format!("{stable}{}", Self::new(generation.generation().unwrap_or(Generation::FIRST)).suffix())
    }

    /// What every name in this generation ends in.
    pub fn suffix(&self) -> String {
        format!("_g{}", self.generation)
    }

    /// The names that readers use, in the order in which they were first asked for.
    pub fn stable(&self) -> &[String] {
        &self.stable
    }
}

/// One row of a read model, as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadModelRow {
    /// The table's name for readers; empty for the documents of a view.
    pub table: String,
    /// What tells it from other rows of the table: a document's key, or the columns of the primary key as JSON. Without a
    /// primary key it is the whole row.
    pub key: String,
    /// The document, or all columns as JSON.
    pub content: String,
}

impl std::fmt::Debug for ReadModelRow {
    /// Shows the sizes alone: a row may be private and has no place in a log. Without a primary key its key is the row.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadModelRow({:?}, {} + {} bytes)", self.table, self.key.len(), self.content.len())
    }
}

/// A read model as it was at one position, row by row in order: by table, then by key, bytewise.
///
/// What is written meanwhile is not in it. Memory stays bounded, whatever the number of rows.
#[derive(Debug)]
pub struct ReadModelSnapshot {
    position: Position,
    pages: mpsc::Receiver<Result<Vec<ReadModelRow>, StoreError>>,
    page: std::vec::IntoIter<ReadModelRow>,
}

impl ReadModelSnapshot {
    /// Creates a snapshot at a position, and the sender of its rows, page by page. The store stops when the receiver is
    /// gone.
    pub fn new(position: Position) -> (Self, mpsc::Sender<Result<Vec<ReadModelRow>, StoreError>>) {
        let (sender, pages) = mpsc::channel(1);
        (Self { position, pages, page: Vec::new().into_iter() }, sender)
    }

    /// Every event up to here has taken effect in it, and none after.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`] if the rest could not be read.
    ///
    /// # Cancel safety
    /// Safe: no row is lost.
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

/// What a store does for read models that are built side by side. Object-safe, as [`ConsumerStore`].
///
/// A consumer begins with one generation, which is live. While a later one is built, both have a checkpoint and tables of
/// their own. Readers use names that stand for the live generation's tables, and change with the swap.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait GenerationStore: ConsumerStore {
    /// The generations of a consumer, by number. None if no runner has run it yet.
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError>;

    /// The live generation of a consumer. If it has none, the first one is, with this definition.
    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError>;

    /// Claims the next generation of a read model for building: makes it, or takes over what an earlier builder of the same
    /// code version left when its lease ran out. The same builder's claim again extends its lease.
    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError>;

    /// Gives a claim back, so that others need not wait for its lease to run out. Of no effect for anybody else's.
    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError>;

    /// Puts a generation in the live one's place, for all readers at once; one that is live already stays so. The one that was live is retired: its
    /// checkpoints do not move any more, and a runner that tries gets [`StoreError::StaleGeneration`]. If it ran as
    /// several partitions, and the one in its place does not, that is given as many.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if readers of the old tables do not end in time: nothing was changed, try again.
    /// [`StoreError::Refused`] if there is no such generation.
    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError>;

    /// Drops a generation that is not live, with its tables and its checkpoint. Of no effect if there is none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if readers of its tables do not end in time: nothing was changed, try again.
    /// [`StoreError::Refused`] for the live one.
    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError>;

    /// Opens a snapshot of a generation as it is now, to compare it with another.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while its partitions are not all at one position: it would be a snapshot of no position.
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
