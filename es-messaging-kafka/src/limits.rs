//! Bounds of this crate, in one place.

use std::time::Duration;

/// How long a broker gets to answer a question: at connecting, about a topic.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long brokers get to create topics.
pub const DECLARE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a batch waits for its confirmations, unless the options say otherwise.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Most messages that are published at a time.
pub const MAX_BATCH: usize = 1_000;
/// Largest record, with key and headers, in bytes, unless `message.max.bytes` says otherwise: Kafka's own default.
pub const MESSAGE_BYTES: usize = 1_000_000;
/// What a record takes besides what [`Message::size`](es_messaging::Message::size) counts, at most.
pub const RECORD_OVERHEAD_BYTES: usize = 4 * 1_024;
/// How long a commit of offsets is waited for.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon offsets that could not be committed are tried again.
pub const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// How soon a message that could not be put aside comes again.
pub const REJECT_AGAIN: Duration = Duration::from_secs(1);
/// How often the group's thread looks after the group when no message comes.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Records of one partition behind the oldest unsettled one that may be settled before nothing more is read from it.
pub const MAX_WINDOW: usize = 20_000;
/// How long what is known of a topic that was not there is believed.
pub const UNKNOWN_TOPIC_TTL: Duration = Duration::from_secs(1);
/// Most topics that are remembered to be there.
pub const MAX_KNOWN_TOPICS: usize = 10_000;
/// Longest name of a topic that Kafka takes.
pub const MAX_TOPIC_BYTES: usize = 249;
