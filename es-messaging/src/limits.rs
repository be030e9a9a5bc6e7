//! Bounds of this crate, in one place.

use std::time::Duration;

/// Most attributes that a message has besides those that CloudEvents names.
pub const MAX_EXTENSIONS: usize = 64;
/// Longest name of an attribute, in bytes.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 20;
/// Longest value of an attribute, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 4 * 1_024;
/// Messages that a subscriber holds unsettled, unless its subscription says otherwise.
pub const DEFAULT_PREFETCH: usize = 256;
/// Most messages that a subscription may hold unsettled.
pub const MAX_PREFETCH: usize = 10_000;
/// How long a broker waits for an unsettled message before it gives it to somebody else, unless the subscription says
/// otherwise.
pub const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);
/// Most messages that a subscription of the [`MemoryBroker`](crate::MemoryBroker) holds, dead letters included, unless it is made
/// with another bound.
pub const MEMORY_QUEUE_MESSAGES: usize = 100_000;
/// Largest message that the [`MemoryBroker`](crate::MemoryBroker) takes, in bytes, unless it is made with another bound.
pub const MEMORY_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Most messages in one call to the [`MemoryBroker`](crate::MemoryBroker) that pay.
pub const MEMORY_BATCH: usize = 1_000;
