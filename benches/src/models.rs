//! Read models: a view, and what projections with own tables are told to do.

use std::{collections::BTreeMap, sync::Arc};

use es_core::{DocumentAction, Recorded, View};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::{account::AccountEvent, clock::now_nanos};

/// The document of an account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    cents: i64,
    bookings: u64,
}

impl View for Balance {
    const NAME: &'static str = "balance";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        self.cents += event.event.cents();
        self.bookings += 1;
        DocumentAction::Keep
    }
}

/// Which read model a runner keeps.
#[derive(Debug, Clone)]
pub enum Model {
    /// The view [`Balance`].
    View,
    /// A projection with a table of its own: one row per account.
    Totals(Totals),
}

/// A projection: its name, which is its table's too, and how it writes.
#[derive(Debug, Clone)]
pub struct Totals {
    pub name: String,
    pub writing: Writing,
    pub observer: Option<Arc<Observer>>,
}

/// How a projection writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Writing {
    /// Not at all.
    Nothing,
    /// One upsert for each event.
    EventByEvent,
    /// One upsert for each page, of the sums by account.
    PageByPage,
}

/// Notes when a handler starts.
#[derive(Debug)]
pub struct Observer {
    sender: UnboundedSender<Started>,
}

/// The last position of a page, and when its handler started.
pub type Started = (u64, u64);

impl Observer {
    pub fn new(sender: UnboundedSender<Started>) -> Self {
        Self { sender }
    }

    /// A handler starts with a page that ends at this position.
    pub fn note_start(&self, last_position: u64) {
        // Nobody listens any more: nobody wants to know.
        let _ = self.sender.send((last_position, now_nanos()));
    }
}

/// The sums of a page by account, in the order of the accounts.
pub fn sums<'a>(bookings: impl IntoIterator<Item = (&'a str, i64)>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for (account, cents) in bookings {
        *sums.entry(account).or_default() += cents;
    }
    sums
}

/// What a projection's events mean for its rows.
pub fn bookings(events: &[Recorded<AccountEvent>]) -> impl Iterator<Item = (&str, i64)> {
    events.iter().map(|event| (event.stream().id(), event.event.cents()))
}
