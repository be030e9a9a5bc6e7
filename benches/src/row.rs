//! Rows that a floor writes, as a program without the framework would make them.

use std::sync::atomic::{AtomicI64, Ordering};

use uuid::Uuid;

use crate::{
    Error,
    account::{AccountEvent, Booking, stream},
};

/// One event as a row of the store's table.
#[derive(Debug, Clone)]
pub struct Row {
    pub position: i64,
    pub version: i64,
    pub id: Uuid,
    pub stream: String,
    pub event_type: &'static str,
    pub payload: String,
}

/// Makes rows with consecutive positions, each the first event of a stream of its own.
#[derive(Debug, Default)]
pub struct Rows {
    last: AtomicI64,
}

impl Rows {
    pub fn next(&self) -> Result<Row, Error> {
        let position = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let event = AccountEvent::Deposited(Booking::of(position));
        Ok(Row {
            position,
            version: 1,
            id: Uuid::now_v7(),
            stream: stream(&position.to_string())?.as_str().to_owned(),
            event_type: event.name(),
            payload: event.to_json()?,
        })
    }

    pub fn take(&self, count: usize) -> Result<Vec<Row>, Error> {
        (0..count).map(|_| self.next()).collect()
    }
}
