//! All limits of this crate, by name. The limits of events, pages, and documents are in [`es_core::limits`].

use std::time::Duration;

/// How often a store that only reads checks whether its path still refers to the file that it has open. A store that
/// writes checks before each transaction.
pub const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Maximum number of writes of this process that share one commit. Appends that were collected for one transaction
/// count as one.
pub const MAX_WRITES_PER_COMMIT: usize = 256;
/// How long writes are added to a shared commit. The first of them waits at most this time, plus the time of one write,
/// longer than it would alone.
pub const MAX_SHARED_COMMIT_TIME: Duration = Duration::from_millis(25);
/// Maximum wait for the writer while other calls make progress with it, unless the busy timeout is longer.
pub const MAX_WRITER_WAIT: Duration = Duration::from_secs(60);
/// How long the handler of a page of several events may hold the writer while other calls wait for it. After that time
/// it is stopped, and its page is rolled back. A runner then tries half as many events.
pub const MAX_PAGE_TIME: Duration = Duration::from_secs(2);
/// How often a handler that takes longer is checked for whether other calls wait by now.
pub const PAGE_TIME_CHECK_INTERVAL: Duration = Duration::from_millis(100);
