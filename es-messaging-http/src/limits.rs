//! Bounds of this crate, in one place.

use std::time::Duration;

/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2 * 1_024;
/// How long a connection may take, with its TLS, unless said otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take until its status is there, with the connection, unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a webhook waits for the rest of an answer, whose status is what it wants: only to use the connection again.
pub const ANSWER_BODY_WAIT: Duration = Duration::from_secs(1);
/// How much of an answer a webhook reads; it throws it away.
pub const WEBHOOK_ANSWER_BYTES: usize = 16 * 1_024;
/// How much of an answer is read, unless said otherwise.
pub const DEFAULT_ANSWER_BYTES: usize = 1_024 * 1_024;
/// How long a connection is kept that nobody uses.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Most addresses of a name that are tried.
pub const MAX_ADDRESSES: usize = 8;
/// Requests of a webhook at a time, unless said otherwise.
pub const DEFAULT_PARALLEL: usize = 8;
/// Most requests of a webhook at a time.
pub const MAX_PARALLEL: usize = 256;
/// Messages in one call of a webhook that pay.
pub const BATCH: usize = 256;
/// Largest message that a webhook sends, unless said otherwise.
pub const DEFAULT_MESSAGE_BYTES: usize = 1_024 * 1_024;
/// Largest body that a verifier reads, unless said otherwise.
pub const DEFAULT_BODY_BYTES: usize = 2 * 1_024 * 1_024;
/// Longest time to wait that a receiver may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// Shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 24;
/// Longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 64;
/// Most secrets at once.
pub const MAX_SECRETS: usize = 8;
/// Most signatures of one request that are looked at.
pub const MAX_SIGNATURES: usize = 16;
/// How far a request's time may be from the verifier's, unless said otherwise.
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Most headers of a webhook's own.
pub const MAX_HEADERS: usize = 32;
