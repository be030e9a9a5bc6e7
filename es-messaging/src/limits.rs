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
