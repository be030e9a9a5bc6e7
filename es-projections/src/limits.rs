//! Every bound of this crate, by name. Those of events, pages and documents are in [`es_core::limits`].

use std::time::Duration;

/// How long a consumer or subscription that is caught up waits before it looks for new events, if no hint comes first. Also how often
/// [`Runner::wait_for`](crate::Runner::wait_for) looks at the checkpoint of a consumer that runs elsewhere.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often a failing event is tried again before its consumer stops, unless its options say otherwise.
pub const DEFAULT_RETRIES: u32 = 10;
/// Most retries that a [`FailurePolicy`](crate::FailurePolicy) may ask for.
pub const MAX_RETRIES: u32 = 1_000;
/// Most keys of one consumer that may be parked before it stops, unless its policy says otherwise.
pub const DEFAULT_PARKED_KEYS: u64 = 100;
/// Most parked keys that a [`FailurePolicy`](crate::FailurePolicy) may allow.
pub const MAX_PARKED_KEYS: u64 = 10_000;
/// How often a running consumer that has parked keys looks whether somebody wants one to be tried again.
pub const RETRY_REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// Most parked events that are tried again between two pages, and that one call reads.
pub const PARKED_EVENTS_PER_STEP: usize = 100;
/// How often the requester of a retry looks what came of it.
pub const RETRY_OUTCOME_INTERVAL: Duration = Duration::from_millis(100);
/// Upper bound of the first wait between two attempts, unless the policy says otherwise.
pub const DEFAULT_FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Upper bound of every wait between two attempts, unless the policy says otherwise.
pub const DEFAULT_BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Longest wait between two attempts that a [`Backoff`](crate::Backoff) accepts; longer ones are cut to it.
pub const MAX_BACKOFF: Duration = Duration::from_secs(3_600);
/// Upper bound of the first wait after another runner moved the checkpoint. It doubles with each time in a row.
pub const FIRST_YIELD: Duration = Duration::from_millis(5);
/// Upper bound of every wait after another runner moved the checkpoint.
pub const MAX_YIELD: Duration = Duration::from_secs(1);
/// How often an idle consumer looks whether its checkpoint is still where it left it.
pub const CHECKPOINT_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// For how long a runner has the lease of a consumer without a heartbeat, unless
/// [`RunnerBuilder::lease_time`](crate::RunnerBuilder::lease_time) says otherwise. After a crash others wait so long.
pub const LEASE_TIME: Duration = Duration::from_secs(10);
/// Shortest time of a lease that can be asked for.
pub const MIN_LEASE_TIME: Duration = Duration::from_millis(300);
/// Longest time of a lease that can be asked for.
pub const MAX_LEASE_TIME: Duration = Duration::from_secs(600);
/// Heartbeats that a runner sends in the time of one lease.
pub const HEARTBEATS_PER_LEASE: u32 = 4;
/// How often a consumer that another process works for looks whether it may work.
pub const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How often a runner looks which consumers are suspended, for all its consumers together: so long at most a pause
/// takes to be noticed, besides the page that is under way.
pub const CONTROL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a handler may take for a page of events (of a reactor: for one event), unless its options say otherwise.
pub const DEFAULT_HANDLER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a runner looks for consumers that do not advance and say nothing.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// After how long without a heartbeat the store is asked for whom a consumer waits, and how often it is asked again.
pub const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(2);
/// After how long without a heartbeat a consumer is warned of in the log.
pub const SLOW_PAGE: Duration = Duration::from_secs(5);
/// After how long without a heartbeat a consumer counts as [stalled](crate::Verdict::Stalled).
pub const STALLED_AFTER: Duration = Duration::from_secs(30);
/// How often in a row a consumer whose task ended unexpectedly is started again before it stops.
pub const TASK_RESTARTS: u32 = 5;
/// Upper bound of the first wait before a consumer is started again.
pub const FIRST_RESTART_WAIT: Duration = Duration::from_millis(500);
/// Upper bound of every wait before a consumer is started again.
pub const MAX_RESTART_WAIT: Duration = Duration::from_secs(10);
/// A consumer that ran for so long begins with all its restarts again.
pub const RESTARTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How often a consumer that waits for a generation of its code to become live looks for one.
pub const VERSION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// For how long a builder of a generation has it to itself, unless it renews the hold: so long at most after a crash,
/// somebody else can take the build over.
pub const REBUILD_LEASE: Duration = Duration::from_secs(30);
/// How often a builder says that it goes on.
pub const REBUILD_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Most events in one page of a generation that nobody reads yet.
pub const MOST_EVENTS_PER_REBUILD_PAGE: usize = es_core::limits::MAX_PAGE_EVENTS;
/// How often a swap or a drop is tried while readers do not let go of a generation.
pub const SWAP_ATTEMPTS: u32 = 20;
/// Upper bound of the first wait between two of these attempts. It doubles with each.
pub const FIRST_SWAP_WAIT: Duration = Duration::from_millis(10);
/// Upper bound of every wait between two of these attempts.
pub const MAX_SWAP_WAIT: Duration = Duration::from_secs(1);
/// How often a swap is tried while the live generation runs. If that is ahead by a page or less each time, it is held for the
/// last pages.
pub const SWAP_CHASES: u32 = 3;
/// For how long a swap holds the live generation, unless it renews the hold: so long at most after a crash, the live one
/// stands still.
pub const SWAP_HOLD_LEASE: Duration = Duration::from_secs(10);
/// For how long at most a swap holds the live generation. Then it fails, and the live one continues.
pub const MAX_SWAP_HOLD: Duration = Duration::from_secs(300);
/// How often a rebuild looks whether the partitions of the live generation have come together.
pub const GATHERING_INTERVAL: Duration = Duration::from_millis(50);
/// After how long without any progress of the live generation a rebuild no longer waits for its partitions to come together.
pub const GATHERING_STALL: Duration = Duration::from_secs(60);
/// Most differing rows that a comparison lists.
pub const MAX_LISTED_DIFFERENCES: usize = 20;
/// Most columns that a comparison counts differing rows of, and that it lists of one row.
pub const MAX_LISTED_COLUMNS: usize = 100;
/// How many characters of a long row or value a comparison shows before the place where it differs.
pub const SHOWN_CHARS_BEFORE_A_DIFFERENCE: usize = 40;
/// Most characters of a row that a comparison shows.
pub const MAX_SHOWN_ROW_CHARS: usize = 200;
/// Most bytes of rows that are remembered of a read model while it is rebuilt in place. Of a larger one ranges of rows are.
pub const MAX_DUMP_BYTES: usize = 16 * 1_024 * 1_024;
/// Most ranges of rows that are remembered of a read model while it is rebuilt in place; they have the more rows.
pub const MAX_DUMP_RANGES: usize = 16_384;

