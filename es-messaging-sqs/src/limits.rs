//! Bounds of this crate, in one place.

use std::time::Duration;

/// Largest content of one call to SNS, in bytes.
pub const CALL_BYTES: usize = 256 * 1_024;
/// Largest message, as [`Message::size`](es_messaging::Message::size) counts: in the body, content that is no JSON grows by a third.
pub const MESSAGE_BYTES: usize = 180 * 1_024;
/// Longest reason that goes with a dead letter.
pub const MAX_REASON_CHARS: usize = 500;
/// What is left free in a message, so that its reason fits beside it among the dead letters, in bytes.
pub const REASON_BYTES: usize = MAX_REASON_CHARS * 4 + 48;
/// Most messages in one call.
pub const CALL_MESSAGES: usize = 10;
/// Most messages that are published at a time.
pub const BATCH: usize = 500;
/// Most calls at a time of one publisher or subscriber.
pub const CALLS: usize = 8;
/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take that does not wait for messages.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that SQS waits for messages.
pub const MAX_LONG_POLL: Duration = Duration::from_secs(20);
/// Longest time for which SQS hides a message.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);
/// How often SQS gives a message before it puts it among the dead letters, unless the options say otherwise.
pub const MAX_RECEIVES: u16 = 100;
/// How long SQS keeps messages: as long as it can.
pub const RETENTION: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Longest name of a queue.
pub const MAX_QUEUE_NAME_BYTES: usize = 80;
/// Longest deduplication id and message group id.
pub const MAX_ID_BYTES: usize = 128;
/// Most topics of a subscription: most values that a filter of SNS takes, with two for each.
pub const MAX_TOPICS: usize = 75;
/// Most pages of topics or subscriptions that are looked through.
pub const MAX_PAGES: usize = 1_000;
