//! All limits of this crate, by name. Limits of events, pages, and documents are in [`es_core::limits`].

use std::time::Duration;

/// How long a consumer or subscription that has caught up waits for a wakeup before it looks for new events. Also how
/// often [`Runner::wait_for`](crate::Runner::wait_for) checks the checkpoint of a consumer that runs in another
/// process.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The default number of retries of a failing event before its consumer stops.
pub const DEFAULT_RETRIES: u32 = 10;
/// The maximum number of retries of a [`FailurePolicy`](crate::FailurePolicy).
pub const MAX_RETRIES: u32 = 1_000;
/// The default maximum number of parked keys of one consumer before it stops.
pub const DEFAULT_PARKED_KEYS: u64 = 100;
/// The maximum number of parked keys that a [`FailurePolicy`](crate::FailurePolicy) can allow.
pub const MAX_PARKED_KEYS: u64 = 10_000;
/// How often a running consumer with parked keys checks for retry requests.
pub const RETRY_REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of parked events that are retried between two pages, and that one call reads.
pub const PARKED_EVENTS_PER_STEP: usize = 100;
/// How often the requester of a retry checks for the outcome.
pub const RETRY_OUTCOME_INTERVAL: Duration = Duration::from_millis(100);
/// The default upper bound of the first wait between two attempts.
pub const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The default upper bound of every wait between two attempts.
pub const DEFAULT_BACKOFF_CAP: Duration = Duration::from_secs(30);
/// The longest wait between two attempts that a [`Backoff`](crate::Backoff) accepts. Longer waits are reduced to it.
pub const MAX_BACKOFF: Duration = Duration::from_secs(3_600);
/// The upper bound of the first wait after another runner moved the checkpoint. It doubles with each successive move.
pub const FIRST_YIELD: Duration = Duration::from_millis(5);
/// The upper bound of every wait after another runner moved the checkpoint.
pub const MAX_YIELD: Duration = Duration::from_secs(1);
/// How often an idle consumer checks that its checkpoint has not moved.
pub const CHECKPOINT_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The default time for which a runner holds the lease of a consumer without a heartbeat; see
/// [`RunnerBuilder::lease_time`](crate::RunnerBuilder::lease_time). After a crash, other processes wait this long.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// The shortest lease time.
pub const MIN_LEASE_TIME: Duration = Duration::from_millis(300);
/// The longest lease time.
pub const MAX_LEASE_TIME: Duration = Duration::from_secs(600);
/// The number of heartbeats that a runner sends per lease time.
pub const HEARTBEATS_PER_LEASE: u32 = 4;
/// How often a consumer that runs in another process checks whether it can run here.
pub const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How often a runner checks which consumers are suspended, for all its consumers together. A pause is noticed after at
/// most this time, plus the current page.
pub const CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// The default time limit of a handler for a page of events (of a reactor, for one event).
pub const DEFAULT_HANDLER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a runner looks for consumers that neither advance nor report anything.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The time without a heartbeat after which a runner asks the store what a consumer waits for, and how often it asks
/// again.
pub const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(2);
/// The time without a heartbeat after which a runner logs a warning about a consumer.
pub const SLOW_PAGE: Duration = Duration::from_secs(5);
/// The time without a heartbeat after which a consumer counts as [stalled](crate::Verdict::Stalled).
pub const STALLED_AFTER: Duration = Duration::from_secs(30);
/// The number of consecutive restarts of a consumer whose task ended unexpectedly, before it stops.
pub const TASK_RESTARTS: u32 = 5;
/// The upper bound of the first wait before a consumer is restarted.
pub const FIRST_RESTART_WAIT: Duration = Duration::from_millis(500);
/// The upper bound of every wait before a consumer is restarted.
pub const MAX_RESTART_WAIT: Duration = Duration::from_secs(10);
/// The running time after which a consumer has all its restarts available again.
pub const RESTARTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How often a consumer that waits for a generation of its code's version checks whether one is live.
pub const VERSION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a builder owns a generation without renewing its lease. After a crash, another builder can take over the
/// build after at most this time.
pub const REBUILD_LEASE: Duration = Duration::from_secs(30);
/// How often a builder renews its lease.
pub const REBUILD_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of events in one page of a generation that is not live yet.
pub const MOST_EVENTS_PER_REBUILD_PAGE: usize = es_core::limits::MAX_PAGE_EVENTS;
/// The number of attempts of a swap or drop while readers block it.
pub const SWAP_ATTEMPTS: u32 = 20;
/// The upper bound of the first wait between two of these attempts. It doubles with each attempt.
pub const FIRST_SWAP_WAIT: Duration = Duration::from_millis(10);
/// The upper bound of every wait between two of these attempts.
pub const MAX_SWAP_WAIT: Duration = Duration::from_secs(1);
/// The number of swap attempts while the live generation runs. If the live generation is still ahead after the last
/// one, it is held for the last pages.
pub const SWAP_CHASES: u32 = 3;
/// How long a swap holds the live generation without renewing its leases. After a crash, the live generation stands
/// still for at most this time.
pub const SWAP_HOLD_LEASE: Duration = Duration::from_secs(10);
/// The maximum time for which a swap holds the live generation. After that, the swap fails and the live generation
/// continues.
pub const MAX_SWAP_HOLD: Duration = Duration::from_secs(300);
/// How often a rebuild checks whether the partitions of the live generation have been merged into one.
pub const GATHERING_INTERVAL: Duration = Duration::from_millis(50);
/// The time without progress of the live generation after which a rebuild stops waiting for its partitions to merge.
pub const GATHERING_STALL: Duration = Duration::from_secs(60);
/// The maximum number of differing rows that a comparison lists.
pub const MAX_LISTED_DIFFERENCES: usize = 20;
/// The maximum number of columns for which a comparison counts differing rows, and that it lists for one row.
pub const MAX_LISTED_COLUMNS: usize = 100;
/// The number of characters of a long row or value that a comparison shows before the first difference.
pub const SHOWN_CHARS_BEFORE_A_DIFFERENCE: usize = 40;
/// The maximum number of characters of a row that a comparison shows.
pub const MAX_SHOWN_ROW_CHARS: usize = 200;
/// The maximum number of bytes of rows that are kept in memory while a read model is rebuilt in place. For a larger
/// read model, ranges of rows are kept instead.
pub const MAX_DUMP_BYTES: usize = 16 * 1_024 * 1_024;
/// The maximum number of ranges of rows that are kept in memory while a read model is rebuilt in place. Beyond that,
/// the ranges become longer.
pub const MAX_DUMP_RANGES: usize = 16_384;

