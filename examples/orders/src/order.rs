//! The shop's orders.

use es_core::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

/// What happens to an order, as the shop sees it. Other services never see this: see [`relay`](crate::shop).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum OrderEvent {
    Placed { customer: String, cents: i64, internal_margin: i64 },
}

impl DomainEvent for OrderEvent {
    const CATEGORY: &'static str = "order";
}

#[derive(Debug, Clone)]
pub struct Place {
    pub customer: String,
    pub cents: i64,
}

impl Place {
    /// The order of a number: always the same, so that a program that was killed can go on.
    pub fn number(number: u64) -> Self {
        let cents = 1 + i64::try_from(number * 37 % 9_999).unwrap_or(0);
        Self { customer: format!("customer-{}", number % 97), cents }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("this order was placed before")]
pub struct AlreadyPlaced;

#[derive(Debug, Clone, Default)]
pub struct Order {
    is_placed: bool,
}

impl Order {
    pub fn is_placed(&self) -> bool {
        self.is_placed
    }
}

impl Aggregate for Order {
    type Event = OrderEvent;
    type Command = Place;
    type Error = AlreadyPlaced;

    fn handle(&self, command: &Place) -> Result<Vec<OrderEvent>, AlreadyPlaced> {
        if self.is_placed {
            return Err(AlreadyPlaced);
        }
        let Place { customer, cents } = command.clone();
        Ok(vec![OrderEvent::Placed { customer, cents, internal_margin: cents / 3 }])
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } => self.is_placed = true,
        }
    }
}
