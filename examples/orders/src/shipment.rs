//! The shipping service's shipments.

use es_core::DomainEvent;
use serde::{Deserialize, Serialize};

/// What happens to a shipment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ShipmentEvent {
    Shipped { order: String, cents: i64 },
}

impl DomainEvent for ShipmentEvent {
    const CATEGORY: &'static str = "shipment";
}
