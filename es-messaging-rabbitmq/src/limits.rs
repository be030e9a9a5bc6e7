//! Bounds of this crate, in one place.

use std::time::Duration;

/// Largest message that is sent, unless the options say otherwise: what RabbitMQ 4 takes without being configured.
pub const DEFAULT_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Most messages on their way without a confirmation. A larger batch is cut.
pub const BATCH: usize = 1_000;
/// Messages of a batch that are handed to the connection before the first of them was written to it.
pub const WRITES: usize = 64;
/// The same in bytes of their contents; a larger message is written alone.
pub const WRITE_BYTES: usize = 256 * 1_024;
/// How much of a frame (`frame_max`) is left to what the server adds to the headers of a message, such as where it has been; at most a quarter of
/// it. The attributes of a message have to fit into the rest.
pub const FRAME_ROOM: usize = 4 * 1_024;
/// How long to wait for the next confirmation, unless the options say otherwise.
pub const DEFAULT_CONFIRM_WAIT: Duration = Duration::from_secs(5);
/// How long connecting may take.
pub const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for the broker's answer to an order, such as opening a channel.
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Shortest and longest time between two attempts to connect.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Seconds between two heartbeats, unless the URL says otherwise (`?heartbeat=`).
pub const HEARTBEAT_SECONDS: u16 = 10;
/// Longest topic, and longest type of content, in bytes: AMQP's short strings.
pub const SHORT_STRING_BYTES: usize = 255;
/// How long [`declare`](es_messaging::Broker::declare) waits for a server to flush where a new quorum queue is kept, unless the options say
/// otherwise. RabbitMQ does that half a second to a second after the last queue was made, and says nothing about it.
pub const DEFAULT_NEW_QUEUE_WAIT: Duration = Duration::from_secs(2);
