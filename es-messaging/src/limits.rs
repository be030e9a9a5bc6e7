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

/// Messages that a consumer's first transaction takes.
pub const FIRST_BATCH: usize = 4;
/// Most messages that a consumer handles in one transaction, unless it is told otherwise.
pub const DEFAULT_BATCH: usize = 256;
/// For how long a consumer means to hold a transaction: it takes fewer messages when one was held longer.
pub const TARGET_BATCH_TIME: Duration = Duration::from_millis(100);
/// A transaction that takes longer, and has more messages to come, is rolled back and begun again with fewer.
pub const MAX_BATCH_TIME: Duration = Duration::from_secs(5);
/// Lanes of a consumer, unless it is told otherwise: as many transactions are open at once.
pub const DEFAULT_LANES: usize = 4;
/// Most lanes of a consumer.
pub const MAX_LANES: usize = 64;
/// How often a message is tried, unless a consumer is told otherwise.
pub const DEFAULT_ATTEMPTS: u32 = 5;
/// How long a handler may take for a message, unless a consumer is told otherwise.
pub const DEFAULT_HANDLER_TIME: Duration = Duration::from_secs(30);
/// How long a consumer that is told to stop may take for what it has in hand, unless it is told otherwise.
pub const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(20);
/// For how long the inbox remembers a message, unless a consumer is told otherwise.
pub const DEFAULT_INBOX_KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often a consumer lets the inbox forget what is older.
pub const INBOX_ROTATION_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long a consumer waits for messages with one call of the broker.
pub const RECEIVE_WAIT: Duration = Duration::from_secs(5);
/// How often a consumer looks who is held back, and which of its dead letters are to be tried again.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Dead letters that a consumer tries again before it looks for more.
pub const RETRIES_PER_LOOK: usize = 100;
/// How often a message whose appends meet a conflict is handled again before that counts as a failure.
pub const CONFLICT_RETRIES: u32 = 16;
/// How long a consumer waits for a broker to take back what it has in hand.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Shortest interval in which a consumer asks for more time.
pub const MIN_EXTEND_INTERVAL: Duration = Duration::from_millis(50);
/// How often a consumer with metrics counts its dead letters.
pub const DEAD_LETTER_COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// Most messages that a subscription of the [`MemoryBroker`](crate::MemoryBroker) holds, dead letters included, unless it is made
/// with another bound.
pub const MEMORY_QUEUE_MESSAGES: usize = 100_000;
/// Largest message that the [`MemoryBroker`](crate::MemoryBroker) takes, in bytes, unless it is made with another bound.
pub const MEMORY_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Most messages in one call to the [`MemoryBroker`](crate::MemoryBroker) that pay.
pub const MEMORY_BATCH: usize = 1_000;
/// Most messages a second that a rate limit may allow.
pub const MAX_RATE: u32 = 1_000_000;
