//! All limits of this crate.

use std::time::Duration;

/// The maximum number of extension attributes of a message.
pub const MAX_EXTENSIONS: usize = 64;
/// The maximum length of an attribute name that is set here, in bytes, as CloudEvents recommends.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 20;
/// The maximum length of an attribute name in a received message, in bytes.
pub const MAX_RECEIVED_NAME_BYTES: usize = 128;
/// The maximum length of an attribute value, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 4 * 1_024;
/// The default number of unsettled messages that a subscriber can hold.
pub const DEFAULT_PREFETCH: usize = 256;
/// The maximum number of unsettled messages that a subscription can allow.
pub const MAX_PREFETCH: usize = 10_000;
/// The default time that a broker waits for an unsettled message before it delivers the message to another subscriber.
pub const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);

/// The number of messages in a consumer's first transaction.
pub const FIRST_BATCH: usize = 4;
/// The default maximum number of messages that a consumer handles in one transaction.
pub const DEFAULT_BATCH: usize = 256;
/// The target time for the messages of a transaction, without its begin and commit. After a transaction that took
/// longer, the consumer takes fewer messages.
pub const TARGET_BATCH_TIME: Duration = Duration::from_millis(100);
/// A transaction that takes longer than this and has more messages to handle is rolled back and repeated with fewer
/// messages.
pub const MAX_BATCH_TIME: Duration = Duration::from_secs(5);
/// The default number of lanes of a consumer. Each lane has one open transaction at a time.
pub const DEFAULT_LANES: usize = 4;
/// The maximum number of lanes of a consumer.
pub const MAX_LANES: usize = 64;
/// The default number of attempts for a message.
pub const DEFAULT_ATTEMPTS: u32 = 5;
/// The default time limit of a handler for one message.
pub const DEFAULT_HANDLER_TIME: Duration = Duration::from_secs(30);
/// The default time that a consumer may take at shutdown for the messages that it holds.
pub const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(20);
/// The default time for which the inbox remembers a message.
pub const DEFAULT_INBOX_KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often a consumer removes older entries from the inbox.
pub const INBOX_ROTATION_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long a consumer waits for messages in one call to the broker.
pub const RECEIVE_WAIT: Duration = Duration::from_secs(5);
/// How often a consumer checks whether it is suspended and which retries of its dead letters are requested.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The number of dead letters that a consumer retries before it checks for more.
pub const RETRIES_PER_LOOK: usize = 100;
/// How often a message whose appends meet a conflict is handled again before the conflict counts as a failure.
pub const CONFLICT_RETRIES: u32 = 16;
/// How long a consumer waits for a broker to confirm settlements. Messages that are not confirmed by then may be
/// delivered again.
pub const SETTLE_TIME: Duration = Duration::from_secs(30);
/// How long a consumer waits for a broker to take back the messages that it holds.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);
/// The shortest interval at which a consumer asks for more time.
pub const MIN_EXTEND_INTERVAL: Duration = Duration::from_millis(50);
/// The default maximum number of messages that a subscription of the [`MemoryBroker`](crate::MemoryBroker) holds,
/// including dead letters.
pub const MEMORY_QUEUE_MESSAGES: usize = 100_000;
/// The default maximum size of a message of the [`MemoryBroker`](crate::MemoryBroker), in bytes.
pub const MEMORY_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// The largest useful batch in one call to the [`MemoryBroker`](crate::MemoryBroker).
pub const MEMORY_BATCH: usize = 1_000;

/// The default maximum number of messages that a relay passes to its publisher at once.
pub const DEFAULT_RELAY_BATCH: usize = 500;
/// The largest batch that a relay can be set to.
pub const MAX_RELAY_BATCH: usize = es_core::limits::MAX_OUTBOX_PER_READ;
/// How long a relay waits for a broker to confirm a batch before the batch counts as unconfirmed.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a relay works on one page of events before it returns the rest to the runner.
pub const RELAY_CALL_TIME: Duration = Duration::from_secs(20);
/// How long a relay waits for the broker within one page, in total, before it returns the rest to the runner. While the
/// broker is unavailable, a pause or shutdown is noticed after at most this time.
pub const RELAY_CALL_PATIENCE: Duration = Duration::from_secs(2);
/// The upper bound of the runner's wait before it retries a relay whose broker is unavailable. The relay's own circuit
/// breaker does the waiting.
pub const RELAY_RUNNER_BACKOFF: Duration = Duration::from_secs(1);
/// How long a relay remembers the confirmed messages of an unfinished page, unless it retries the page.
pub const CONFIRMED_KEEP: Duration = Duration::from_secs(300);
/// The default number of consecutive batches without any confirmation after which a circuit breaker opens.
pub const BREAKER_THRESHOLD: u32 = 3;
/// The upper bound of the first wait for a broker that does not confirm. It doubles with each failure.
pub const BREAKER_FIRST_WAIT: Duration = Duration::from_millis(200);
/// The default upper bound of every wait for a broker that does not confirm.
pub const BREAKER_LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait that a broker can ask for. Longer waits are reduced to it.
pub const MAX_THROTTLE: Duration = Duration::from_secs(300);
/// How often a task checks the result while another task tests the broker.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum number of messages per second of a rate limit.
pub const MAX_RATE: u32 = 1_000_000;
/// How often a relay checks for dead letters to publish again, and how often a relay or consumer counts its dead
/// letters.
pub const DEAD_LETTER_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum number of dead letters that are published again at once.
pub const DEAD_LETTERS_PER_RETRY: usize = 50;
/// How often an ongoing dead letter alert is repeated.
pub const ALERT_REPEAT: Duration = Duration::from_secs(300);
/// How often a relay of the outbox checks for new messages after it found none.
pub const OUTBOX_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the relay of the outbox, or a process that publishes dead letters again, holds its lease without a
/// heartbeat.
pub const RELAY_LEASE_TIME: Duration = Duration::from_secs(10);
/// The number of heartbeats per lease time.
pub const RELAY_HEARTBEATS_PER_LEASE: u32 = 4;
/// How often the relay of the outbox checks whether it is suspended.
pub const OUTBOX_CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a relay of the outbox checks whether it can take over from another process.
pub const OUTBOX_LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the relay of the outbox has the outbox tidied and counts the waiting messages.
pub const OUTBOX_TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// The upper bound of the first wait for a store that does not answer. It doubles with each failure.
pub const OUTBOX_FIRST_STORE_WAIT: Duration = Duration::from_millis(100);
/// The upper bound of every wait for a store that does not answer.
pub const OUTBOX_LONGEST_STORE_WAIT: Duration = Duration::from_secs(5);
/// How long a relay of the outbox continues with its current batch at shutdown before it drops the batch.
pub const OUTBOX_SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
