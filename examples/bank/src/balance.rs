//! The read model: one document per account.

use es_core::{DocumentAction, Recorded, View};
use serde::{Deserialize, Serialize};

use crate::{account::AccountEvent, money::Money};

/// What the bank shows about an account without loading it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Balance {
    pub owner: String,
    pub balance: Money,
    pub credits: Money,
    pub debits: Money,
    pub transactions: u64,
}

impl View for Balance {
    const NAME: &'static str = "balance";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        match &event.event {
            AccountEvent::Opened { owner, .. } => self.owner.clone_from(owner),
            AccountEvent::Deposited { amount, .. } => {
                self.balance += *amount;
                self.credits += *amount;
                self.transactions += 1;
            }
            AccountEvent::Withdrawn { amount, .. } => {
                self.balance -= *amount;
                self.debits += *amount;
                self.transactions += 1;
            }
        }
        DocumentAction::Keep
    }
}
