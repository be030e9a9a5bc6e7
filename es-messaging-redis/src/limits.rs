//! Bounds of this crate, in one place.

use std::time::Duration;

/// How long a connection may take to come about.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long an answer is waited for, unless the options say otherwise.
pub const DEFAULT_ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Shortest pause between two attempts to connect again.
pub const MIN_RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts to connect again.
pub const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);
/// Most messages in one transaction, unless the options say otherwise.
pub const DEFAULT_BATCH: usize = 256;
/// Most messages in one transaction.
pub const MAX_BATCH: usize = 4_096;
/// Most bytes in one transaction.
pub const MAX_BATCH_BYTES: usize = 16 * 1_024 * 1_024;
/// Largest message, unless the options say otherwise.
pub const DEFAULT_MESSAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// How often a member looks for topics that were declared meanwhile.
pub const TOPICS_EVERY: Duration = Duration::from_secs(2);
/// How often at least a member looks for entries that are due again.
pub const CLAIM_EVERY: Duration = Duration::from_millis(250);
/// How often a member removes what every group has settled, where that is wanted.
pub const TRIM_EVERY: Duration = Duration::from_secs(2);
/// How long a member that holds nothing is remembered after it was last seen.
pub const FORGET_MEMBERS_AFTER: Duration = Duration::from_secs(3_600);
/// Most streams that a subscription reads.
pub const MAX_TOPICS: usize = 1_000;
