//! Every bound of this crate, by name. Those of events, pages and documents are in [`es_core::limits`].

use std::time::Duration;

/// How often a store that only reads checks whether its path still names the file that it has open. A store that writes
/// checks before each transaction.
pub const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Most writes of this process that share one commit; appends that were gathered for one transaction count as one.
pub const MAX_WRITES_PER_COMMIT: usize = 256;
/// For how long writes are added to a commit that is shared: so long, and the time of one write, at most the first of
/// them waits longer than it would by itself.
pub const MAX_SHARED_COMMIT_TIME: Duration = Duration::from_millis(25);
/// Longest wait for the writer while others get something done with it, unless the busy timeout is longer.
pub const MAX_WRITER_WAIT: Duration = Duration::from_secs(60);
/// For how long the handler of a page of several events may keep the writer from others that wait for it. It is stopped
/// then, and its page is rolled back; a runner tries half as many events next.
pub const MAX_PAGE_TIME: Duration = Duration::from_secs(2);
/// How often a handler that takes longer is looked at: whether others wait by now.
pub const PAGE_TIME_CHECK_INTERVAL: Duration = Duration::from_millis(100);
