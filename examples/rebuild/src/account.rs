//! The events.

use es_core::DomainEvent;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub enum AccountEvent {
    Deposited { cents: i64 },
    Withdrawn { cents: i64 },
}

impl DomainEvent for AccountEvent {
    const CATEGORY: &'static str = "account";
}
