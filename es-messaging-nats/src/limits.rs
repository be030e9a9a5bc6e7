//! Bounds of this crate, in one place.

use std::time::Duration;

/// How long a connection may take to come about.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the server's answer to a question is waited for.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long acknowledgements of published messages are waited for, unless the options say otherwise.
pub const DEFAULT_PUBLISH_LIMIT: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect again.
pub const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(2);
/// Shortest pause between two attempts to connect again.
pub const MIN_RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How often connections to a silent server are tried for life.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How often a publisher that waits looks whether its connection is still there.
pub const LINK_CHECK: Duration = Duration::from_millis(50);
/// Messages on their way at once, unless the options say otherwise.
pub const DEFAULT_IN_FLIGHT: usize = 256;
/// Most messages on their way at once.
pub const MAX_IN_FLIGHT: usize = 4_096;
/// How long a server remembers the ids of messages, unless the options say otherwise.
pub const DEFAULT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Bytes of a message left for headers that [`Message::size`](es_messaging::Message::size) does not count.
pub const HEADER_RESERVE_BYTES: usize = 4 * 1_024;
/// How long messages that the server says it has are waited for, once the first has come.
pub const GATHER_LIMIT: Duration = Duration::from_millis(5);
/// How long to wait after the server has refused to give messages.
pub const PULL_PAUSE: Duration = Duration::from_millis(100);
/// Largest answer of a monitoring port that is read.
pub const MAX_MONITORING_BYTES: usize = 1024 * 1024;
