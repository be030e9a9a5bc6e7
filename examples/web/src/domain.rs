//! The domain: accounts, their events and decisions, and the read model. Pure code, nothing of HTTP.

use es_core::{Aggregate, DocumentAction, DomainEvent, Recorded, View};
use serde::{Deserialize, Serialize};

/// Most cents that one command may move: sums of it stay far away from the end of `i64`.
pub(crate) const MAX_CENTS: i64 = 100_000_000_000;

/// What happens to an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Opened { owner: String },
    Deposited { cents: i64 },
    Withdrawn { cents: i64 },
}

impl DomainEvent for AccountEvent {
    const CATEGORY: &'static str = "account";
}

/// What can be asked of an account.
#[derive(Debug, Clone)]
pub(crate) enum AccountCommand {
    Open { owner: String },
    Deposit { cents: i64 },
    Withdraw { cents: i64 },
}

/// Why an account refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("the account is already open")]
    AlreadyOpen,
    #[error("there is no such account: open it first")]
    NotOpen,
    #[error("an amount must be from 1 to {MAX_CENTS} cents, and this is {0}")]
    OutOfRange(i64),
    #[error("the balance is {balance} cents, too little to withdraw {asked}")]
    Overdrawn { balance: i64, asked: i64 },
}

/// An account: what its decisions depend on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    is_open: bool,
    pub(crate) cents: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Error = AccountError;

    fn handle(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, AccountError> {
        match *command {
            AccountCommand::Open { .. } if self.is_open => Err(AccountError::AlreadyOpen),
            AccountCommand::Open { ref owner } => Ok(vec![AccountEvent::Opened { owner: owner.clone() }]),
            _ if !self.is_open => Err(AccountError::NotOpen),
            AccountCommand::Deposit { cents } | AccountCommand::Withdraw { cents }
                if !(1..=MAX_CENTS).contains(&cents) =>
            {
                Err(AccountError::OutOfRange(cents))
            }
            AccountCommand::Withdraw { cents } if cents > self.cents => {
                Err(AccountError::Overdrawn { balance: self.cents, asked: cents })
            }
            AccountCommand::Deposit { cents } => Ok(vec![AccountEvent::Deposited { cents }]),
            AccountCommand::Withdraw { cents } => Ok(vec![AccountEvent::Withdrawn { cents }]),
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { .. } => self.is_open = true,
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
        }
    }
}

/// The read model: one document per account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Balance {
    owner: String,
    cents: i64,
}

impl View for Balance {
    const NAME: &'static str = "balance";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        match &event.event {
            AccountEvent::Opened { owner } => self.owner.clone_from(owner),
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
        }
        DocumentAction::Keep
    }
}

#[cfg(test)]
mod tests {
    use es_testkit::given;

    use super::*;

    #[test]
    fn no_more_is_withdrawn_than_there_is() {
        let events = || [AccountEvent::Opened { owner: "Ann".to_owned() }, AccountEvent::Deposited { cents: 10 }];
        let too_much = AccountError::Overdrawn { balance: 10, asked: 11 };
        given::<Account>(events()).when(AccountCommand::Withdraw { cents: 11 }).then_error(too_much);
        given::<Account>(events())
            .when(AccountCommand::Withdraw { cents: 10 })
            .then([AccountEvent::Withdrawn { cents: 10 }]);
    }
}