/// The maximum number of events that a reactor handles before it saves its checkpoint. At most this many are repeated
/// after a crash.
pub const REACTIONS_PER_CHECKPOINT: usize = 100;
/// The longest time between two checkpoints of a reactor, measured between events.
pub const REACTOR_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time for which a running consumer does not save that it scanned events that it does not want. It then
/// saves its checkpoint, or earlier with the next wanted event.
pub const SCAN_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of positions without a wanted event that a running consumer scans before it saves its checkpoint.
pub const SCAN_CHECKPOINT_POSITIONS: u64 = 10_000;

/// The maximum number of pages that a process keeps for the partitions of a consumer. A partition that is further
/// behind reads the log itself.
pub const PAGES_PER_FEED: usize = 8;
/// The number of events in a consumer's first page, unless its options allow only fewer.
pub const FIRST_PAGE_EVENTS: usize = es_core::limits::DEFAULT_PAGE_EVENTS;
/// The default maximum number of events in one page. Pages grow to this size while they are fast.
pub const MOST_EVENTS_PER_PAGE: usize = 2_000;
/// The target for how long a page holds the store's transaction. After a page that took longer, the next page has
/// proportionally fewer events. After a page that took at most half of this time, the next page can have twice as many.
pub const TARGET_PAGE_TIME: Duration = Duration::from_millis(100);

/// The maximum number of documents of a view that one page can affect, unless a single event affects more. Larger pages
/// are halved.
pub const MAX_DOCUMENTS_PER_PAGE: usize = es_core::limits::MAX_DOCUMENTS_PER_READ;
/// The number of documents of a view that one statement loads. A page of ordinary size needs one statement.
pub const DOCUMENTS_PER_READ: usize = MOST_EVENTS_PER_PAGE;
/// The maximum number of bytes of documents that one page can load, unless a single event needs more. Larger pages are
/// halved.
pub const MAX_DOCUMENT_BYTES_PER_PAGE: usize = 64 * 1_024 * 1_024;

/// The number of seconds over which a consumer's rate is measured.
pub const RATE_WINDOW_SECONDS: u64 = 10;
/// The time after which a reactor asks the database again whether an event is still in the log. The check is needed
/// because a reactor's effects cannot be undone.
pub const REACTOR_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// The number of consecutive times that a consumer starts again from its stored checkpoint because the log went back.
/// After that, it stops.
pub const MAX_RETURNS: u32 = 10;
