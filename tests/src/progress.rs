//! Waiting for something without a limit in seconds for all of it: a busy machine takes longer, and a stall is still found.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Without any progress for so long, a test fails.
pub const STALL: Duration = Duration::from_secs(60);

/// What was seen of something that should get on.
#[derive(Debug)]
pub struct Progress<T> {
    seen: Option<T>,
    moved_at: Instant,
}

impl<T: PartialEq + Debug> Progress<T> {
    /// Nothing so far.
    #[expect(clippy::new_without_default, reason = "it begins now, which is not a default")]
    pub fn new() -> Self {
        Self { seen: None, moved_at: Instant::now() }
    }

    /// Notes what is seen now.
    ///
    /// # Panics
    /// If nothing else has been seen for [`STALL`].
    #[track_caller]
    pub fn note(&mut self, now: T) {
        self.note_or_explain(now, String::new);
    }

    /// Notes what is seen now. `explain` returns what else helps to understand a stall.
    ///
    /// # Panics
    /// If nothing else has been seen for [`STALL`].
    #[track_caller]
    pub fn note_or_explain(&mut self, now: T, explain: impl FnOnce() -> String) {
        if self.seen.as_ref() != Some(&now) {
            (self.seen, self.moved_at) = (Some(now), Instant::now());
        }
        assert!(self.moved_at.elapsed() < STALL, "no progress in {STALL:?}: {:?}\n{}", self.seen, explain());
    }
}
