//! The contracts of an event-sourcing framework, and the parts that need no database.
//!
//! - **Domain**: Implement [`DomainEvent`] and [`Aggregate`]. A [`Repository`] loads aggregates and executes commands.
//! - **Read models**: Implement [`View`] (a pure fold into documents), [`Projection`] (tables of its own), or
//!   [`Reactor`] (effects outside the database). The crate `es-projections` runs them.
//! - **Stores** implement [`EventStore`], [`SnapshotStore`], [`ConsumerStore`], and [`ProjectionStore`]. The crates
//!   `es-sqlite` and `es-postgres` provide them for databases. [`MemoryStore`] is the readable reference
//!   implementation, and is useful in tests.
//!
//! Each store holds one totally ordered log. Every event has a [`Version`] in its stream and a [`Position`] in the log.
//!
//! ```
//! use es_core::{Aggregate, DomainEvent, MemoryStore, Repository};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum AccountEvent {
//!     Deposited { cents: i64 },
//!     Withdrawn { cents: i64 },
//! }
//!
//! impl DomainEvent for AccountEvent {
//!     const CATEGORY: &'static str = "account";
//! }
//!
//! enum AccountCommand {
//!     Deposit { cents: i64 },
//!     Withdraw { cents: i64 },
//! }
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the balance is {balance}, too little to withdraw {asked}")]
//! struct Overdrawn { balance: i64, asked: i64 }
//!
//! #[derive(Default, Clone)]
//! struct Account { cents: i64 }
//!
//! impl Aggregate for Account {
//!     type Event = AccountEvent;
//!     type Command = AccountCommand;
//!     type Error = Overdrawn;
//!
//!     fn handle(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, Overdrawn> {
//!         match *command {
//!             AccountCommand::Withdraw { cents } if cents > self.cents => {
//!                 Err(Overdrawn { balance: self.cents, asked: cents })
//!             }
//!             AccountCommand::Withdraw { cents } => Ok(vec![AccountEvent::Withdrawn { cents }]),
//!             AccountCommand::Deposit { cents } => Ok(vec![AccountEvent::Deposited { cents }]),
//!         }
//!     }
//!
//!     fn apply(&mut self, event: &AccountEvent) {
//!         match event {
//!             AccountEvent::Deposited { cents } => self.cents += cents,
//!             AccountEvent::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let accounts = Repository::<Account>::new(&store);
//! accounts.execute("ann", AccountCommand::Deposit { cents: 100 }).actor("teller").await?;
//!
//! // Either both commands take effect, or neither:
//! let done = accounts
//!     .execute("ann", AccountCommand::Withdraw { cents: 30 })
//!     .and("bob", AccountCommand::Deposit { cents: 30 })
//!     .await?;
//! assert_eq!(done.state.cents, 70);
//!
//! let refused = accounts.execute("bob", AccountCommand::Withdraw { cents: 31 }).await;
//! assert_eq!(refused.unwrap_err().to_string(), "the balance is 30, too little to withdraw 31");
//! # Ok(())
//! # }
//! ```

mod advance;
mod aggregate;
mod append;
mod blob_store;
mod bookmark;
mod codec;
mod consumer_name;
mod consumer_store;
mod control_store;
mod dead_letter;
mod dead_letter_store;
mod diagnostics;
mod digest;
mod document_query;
mod domain_event;
mod error;
mod event;
mod event_filter;
mod event_key;
mod event_store;
mod expected_version;
mod generation_store;
mod hash;
mod inbox_store;
mod lease_store;
pub mod limits;
mod memory;
mod metadata;
mod name;
mod operation;
mod outbox_store;
mod parking;
mod parking_store;
mod partition;
mod partition_store;
mod position;
mod projection;
mod projection_store;
mod raw_message;
mod reactor;
mod recent_events;
mod renamed;
mod repository;
mod request_digest;
mod runner_store;
mod shared_error;
mod snapshot_store;
mod sql_store;
pub mod store;
mod stream_id;
pub mod timestamp;
mod transient;
mod upcast;
mod version;
mod view;
mod wakeups;

