//! Aggregates: pure decisions, and the state they are based on.

use crate::{domain_event::DomainEvent, repository::CommandContext};

/// A consistency boundary of the domain: its state, built from its events, and its decisions.
///
/// Pure on purpose: no async, no I/O, no clock, no randomness. What a decision needs from outside is looked up first
/// and put into the command.
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
    /// What happens to it.
    type Event: DomainEvent;
    /// What can be asked of it.
    type Command: Send + Sync + 'static;
    /// Why it refuses.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Raise it whenever the state changes its meaning, so that snapshots of the older form are ignored. New, missing
    /// or other fields are noticed without it, in nested types too, as far as serde tells: it does not look into types
    /// that implement `Deserialize` by hand, nor behind `flatten`, `untagged` and `tag`.
    const STATE_VERSION: u32 = 1;

    /// Names the aggregate among those over the same category: each has snapshots of its own. The default is the path
    /// of the type. Where the type is moved or renamed, snapshots are taken anew; give the name here to keep those that
    /// there are.
    fn aggregate_name() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Decides: the events that carry the command out, or the reason to refuse it. No events means that nothing needs
    /// to happen.
    fn handle(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// Decides as [`handle`](Self::handle) does, which it calls by default. For a decision that depends on when its
    /// command [occurred](crate::Execute::occurred_at): the time comes with the command, so that the decision stays
    /// pure.
    ///
    /// A repository asks this one. An aggregate that implements it can leave `handle` to the case without a context.
    fn handle_at(&self, command: &Self::Command, context: &CommandContext) -> Result<Vec<Self::Event>, Self::Error> {
        let _ = context;
        self.handle(command)
    }

    /// Takes an event into the state. It cannot refuse: the event has happened.
    fn apply(&mut self, event: &Self::Event);

    /// How many bytes the state takes in memory, with everything that it owns; a good estimate is enough. It bounds the
    /// aggregates that a [`Repository`](crate::Repository) caches.
    ///
    /// `None`, the default, lets the repository guess: the size of the type alone if it owns nothing on the heap, or else
    /// that plus the payloads (or the snapshot) that it was built from, as if it kept every byte of them. For a state
    /// that sums up a long history in a few bytes this is far too much, and fewer such states are kept than could
    /// be: say so here. For one that keeps more than the events tell, it is too little.
    fn memory_bytes(&self) -> Option<usize> {
        None
    }
}
