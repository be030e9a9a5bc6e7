//! The domain of all workloads: a bank account, whose events take about 120 bytes of JSON.

use std::convert::Infallible;

use es_core::{Aggregate, DomainEvent, EventType, NewEvent, Payload, StreamId};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The category of every stream.
pub const CATEGORY: &str = "account";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AccountEvent {
    Opened(Opened),
    Deposited(Booking),
    Withdrawn(Booking),
}

impl DomainEvent for AccountEvent {
    const CATEGORY: &'static str = CATEGORY;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    pub cents: i64,
    pub owner: String,
    pub branch: String,
    pub currency: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booking {
    pub cents: i64,
    pub purpose: String,
    pub counterparty: String,
    pub channel: String,
}

impl Booking {
    pub fn of(cents: i64) -> Self {
        Self {
            cents,
            purpose: "rent for November".to_owned(),
            counterparty: "DE89370400440532013000".to_owned(),
            channel: "standing order".to_owned(),
        }
    }
}

impl AccountEvent {
    pub fn opened(cents: i64) -> Self {
        Self::Opened(Opened {
            cents,
            owner: "Ann Example, 12 Long Street, Springfield".to_owned(),
            branch: "Springfield North".to_owned(),
            currency: "EUR".to_owned(),
        })
    }

    /// What the event adds to the balance.
    pub fn cents(&self) -> i64 {
        match self {
            Self::Opened(opened) => opened.cents,
            Self::Deposited(booking) => booking.cents,
            Self::Withdrawn(booking) => -booking.cents,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "Opened",
            Self::Deposited(_) => "Deposited",
            Self::Withdrawn(_) => "Withdrawn",
        }
    }

    /// The content as JSON, as a store keeps it.
    pub fn to_json(&self) -> Result<String, Error> {
        Ok(match self {
            Self::Opened(opened) => serde_json::to_string(opened)?,
            Self::Deposited(booking) | Self::Withdrawn(booking) => serde_json::to_string(booking)?,
        })
    }

    /// Reads what a store keeps, as a program without the framework would.
    pub fn from_row(name: &str, json: &str) -> Result<Self, Error> {
        Ok(match name {
            "Opened" => Self::Opened(serde_json::from_str(json)?),
            "Deposited" => Self::Deposited(serde_json::from_str(json)?),
            "Withdrawn" => Self::Withdrawn(serde_json::from_str(json)?),
            other => return Err(format!("an event of the unknown type {other}").into()),
        })
    }

    /// The event with a fresh id, for an append without a repository.
    pub fn to_new_event(&self) -> Result<NewEvent, Error> {
        Ok(NewEvent::new(EventType::new(self.name())?, Payload::trusted(self.to_json()?)))
    }
}

/// The stream of an account.
pub fn stream(id: &str) -> Result<StreamId, Error> {
    Ok(StreamId::new(CATEGORY, id)?)
}

/// The account's id in the text of its stream.
pub fn id_of(stream: &str) -> &str {
    stream.split_once('/').map_or(stream, |(_, id)| id)
}

#[derive(Debug, Clone, Copy)]
pub enum AccountCommand {
    /// One event; the first one opens the account.
    Deposit { cents: i64 },
    /// So many events.
    DepositOften { cents: i64, times: usize },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    is_open: bool,
    cents: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Error = Infallible;

    fn handle(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, Infallible> {
        let deposit = |cents, is_open: bool| match is_open {
            true => AccountEvent::Deposited(Booking::of(cents)),
            false => AccountEvent::opened(cents),
        };
        match *command {
            AccountCommand::Deposit { cents } => Ok(vec![deposit(cents, self.is_open)]),
            AccountCommand::DepositOften { cents, times } => {
                Ok((0..times).map(|index| deposit(cents, self.is_open || index > 0)).collect())
            }
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        self.is_open = true;
        self.cents += event.cents();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_about_120_bytes_and_is_read_back() {
        let booking = Booking::of(12_345);
        let events =
            [AccountEvent::opened(12_345), AccountEvent::Deposited(booking.clone()), AccountEvent::Withdrawn(booking)];
        for event in events {
            let json = event.to_json().unwrap();
            assert!((105..=135).contains(&json.len()), "{} bytes: {json}", json.len());
            assert_eq!(AccountEvent::from_row(event.name(), &json).unwrap(), event);
        }
    }
}