pub use advance::Advance;
pub use aggregate::Aggregate;
pub use append::{Append, AppendBuilder, Appended, AppendedStream, IdempotencyKey, StreamAppend};
pub use blob_store::{BlobStore, check_blob, check_blob_name};
pub use bookmark::{Bookmark, InvalidBookmark};
pub use codec::{
    decoder::Decoder,
    json_value::{canonical_json, is_same_json},
    redact::{text_without_content, without_content},
};
pub use consumer_name::{ConsumerName, Generation};
pub use consumer_store::{
    Checkpoint, ConsumerStore, ConsumerStoreExt, Document, DocumentChange, check_document_count, check_document_key,
};
pub use control_store::{CheckpointOverride, ControlStore, Suspension, SuspensionKind};
pub use dead_letter::{DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterTotals, DeadReason, NewDeadLetter};
pub use dead_letter_store::{DeadLetterStore, check_dead_letter_count, check_dead_letters};
pub use diagnostics::{DatabaseBlocker, DatabaseWait, Diagnostics};
pub use document_query::{DocumentQuery, DocumentSelection, FieldQuery, FieldValue};
pub use domain_event::{Coverage, DomainEvent, EventSet};
pub use error::{
    BoxError, DecodeError, EncodeError, ExecuteError, HandlerError, InvalidName, LoadError, NameProblem,
    ProjectionError, StoreError, TransientFailure,
};
pub use event::{Envelope, EventType, NewEvent, Payload, Recorded, RecordedEvent};
pub use event_filter::{EventFilter, EventSelector};
pub use event_key::EventKey;
pub use event_store::{EventPage, EventStore, EventStoreExt, EventStream, PageSize, StreamPage};
pub use expected_version::ExpectedVersion;
pub use generation_store::{
    BuildClaim, Builder, Claimed, Direction, GenerationInfo, GenerationState, GenerationStore, ReadModelDefinition,
    ReadModelRow, ReadModelSnapshot, Swapped, TableNames,
};
pub use inbox_store::{
    InboxKey, InboxStats, InboxStore, MessageUnit, Novelty, Received, check_append_count, check_inbox_keys,
    check_message_id,
};
pub use lease_store::{Fence, Lease, LeaseHolder, LeaseStore, Leased, Member, Membership, check_member, is_in_force};
pub use memory::{MemoryStore, MemoryTables, MemoryTransaction, MemoryUnit};
pub use metadata::Metadata;
pub use operation::{NewOperation, Operation, OperationKind, OperatorRequest, check_operation_count};
pub use outbox_store::{
    Enqueue, OUTBOX_CONSUMER, OutboxCursor, OutboxEntry, OutboxMessage, OutboxStats, OutboxStore, check_outbox_count,
    outbox_consumer,
};
pub use parking::{
    Park, ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals, Parking, ParkingAction, ParkingRecord,
    RetryRequest, Unpark,
};
pub use parking_store::{ParkingStore, check_parked_count, check_parked_edit};
pub use partition::{
    Partition, PartitionCheckpoint, Slot, SlotOffsets, overridden_partitions, position_of_all, redistributed, slot_of,
};
pub use partition_store::PartitionStore;
pub use position::Position;
pub use projection::{PageProjection, Projection, Projector};
pub use projection_store::ProjectionStore;
pub use raw_message::RawMessage;
pub use reactor::Reactor;
pub use recent_events::RecentEvents;
#[doc(hidden)]
#[expect(deprecated, reason = "the former names are for those who still use them")]
pub use renamed::{Fate, HandMove, Hold, HoldKind, Order, ReadModelCode};
pub use repository::{
    AsOf, CacheOptions, CommandContext, CommandQueue, Execute, Executed, Loaded, Outcome, Repository, Sleep,
};
pub use request_digest::RequestDigest;
pub use runner_store::RunnerStore;
pub use snapshot_store::{Snapshot, SnapshotStore};
pub use sql_store::{FromSql, SqlDialect, SqlRow, SqlStore, SqlTypeError, SqlValue};
pub use stream_id::StreamId;
pub use transient::{causes, is_transient};
pub use upcast::Upcasters;
pub use version::Version;
pub use view::{DocumentAction, DocumentFold, PageFold, View, ViewError, ViewFold, ViewReader};
pub use wakeups::{WakeupSender, Wakeups};
