//! What the two services have agreed on.

use es_messaging::{Subscription, Topology};
use serde::{Deserialize, Serialize};

/// The type of the message.
pub const ORDER_PLACED: &str = "shop.order.placed";
/// Where it is published.
pub const TOPIC: &str = "order.Placed";
/// Who receives it: all processes of the shipping service together.
pub const SHIPPING: &str = "shipping";

/// An order was placed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order: String,
    pub cents: i64,
}

/// What there must be on the broker. Each side declares it when it starts; what is there already stays.
pub fn topology() -> Topology {
    Topology::new([TOPIC], vec![Subscription::new(SHIPPING, [TOPIC])])
}
