//! The tools for tests of aggregates and read models: what they accept, and how they fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use es_core::{DocumentAction, DomainEvent, HandlerError, MemoryStore, MemoryTables, Projection, Recorded, View};
use es_testkit::{
    bank::{Account, AccountCommand, AccountError, AccountEvent, Balance},
    given, given_events,
};
use serde::{Deserialize, Serialize};
use time::macros::datetime;

use AccountEvent::{Closed, Deposited, Opened, Withdrawn};

fn opened() -> AccountEvent {
    Opened { owner: "Ann".to_owned() }
}

/// The message of a check that must fail.
fn message_of(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check passed");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_command_is_followed_by_its_events_and_the_next_command() {
    given::<Account>([opened(), Deposited { cents: 100 }])
        .when(AccountCommand::Withdraw { cents: 100 })
        .then([Withdrawn { cents: 100 }])
        .when(AccountCommand::Close)
        .then([Closed])
        .and_state(Account::default());
    given::<Account>([opened()]).then_state(Account { owner: Some("Ann".to_owned()), cents: 0 });
}

#[test]
fn other_events_are_shown_line_by_line() {
    let message = message_of(|| {
        let _ = given::<Account>([opened()])
            .when(AccountCommand::Deposit { cents: 5 })
            .then([Deposited { cents: 6 }, Closed]);
    });
    assert_eq!(
        message,
        "the events differ (- expected, + found):\n  - Deposited { cents: 6 }\n  + Deposited { cents: 5 }\n  - Closed"
    );
}

#[test]
fn an_unexpected_refusal_or_acceptance_says_what_came_instead() {
    let refused = message_of(|| given::<Account>([]).when(AccountCommand::Close).then_nothing());
    assert!(refused.contains("the command was refused: the account is not open"), "{refused}");
    let accepted = message_of(|| {
        given::<Account>([opened()]).when(AccountCommand::Close).then_error(AccountError::NotOpen);
    });
    assert!(accepted.contains("expected a refusal (NotOpen)") && accepted.contains("Closed"), "{accepted}");
    let other = message_of(|| {
        given::<Account>([opened()]).when(AccountCommand::Withdraw { cents: 1 }).then_error(AccountError::NotOpen);
    });
    assert!(other.contains("expected: NotOpen") && other.contains("found:    Overdrawn"), "{other}");
    let busy = message_of(|| given::<Account>([opened()]).when(AccountCommand::Close).then_nothing());
    assert!(busy.contains("+ Closed"), "{busy}");
}

#[tokio::test]
async fn a_view_shows_its_documents() {
    let viewed = given_events([("ann", opened()), ("bob", opened()), ("ann", Deposited { cents: 5 }), ("bob", Closed)])
        .viewed_by::<Balance>()
        .await;
    assert_eq!(viewed.get("ann").map(|balance| balance.cents), Some(5));
    assert!(viewed.get("bob").is_none());
    assert_eq!(viewed.documents().len(), 1);
    let message = message_of(|| viewed.then([("cid", Balance::default())]));
    assert!(message.contains("- (\"cid\"") && message.contains("+ (\"ann\""), "{message}");
}

/// A view that keeps a count which does not survive its way through JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Forgetful {
    #[serde(skip)]
    seen: u64,
    shown: u64,
}

impl View for Forgetful {
    const NAME: &'static str = "forgetful";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, _: &Recorded<AccountEvent>) -> DocumentAction {
        self.seen += 1;
        self.shown = self.seen;
        DocumentAction::Keep
    }
}

#[tokio::test]
#[should_panic(expected = "depends on its pages")]
async fn a_view_that_forgets_between_pages_is_found() {
    let _ = given_events([("ann", opened()), ("ann", Deposited { cents: 5 })]).viewed_by::<Forgetful>().await;
}

/// Events of a second category, and a view that shows when they happened.
#[derive(Serialize, Deserialize)]
enum VisitEvent {
    Visited,
}

impl DomainEvent for VisitEvent {
    const CATEGORY: &'static str = "visit";
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct LastVisit {
    year: i32,
}

impl View for LastVisit {
    const NAME: &'static str = "last_visit";
    type Event = VisitEvent;

    fn keys(event: &Recorded<VisitEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<VisitEvent>) -> DocumentAction {
        self.year = event.occurred_at().year();
        DocumentAction::Keep
    }
}

#[tokio::test]
async fn events_of_several_categories_and_times_can_be_given() {
    given_events([("ann", opened())])
        .and_events_at(datetime!(1999-12-31 12:00 UTC), [("ann", VisitEvent::Visited)])
        .and_events([("ann", Closed)])
        .viewed_by::<LastVisit>()
        .await
        .then([("ann", LastVisit { year: 1999 })]);
}

/// A projection that counts events, and may be unable to start again.
struct Counter {
    forgets_to_clear: bool,
}

impl Projection for Counter {
    type Connection = MemoryTables;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "counter"
    }

    async fn apply(&self, tables: &mut MemoryTables, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let count = count_in(tables) + 1;
        tables.table("counter").insert("count".to_owned(), count.into());
        Ok(())
    }

    async fn clear(&self, tables: &mut MemoryTables) -> Result<(), HandlerError> {
        if !self.forgets_to_clear {
            tables.table("counter").clear();
        }
        Ok(())
    }
}

fn count_in(tables: &mut MemoryTables) -> u64 {
    tables.table("counter").get("count").and_then(serde_json::Value::as_u64).unwrap_or_default()
}

#[tokio::test]
async fn a_projection_is_applied_sent_again_and_rebuilt() {
    let count = given_events([("ann", opened()), ("ann", Closed)])
        .applied_to(&MemoryStore::new(), Counter { forgets_to_clear: false }, async |store: &MemoryStore| {
            count_in(&mut store.tables().await)
        })
        .await;
    assert_eq!(count, 2);
}

#[tokio::test]
#[should_panic(expected = "the rebuilt read model is another one")]
async fn a_projection_that_cannot_be_rebuilt_is_found() {
    given_events([("ann", opened())])
        .applied_to(&MemoryStore::new(), Counter { forgets_to_clear: true }, async |store: &MemoryStore| {
            count_in(&mut store.tables().await)
        })
        .await;
}
