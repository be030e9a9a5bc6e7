//! The machine that keeps read models and reactors up to date with the log, and subscriptions for whoever follows it alone.
//!
//! A [`Subscription`] gives the events of a store as a stream, first those that are there, then each new one; the subscriber
//! keeps its place in the log. A [`Runner`] keeps the places of its consumers in the store. It holds consumers of three kinds:
//!
//! | consumer | what it is | how often an event takes effect |
//! |---|---|---|
//! | [`View`](es_core::View) | a pure fold into JSON documents, loaded and saved once a page | exactly once |
//! | [`Projection`](es_core::Projection) | SQL of its own, in one transaction with the checkpoint, a page at a time | exactly once |
//! | [`Reactor`](es_core::Reactor) | effects elsewhere, one event at a time | at least once, in order |
//!
//! ```
//! use std::time::Duration;
//!
//! use es_core::{Aggregate, ConsumerStoreExt, DomainEvent, DocumentAction, MemoryStore, Recorded, Repository, View};
//! use es_projections::Runner;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum AccountEvent {
//!     Deposited { cents: i64 },
//! }
//!
//! impl DomainEvent for AccountEvent {
//!     const CATEGORY: &'static str = "account";
//! }
//!
//! #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
//! struct Balance {
//!     cents: i64,
//! }
//!
//! impl View for Balance {
//!     const NAME: &'static str = "balance";
//!     type Event = AccountEvent;
//!
//!     fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
//!         vec![event.stream().id().to_owned()]
//!     }
//!
//!     fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
//!         let AccountEvent::Deposited { cents } = event.event;
//!         self.cents += cents;
//!         DocumentAction::Keep
//!     }
//! }
//! # #[derive(Clone, Default)]
//! # struct Account;
//! # struct Deposit { cents: i64 }
//! # impl Aggregate for Account {
//! #     type Event = AccountEvent;
//! #     type Command = Deposit;
//! #     type Error = std::convert::Infallible;
//! #     fn handle(&self, deposit: &Deposit) -> Result<Vec<AccountEvent>, Self::Error> {
//! #         Ok(vec![AccountEvent::Deposited { cents: deposit.cents }])
//! #     }
//! #     fn apply(&mut self, _: &AccountEvent) {}
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let runner = Runner::builder(&store).view::<Balance>().build()?;
//!
//! // A server keeps it running; a test calls `runner.catch_up()`.
//! let (shut_down, shutdown) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn({
//!     let runner = runner.clone();
//!     async move { runner.run(async { _ = shutdown.await }).await }
//! });
//!
//! let accounts = Repository::<Account>::new(&store);
//! let done = accounts.execute("ann", Deposit { cents: 100 }).await?;
//!
//! // Read your own writes:
//! let last = done.position().unwrap_or_default();
//! runner.wait_for(Balance::NAME, last, Duration::from_secs(5)).await?;
//! assert_eq!(store.view::<Balance>().get("ann").await?, Some(Balance { cents: 100 }));
//!
//! // What an operator sees:
//! for status in runner.status().await? {
//!     println!("{status}");
//! }
//!
//! // After a change of the view's code:
//! runner.rebuild(Balance::NAME, |progress| println!("{progress}")).await?;
//!
//! drop(shut_down);
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Rebuilding
//!
//! [`Runner::rebuild_beside`] builds a read model again while the live one serves and follows, compares the two at the same
//! position, and puts it in its place for all readers at once; [`Runner::roll_back`] goes back. [`Runner::rebuild`] empties
//! the live one first.
//!
//! # Control
//!
//! [`Runner::pause`], [`Runner::disable`], [`Runner::reset`], [`Runner::skip`] and [`Runner::retire`] take effect in all processes, and
//! [`Runner::operations`] tells who did what and why. [`Runner::health`] sums all of it up, [`StatusTable`] lists it, and the
//! feature `metrics` gives it to a recorder.
//!
//! # What holds
//!
//! - A read model and its checkpoint move together, by compare-and-set: a crash, a dropped future, an unknown outcome
//!   or a second runner never applies an event twice (G7). A page is read and applied at a time, however long the
//!   history.
//! - Processes share the work under leases. A reactor is run by one process at a time, except that one which lost its lease may end the
//!   event that it is at: what an effect elsewhere has already begun cannot be called back, so make it repeatable by the event's id.
//! - No event is skipped. One that fails is tried again by its consumer's [`FailurePolicy`], and then the consumer
//!   stops before it; the events before it took effect. Or its key is parked: it and all later events of its key are put aside in
//!   order, to be [tried again](Runner::retry_parked), and everything else goes on (G9). A panic is a failure like any other.
//! - A type that the code does not know, in a category that it subscribes to, is not passed over: newer code wrote the event. The
//!   consumer is left to a process that knows the type, or waits for one ([`UnknownEventTypes`]).
//! - Nothing stalls in silence: [`Runner::status`] says for every consumer what it waits for (G12), and
//!   [`Runner::run`] gives the error of the first that stopped.
//!
//! # For operators
//!
//! Every consumer works in a `tracing` span `consumer` with the fields `name` and `kind`. In it:
//!
//! | level | event | fields |
//! |---|---|---|
//! | error | `consumer stopped` | `error` |
//! | error | `its task ended unexpectedly; starting it again` | `consumer`, `attempt`, `wait`, `problem` |
//! | error | `an operation is missing in the log of operations` | `generation`, `by`, `error` |
//! | warn | `a page takes long, or a task hangs` | `consumer`, `silent_for` |
//! | warn | `waiting on the database` | `consumer`, `wait` |
//! | warn | `cannot see which consumers are suspended; going by what was known last` | `error` |
//! | info | `suspended`, `not suspended any more` | `kind`, `by`, `reason` |
//! | warn | `consumer failed and will try again` | `attempt`, `position`, `wait`, `error` |
//! | warn | `waiting for the store`, also for what a handler needs | `attempt`, `wait`, `error` |
//! | warn | `event parked` | `key`, `position`, `attempts`, `error` |
//! | warn | `a parked event failed again` | `key`, `position`, `error` |
//! | info | `parked key freed` | `key` |
//! | warn | `parked events discarded` | `consumer`, `key`, `events`, `by` |
//! | warn | `the code does not know the type of the next event; left to newer code` | `category`, `event_type`, `position` |
//! | warn | `passing over events of a type that the code does not know` (the first of each type) | `category`, `event_type`, `position` |
//! | info | `runner started`, `runner stopped` (outside of the span) | `member`, `consumers` |
//! | info | `working for the consumer from now on` | `checkpoint`, `fence` |
//! | info | `caught up` (for the first time since then) | `position` |
//! | info | `another process works for the consumer` | `by` |
//! | info | `no longer followed` | |
//! | info | `another runner moved the checkpoint; going on from there` | `times` |
//! | info | `rebuild started`, `rebuild finished` (in place) | `consumer`, `head` |
//! | info | `the rebuilt read model is live` | `generation` |
//! | info | `going on with the live generation` | `generation` |
//! | info | `dropping what another version of the code left half built` | `generation` |
//! | warn | `another version of the code wrote the live read model; waiting for a rebuild` | `live`, `live_version`, `own_version` |
//! | warn | `went back to the read model from before the rebuild` | `generation` |
//! | warn | `the claim was not renewed`, `the claim is held until its lease runs out` | `generation`, `error` |
//! | debug | `page applied` | `from`, `to`, `events` |
//! | debug | `events wait behind parked ones` | `events` |
//! | debug | `page narrowed` | `from`, `events`, `next` |
//!
//! A subscription works in the span of whoever asks it for an event:
//!
//! | level | event | fields |
//! |---|---|---|
//! | error | `subscription ended` | `error` |
//! | warn | `waiting for the store` | `attempt`, `wait`, `error` |

