//! A small bank: the domain that conformance cases and tests speak about.

use es_core::{Aggregate, DocumentAction, DomainEvent, Recorded, View};
use serde::{Deserialize, Serialize};

/// What happens to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    /// It was opened.
    Opened {
        /// By whom.
        owner: String,
    },
    /// Money came in.
    Deposited {
        /// How much, in cents.
        cents: i64,
    },
    /// Money went out.
    Withdrawn {
        /// How much, in cents.
        cents: i64,
    },
    /// It was closed; nothing happens to it any more.
    Closed,
}

impl DomainEvent for AccountEvent {
    const CATEGORY: &'static str = "account";
}

/// What can be asked of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountCommand {
    /// Open it.
    Open {
        /// For whom.
        owner: String,
    },
    /// Put money in; 0 is nothing to do.
    Deposit {
        /// How much, in cents.
        cents: i64,
    },
    /// Take money out.
    Withdraw {
        /// How much, in cents.
        cents: i64,
    },
    /// Close it; it must be empty.
    Close,
}

/// Why an account refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It was opened before.
    #[error("the account is already open")]
    AlreadyOpen,
    /// It was not opened, or was closed.
    #[error("the account is not open")]
    NotOpen,
    /// It holds too little.
    #[error("the balance is {balance} cents, too little to withdraw {asked}")]
    Overdrawn {
        /// What it holds, in cents.
        balance: i64,
        /// What was asked for, in cents.
        asked: i64,
    },
    /// It still holds money.
    #[error("the account still holds {balance} cents")]
    NotEmpty {
        /// What it holds, in cents.
        balance: i64,
    },
}

/// An account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its owner, while it is open.
    pub owner: Option<String>,
    /// What it holds, in cents.
    pub cents: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Error = AccountError;

    fn handle(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, AccountError> {
        match command {
            AccountCommand::Open { .. } if self.owner.is_some() => Err(AccountError::AlreadyOpen),
            AccountCommand::Open { owner } => Ok(vec![AccountEvent::Opened { owner: owner.clone() }]),
            _ if self.owner.is_none() => Err(AccountError::NotOpen),
            AccountCommand::Deposit { cents: 0 } => Ok(vec![]),
            &AccountCommand::Deposit { cents } => Ok(vec![AccountEvent::Deposited { cents }]),
            &AccountCommand::Withdraw { cents } if cents > self.cents => {
                Err(AccountError::Overdrawn { balance: self.cents, asked: cents })
            }
            &AccountCommand::Withdraw { cents } => Ok(vec![AccountEvent::Withdrawn { cents }]),
            AccountCommand::Close if self.cents != 0 => Err(AccountError::NotEmpty { balance: self.cents }),
            AccountCommand::Close => Ok(vec![AccountEvent::Closed]),
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner = Some(owner.clone()),
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
            AccountEvent::Closed => self.owner = None,
        }
    }
}

/// The balance of each account; closed accounts have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// The account's owner.
    pub owner: String,
    /// What the account holds, in cents.
    pub cents: i64,
    /// How many events it was made of: shows an event that was applied twice.
    pub events: u64,
}

impl View for Balance {
    const NAME: &'static str = "balance";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        self.events += 1;
        match &event.event {
            AccountEvent::Opened { owner } => self.owner = owner.clone(),
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
            AccountEvent::Closed => return DocumentAction::Delete,
        }
        DocumentAction::Keep
    }
}
