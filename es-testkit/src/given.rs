//! Given some events, when a command comes, then …: tests of aggregates, without a store.

use std::fmt::{Debug, Write};

use es_core::{Aggregate, CommandContext, DomainEvent, EventSet, NewEvent, Position, Recorded, StreamId, Version};
use time::OffsetDateTime;

/// An aggregate with a history. See [`given`].
#[derive(Debug)]
#[must_use = "a history tests nothing until a command comes"]
pub struct Given<A> {
    state: A,
    context: CommandContext,
}

/// The answer of an aggregate to a command. See [`given`].
#[derive(Debug)]
#[must_use = "an answer tests nothing until it is compared"]
pub struct When<A: Aggregate> {
    state: A,
    answer: Result<Vec<A::Event>, A::Error>,
}

/// Starts a test of an aggregate from the events that have happened to it.
///
/// ```
/// use es_testkit::{bank::*, given};
/// use AccountEvent::*;
///
/// given::<Account>([Opened { owner: "Ann".into() }, Deposited { cents: 100 }])
///     .when(AccountCommand::Withdraw { cents: 30 })
///     .then([Withdrawn { cents: 30 }]);
///
/// given::<Account>([Opened { owner: "Ann".into() }])
///     .when(AccountCommand::Withdraw { cents: 30 })
///     .then_error(AccountError::Overdrawn { balance: 0, asked: 30 });
///
/// given::<Account>([Opened { owner: "Ann".into() }])
///     .when(AccountCommand::Deposit { cents: 0 })
///     .then_nothing();
/// ```
///
/// Each event is written and read back on its way, as a store would have it.
///
/// # Panics
/// If an event cannot be stored, or not be read back.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    for event in events {
        stored(&event).iter().for_each(|part| state.apply(&part.event));
    }
    Given { state, context: CommandContext::new() }
}

impl<A: Aggregate> Given<A> {
    /// The next command [occurs](es_core::Execute::occurred_at) at this time.
    pub fn at(mut self, time: OffsetDateTime) -> Self {
        self.context = self.context.with_occurred_at(time);
        self
    }

    /// A command comes.
    pub fn when(self, command: impl Into<A::Command>) -> When<A> {
        let answer = self.state.handle_at(&command.into(), &self.context);
        When { state: self.state, answer }
    }

    /// The events alone lead to this state.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn then_state(self, expected: A)
    where
        A: Debug + PartialEq,
    {
        assert!(self.state == expected, "{}", difference("the state", &[expected], &[self.state]));
    }
}

impl<A: Aggregate> When<A>
where
    A::Event: Debug + PartialEq,
{
    /// The command is carried out by exactly these events. Gives the aggregate as they leave it, to go on.
    ///
    /// # Panics
    /// With the difference, if it is refused or carried out by others.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> AfterThen<A> {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        let Self { mut state, answer } = self;
        let events = match answer {
            Ok(events) => events,
            Err(error) => {
                panic!("expected the events {expected:#?},\nbut the command was refused: {error} ({error:?})")
            }
        };
        assert!(events == expected, "{}", difference("the events", &expected, &events));
        for event in events {
            let read = stored(&event);
            let is_same = read.len() == 1 && read.iter().all(|part| part.event == event);
            assert!(
                is_same,
                "the event {event:?}\nis read back from a store as {:?}",
                read.iter().map(|part| &part.event)
            );
            state.apply(&event);
        }
        AfterThen { state }
    }

    /// The command is accepted and there is nothing to do.
    ///
    /// # Panics
    /// With the answer, if it is another.
    #[track_caller]
    pub fn then_nothing(self) {
        let _ = self.then([]);
    }

    /// The command is refused for this reason.
    ///
    /// # Panics
    /// With the answer, if it is another.
    #[track_caller]
    pub fn then_error(self, expected: A::Error)
    where
        A::Error: PartialEq,
    {
        match self.answer {
            Err(error) => assert!(
                error == expected,
                "the command was refused for another reason:\n  expected: {expected:?}\n  found:    {error:?}"
            ),
            Ok(events) => panic!("expected a refusal ({expected:?}), but the command was carried out by {events:#?}"),
        }
    }
}

/// An aggregate after a command: see [`When::then`].
#[derive(Debug)]
pub struct AfterThen<A> {
    state: A,
}

impl<A: Aggregate> AfterThen<A> {
    fn into_given(self) -> Given<A> {
        Given { state: self.state, context: CommandContext::new() }
    }

    /// The next command [occurs](es_core::Execute::occurred_at) at this time.
    pub fn at(self, time: OffsetDateTime) -> Given<A> {
        self.into_given().at(time)
    }

    /// The next command comes.
    pub fn when(self, command: impl Into<A::Command>) -> When<A> {
        self.into_given().when(command)
    }

    /// The events have led to this state.
    ///
    /// # Panics
    /// If they have not.
    #[track_caller]
    pub fn and_state(self, expected: A)
    where
        A: Debug + PartialEq,
    {
        self.into_given().then_state(expected);
    }
}

/// What a store gives back for an event.
fn stored<E: DomainEvent>(event: &E) -> Vec<Recorded<E>> {
    let new_event =
        NewEvent::of(event).unwrap_or_else(|error| panic!("an event cannot be stored: {error} ({error:?})"));
    let stream =
        StreamId::new(E::CATEGORY, "given").unwrap_or_else(|error| panic!("a category cannot be used: {error}"));
    let recorded = new_event.recorded(stream, Version::new(1), Position::new(1), OffsetDateTime::UNIX_EPOCH);
    E::decoder().decode(recorded).unwrap_or_else(|error| panic!("an event cannot be read back: {error} ({error:?})"))
}

/// Two lists line by line: `=` where they agree, `-` what was expected and `+` what was found.
pub(crate) fn difference<T: Debug + PartialEq>(what: &str, expected: &[T], found: &[T]) -> String {
    let mut text = format!("{what} differ (- expected, + found):");
    for index in 0..expected.len().max(found.len()) {
        let (expected, found) = (expected.get(index), found.get(index));
        // Writing to a string cannot fail.
        if expected == found {
            let _ = expected.map(|both| write!(text, "\n  = {both:?}"));
        } else {
            let _ = expected.map(|expected| write!(text, "\n  - {expected:?}"));
            let _ = found.map(|found| write!(text, "\n  + {found:?}"));
        }
    }
    text
}