mod assignment;
mod backoff;
mod builder;
mod comparison;
mod consumer;
mod consumer_loop;
mod consumer_state;
mod control;
mod dump;
mod error;
mod failure_policy;
mod feed;
mod goal;
mod health;
mod in_place;
mod lease_session;
pub mod limits;
mod live_hold;
mod member_session;
#[cfg(feature = "metrics")]
pub mod metrics;
mod options;
mod pace;
mod page_step;
mod parking;
mod partition_slice;
mod partitions;
mod poison;
mod projection_consumer;
mod reactor_consumer;
mod rebuild;
mod rebuild_status;
mod reports;
mod runner;
mod serializing;
mod side_by_side;
mod start_order;
mod status;
mod status_table;
mod stop;
mod subscription;
mod supervisor;
mod suspension_check;
mod tail;
mod view_consumer;
mod watchdog;

pub use backoff::Backoff;
pub use builder::RunnerBuilder;
pub use comparison::{Change, ColumnSummary, Comparison, Difference, Totals};
pub use control::Orphan;
pub use error::{HandlerPanic, HandlerTimeout, RunnerError};
pub use failure_policy::FailurePolicy;
pub use health::{Health, HealthReason, Verdict};
pub use options::{ConsumerOptions, StartFrom, UnknownEventTypes};
pub use poison::Retried;
pub use rebuild::RebuildProgress;
pub use rebuild_status::RebuildStatus;
pub use runner::Runner;
pub use side_by_side::{RebuildOptions, Rebuilt, Verification};
pub use status::{ConsumerFailure, ConsumerKind, ConsumerState, ConsumerStatus, LogWentBack, PartitionStatus};
pub use status_table::StatusTable;
pub use subscription::{
    Subscription, SubscriptionBuilder, SubscriptionError, SubscriptionFailure, SubscriptionMonitor, SubscriptionState,
    SubscriptionStatus,
};
