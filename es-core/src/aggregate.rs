//! Aggregates: pure decisions and the state that they are based on.

use crate::{domain_event::DomainEvent, repository::CommandContext};

/// A consistency boundary of the domain: a state that is built from events, and the decisions on that state.
///
/// An aggregate is pure on purpose: it has no async code, I/O, clock, or randomness. Look up what a decision needs from
/// outside first, and put it into the command.
///
/// ```
/// use es_core::{Aggregate, DomainEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CounterEvent { Added { amount: u32 } }
/// impl DomainEvent for CounterEvent { const CATEGORY: &'static str = "counter"; }
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("a counter ends at 100, and this would make it {0}")]
/// struct TooMuch(u32);
///
/// struct Add(u32);
///
/// #[derive(Default, Clone)]
/// struct Counter { total: u32 }
///
/// impl Aggregate for Counter {
///     type Event = CounterEvent;
///     type Command = Add;
///     type Error = TooMuch;
///
///     fn handle(&self, &Add(amount): &Add) -> Result<Vec<CounterEvent>, TooMuch> {
///         match self.total + amount {
///             total if total > 100 => Err(TooMuch(total)),
///             _ => Ok(vec![CounterEvent::Added { amount }]),
///         }
///     }
///
///     fn apply(&mut self, CounterEvent::Added { amount }: &CounterEvent) {
///         self.total += amount;
///     }
/// }
/// ```
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// The events of the aggregate.
    type Event: DomainEvent;
    /// The commands that the aggregate accepts.
    type Command: Send + Sync + 'static;
    /// The reason why a command is rejected.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The version of the state's meaning. Increase it whenever the meaning changes, so that snapshots of the older
    /// form are ignored.
    ///
    /// New, missing, or different fields are detected without it, in nested types too, as far as serde describes them.
    /// Serde does not look into types that implement `Deserialize` by hand, nor behind `flatten`, `untagged`, and
    /// `tag`.
    const STATE_VERSION: u32 = 1;

    /// Returns the name that distinguishes this aggregate from others over the same category. Each of them has its own
    /// snapshots.
    ///
    /// The default is the path of the type. If the type is moved or renamed, new snapshots are taken. To keep the
    /// existing snapshots, return the previous name here.
    fn aggregate_name() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Decides on a command: returns the events that carry it out, or the reason to reject it. An empty list of events
    /// means that nothing needs to happen.
    fn handle(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Decides like [`handle`](Self::handle), which it calls by default. Override it for a decision that depends on
    /// when its command [occurred](crate::Execute::occurred_at). The time comes with the command, so the decision stays
    /// pure.
    ///
    /// A repository calls this method only. An aggregate that implements it can leave `handle` to the case without a
    /// context.
    fn handle_at(&self, command: &Self::Command, context: &CommandContext) -> Result<Vec<Self::Event>, Self::Error> {
        let _ = context;
        self.handle(command)
    }

    /// Applies an event to the state. It cannot fail: the event has already happened.
    fn apply(&mut self, event: &Self::Event);

    /// Returns how many bytes the state uses in memory, including everything that it owns. A good estimate is enough.
    /// It limits how many aggregates a [`Repository`](crate::Repository) caches.
    ///
    /// `None`, the default, lets the repository guess. If the type owns nothing on the heap, the guess is the size of
    /// the type. Otherwise, the size of the payloads or the snapshot that the state was built from is added, as if the
    /// state kept every byte of them. For a state that summarizes a long history in a few bytes, the guess is far too
    /// high, and the repository caches fewer states than it could. For a state that holds more than its events contain,
    /// the guess is too low.
    fn memory_bytes(&self) -> Option<usize> {
        None
    }
}
