//! The domain: an account, its events, and its decisions. Pure code, no framework calls.

use es_core::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// What happens to an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AccountEvent {
    Opened {
        owner: String,
        overdraft: Overdraft,
    },
    Deposited {
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
    Withdrawn {
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        purpose: Option<String>,
    },
}

impl DomainEvent for AccountEvent {
    const CATEGORY: &'static str = "account";
}

/// Whether an account may go below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overdraft {
    #[default]
    Refused,
    /// For accounts whose history comes from another bank, in an order that is not always that of the balances.
    Allowed,
}

/// What can be asked of an account.
#[derive(Debug, Clone)]
pub enum AccountCommand {
    Open {
        owner: String,
    },
    Deposit {
        amount: Money,
        purpose: Option<String>,
    },
    Withdraw {
        amount: Money,
        purpose: Option<String>,
    },
    /// Books a transaction that another bank has carried out. The first one opens the account.
    BookImported(ImportedTransaction),
}

/// A transaction of another bank.
#[derive(Debug, Clone)]
pub struct ImportedTransaction {
    pub owner: String,
    pub direction: Direction,
    pub amount: Money,
    pub purpose: Option<String>,
}

/// Which way the money went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Direction {
    Credit,
    Debit,
}

/// Why an account refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("the account is already open")]
    AlreadyOpen,
    #[error("there is no such account: open it first")]
    NotOpen,
    #[error("an amount must be more than zero, and this is {0}")]
    NotPositive(Money),
    #[error("the balance is {balance}, too little to withdraw {asked}")]
    Overdrawn { balance: Money, asked: Money },
}

/// An account: what its decisions depend on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    is_open: bool,
    overdraft: Overdraft,
    pub balance: Money,
}

impl Aggregate for Account {
    type Event = AccountEvent;
    type Command = AccountCommand;
    type Error = AccountError;

    fn handle(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, AccountError> {
        match command {
            AccountCommand::Open { .. } if self.is_open => Err(AccountError::AlreadyOpen),
            AccountCommand::Open { owner } => {
                Ok(vec![AccountEvent::Opened { owner: owner.clone(), overdraft: Overdraft::Refused }])
            }
            AccountCommand::BookImported(transaction) => Ok(self.book(transaction)),
            _ if !self.is_open => Err(AccountError::NotOpen),
            AccountCommand::Deposit { amount, .. } | AccountCommand::Withdraw { amount, .. }
                if *amount <= Money::ZERO =>
            {
                Err(AccountError::NotPositive(*amount))
            }
            AccountCommand::Withdraw { amount, .. }
                if *amount > self.balance && self.overdraft == Overdraft::Refused =>
            {
                Err(AccountError::Overdrawn { balance: self.balance, asked: *amount })
            }
            AccountCommand::Deposit { amount, purpose } => {
                Ok(vec![AccountEvent::Deposited { amount: *amount, purpose: purpose.clone() }])
            }
            AccountCommand::Withdraw { amount, purpose } => {
                Ok(vec![AccountEvent::Withdrawn { amount: *amount, purpose: purpose.clone() }])
            }
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { overdraft, .. } => (self.is_open, self.overdraft) = (true, *overdraft),
            AccountEvent::Deposited { amount, .. } => self.balance += *amount,
            AccountEvent::Withdrawn { amount, .. } => self.balance -= *amount,
        }
    }
}

impl Account {
    fn book(&self, transaction: &ImportedTransaction) -> Vec<AccountEvent> {
        let ImportedTransaction { owner, direction, amount, purpose } = transaction.clone();
        let mut events = Vec::with_capacity(2);
        if !self.is_open {
            events.push(AccountEvent::Opened { owner, overdraft: Overdraft::Allowed });
        }
        events.push(match direction {
            Direction::Credit => AccountEvent::Deposited { amount, purpose },
            Direction::Debit => AccountEvent::Withdrawn { amount, purpose },
        });
        events
    }
}

#[cfg(test)]
mod tests;
