//! Keeps read models and reactors up to date with the log, and provides subscriptions for code that follows the log
//! itself.
//!
//! A [`Subscription`] returns the events of a store as a stream: first the existing events, then each new one. The
//! subscriber keeps its own position in the log. A [`Runner`] runs consumers and keeps their checkpoints in the store.
//! There are three kinds of consumers:
//!
//! | consumer | what it is | how often an event takes effect |
//! |---|---|---|
//! | [`View`](es_core::View) | a pure fold into JSON documents, loaded and saved once per page | exactly once |
//! | [`Projection`](es_core::Projection) | its own SQL, one transaction per page with the checkpoint | exactly once |
//! | [`Reactor`](es_core::Reactor) | effects outside the database, one event at a time | at least once, in order |
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
//! // A server keeps the runner running; a test calls `runner.catch_up()`.
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
//! // The status, as an operator sees it:
//! for status in runner.status().await? {
//!     println!("{status}");
//! }
//!
//! // After a change to the view's code:
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
//! [`Runner::rebuild_beside`] rebuilds a read model while the live one continues to serve readers and follow the log.
//! It compares the two at the same position, and then makes the rebuilt one live for all readers at once.
//! [`Runner::roll_back`] returns to the previous one. [`Runner::rebuild`] empties the live read model first and
//! rebuilds it in place.
//!
//! # Control
//!
//! [`Runner::pause`], [`Runner::disable`], [`Runner::reset`], [`Runner::skip`] and [`Runner::retire`] take effect in
//! all processes. [`Runner::operations`] lists who did what and why. [`Runner::health`] summarizes the state of all
//! consumers, and [`StatusTable`] lists it. The feature `metrics` publishes it to a metrics recorder.
//!
//! # Guarantees
//!
//! - A read model and its checkpoint move together, by compare-and-set. A crash, a dropped future, an unknown outcome,
//!   or a second runner never applies an event twice (G7). However long the history is, only one page at a time is read
//!   and applied.
//! - Processes share the work under leases. One process at a time runs a reactor, with one exception: a process that
//!   has lost its lease may finish its current event. An effect outside the database cannot be revoked once it has
//!   started, so make it idempotent by using the event's ID.
//! - No event is skipped. The consumer retries a failing event according to its [`FailurePolicy`], and then stops
//!   before it; the events before it have taken effect. Alternatively, the policy parks the event's key: the event and
//!   all later events of its key are set aside in order, to be [retried](Runner::retry_parked) later, and all other
//!   events continue to take effect (G9). A panic counts as a failure like any other.
//! - A consumer does not pass over an event of an unknown type in a category that it subscribes to, because newer code
//!   wrote the event. It leaves the work to a process that knows the type, or waits for one ([`UnknownEventTypes`]).
//! - No consumer stalls silently. [`Runner::status`] reports for every consumer what it waits for (G12), and
//!   [`Runner::run`] returns the error of the first consumer that stopped.
//!
//! # For operators
//!
//! Every consumer works in a `tracing` span `consumer` with the fields `name` and `kind`. It emits these events in the
//! span:
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
//! | info | `runner started`, `runner stopped` (outside the span) | `member`, `consumers` |
//! | info | `working for the consumer from now on` | `checkpoint`, `fence` |
//! | info | `caught up` (once per claim of the lease) | `position` |
//! | info | `another process works for the consumer` | `by` |
//! | info | `no longer followed` | |
//! | info | `another runner moved the checkpoint; continuing from there` | `times` |
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
//! A subscription works in the span of the task that polls it for events:
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
