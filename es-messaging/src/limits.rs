//! Bounds of this crate, in one place.

use std::time::Duration;

/// Most attributes that a message has besides those that CloudEvents names.
pub const MAX_EXTENSIONS: usize = 64;
/// Longest name of an attribute that a message is given here, in bytes: what CloudEvents advises.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 20;
/// Longest name of an attribute that a received message may have, in bytes.
pub const MAX_RECEIVED_NAME_BYTES: usize = 128;
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
/// How long a consumer means the messages of a transaction to take, without its begin and commit: it takes fewer of them when they took longer.
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
/// How often a consumer looks whether it is suspended, and which retries of its dead letters are requested.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Dead letters that a consumer tries again before it looks for more.
pub const RETRIES_PER_LOOK: usize = 100;
/// How often a message whose appends meet a conflict is handled again before that counts as a failure.
pub const CONFLICT_RETRIES: u32 = 16;
/// How long a consumer waits for a broker that is told what is done: what it does not confirm by then may come again.
pub const SETTLE_TIME: Duration = Duration::from_secs(30);
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

/// Most messages that a relay gives its publisher at once, unless its settings say otherwise.
pub const DEFAULT_RELAY_BATCH: usize = 500;
/// Largest batch that a relay may be set to.
pub const MAX_RELAY_BATCH: usize = es_core::limits::MAX_OUTBOX_PER_READ;
/// How long a relay waits for a broker's confirmations of one batch before it counts as unconfirmed.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a relay goes on with one page of events before it gives the rest back to the runner.
pub const RELAY_CALL_TIME: Duration = Duration::from_secs(20);
/// How long a relay waits for the broker within one page, in all, before it gives the rest back to the runner: so long at most, a
/// pause or a shutdown takes to be noticed while the broker is away.
pub const RELAY_CALL_PATIENCE: Duration = Duration::from_secs(2);
/// Upper bound of the runner's wait before it asks a relay again whose broker is away: the relay's own circuit breaker waits.
pub const RELAY_RUNNER_BACKOFF: Duration = Duration::from_secs(1);
/// For how long a relay remembers which messages of a page are confirmed that it cannot finish, unless it tries the page again.
pub const CONFIRMED_KEEP: Duration = Duration::from_secs(300);
/// Batches in a row of which nothing was confirmed, after which a circuit breaker opens, unless its settings say otherwise.
pub const BREAKER_THRESHOLD: u32 = 3;
/// Upper bound of the first wait for a broker that does not confirm; it doubles with each failure.
pub const BREAKER_FIRST_WAIT: Duration = Duration::from_millis(200);
/// Upper bound of every wait for a broker that does not confirm, unless the settings say otherwise.
pub const BREAKER_LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Longest time that a broker may ask to be left alone; longer ones are cut to it.
pub const MAX_THROTTLE: Duration = Duration::from_secs(300);
/// How often whoever waits for somebody else's try at a broker looks what came of it.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Most messages a second that a rate limit can be set to.
pub const MAX_RATE: u32 = 1_000_000;
/// How often a relay looks for dead letters that are to be published again, and how often a relay or consumer counts its dead letters.
pub const DEAD_LETTER_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Most dead letters that are published again at once.
pub const DEAD_LETTERS_PER_RETRY: usize = 50;
/// How often a dead letter alert that lasts is told again.
pub const ALERT_REPEAT: Duration = Duration::from_secs(300);
/// How often a relay of the outbox looks for new messages when there were none.
pub const OUTBOX_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// For how long the relay of the outbox, or a process that publishes dead letters again, has its lease without a
/// heartbeat.
pub const RELAY_LEASE_TIME: Duration = Duration::from_secs(10);
/// Heartbeats in the time of one such lease.
pub const RELAY_HEARTBEATS_PER_LEASE: u32 = 4;
/// How often the relay of the outbox looks whether it is suspended.
pub const OUTBOX_CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a relay of the outbox that another process works for looks whether it may work.
pub const OUTBOX_LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the relay of the outbox has the outbox tidied, and counts what waits.
pub const OUTBOX_TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Upper bound of the first wait for a store that does not answer; it doubles with each failure.
pub const OUTBOX_FIRST_STORE_WAIT: Duration = Duration::from_millis(100);
/// Upper bound of every wait for a store that does not answer.
pub const OUTBOX_LONGEST_STORE_WAIT: Duration = Duration::from_secs(5);
/// How long a relay of the outbox that is shut down goes on with the batch under way before it drops it.
pub const OUTBOX_SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