/// Most events that a reactor reacts to before it saves its checkpoint: so many at most are given again after a crash.
pub const REACTIONS_PER_CHECKPOINT: usize = 100;
/// Longest time that a reactor goes on between two events without saving its checkpoint.
pub const REACTOR_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time for which a running consumer keeps to itself that it looked at events it did not want. Its checkpoint
/// is saved then, or with the next event that it does want.
pub const SCAN_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Most positions that a running consumer looks at without an event it wants before it saves its checkpoint.
pub const SCAN_CHECKPOINT_POSITIONS: u64 = 10_000;

/// Most pages that the partitions of a consumer are served from, in one process. One that is further behind reads for itself.
pub const PAGES_PER_FEED: usize = 8;
/// Events in a consumer's first page, unless its options ask for less.
pub const FIRST_PAGE_EVENTS: usize = es_core::limits::DEFAULT_PAGE_EVENTS;
/// Most events in one page, unless a consumer's options say otherwise: pages grow to it while they are quick.
pub const MOST_EVENTS_PER_PAGE: usize = 2_000;
/// For how long a page should hold the store's transaction at most. The next page after one that took longer has fewer
/// events, in proportion; after one that took less than half of it, twice as many.
pub const TARGET_PAGE_TIME: Duration = Duration::from_millis(100);

/// Most documents of a view that one page may concern, unless a single event does. Larger pages are halved.
pub const MAX_DOCUMENTS_PER_PAGE: usize = es_core::limits::MAX_DOCUMENTS_PER_READ;
/// Documents of a view that one statement loads. A page of ordinary size needs one.
pub const DOCUMENTS_PER_READ: usize = MOST_EVENTS_PER_PAGE;
/// Most bytes of documents that one page may load, unless a single event does. Larger pages are halved.
pub const MAX_DOCUMENT_BYTES_PER_PAGE: usize = 64 * 1_024 * 1_024;

/// Over how many seconds a consumer's rate is measured.
pub const RATE_WINDOW_SECONDS: u64 = 10;
/// A reactor asks the database whether an event is still in the log if it has not done so for this long: what it does cannot be taken
/// back.
pub const REACTOR_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How often in a row a consumer begins again at its stored checkpoint because the log went back. Then it stops.
pub const MAX_RETURNS: u32 = 10;
