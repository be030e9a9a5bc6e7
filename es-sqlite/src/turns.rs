//! Which call uses the writer, and how long other calls wait for it.

use std::{
    borrow::Cow,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use es_core::StoreError;

use crate::{limits::MAX_WRITER_WAIT, waiting::wait_at_most};

/// The use of the writer, in words for an error: "the page of balance".
pub(crate) type Holder = Cow<'static, str>;

/// The current use of the writer, and the number of waiting calls.
pub(crate) struct Turns {
    state: Mutex<State>,
    waiting: AtomicUsize,
}

struct State {
    holder: Option<(Holder, Instant)>,
    /// When a holder that had made progress last released the writer.
    progressed_at: Instant,
}

/// The use of the writer, from its beginning to its end.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    was_stuck: bool,
}

/// Counts one more waiting call.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { holder: None, progressed_at: Instant::now() }), waiting: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a call is waiting for the writer.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Records the new holder of the writer.
    pub(crate) fn begin(self: &Arc<Self>, holder: Holder) -> Turn {
        self.lock().holder = Some((holder, Instant::now()));
        Turn { turns: Arc::clone(self), was_stuck: false }
    }

    /// Waits for the writer: as long as other calls make progress with it, and then for `patience`.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`], which names the holder, after `patience` without any progress, or after
    /// [`MAX_WRITER_WAIT`].
    pub(crate) async fn wait<T>(&self, patience: Duration, writer: impl Future<Output = T>) -> Result<T, StoreError> {
        let _waiting = Waiting::new(&self.waiting);
        let start = Instant::now();
        let end = start + MAX_WRITER_WAIT.max(patience);
        let mut writer = pin!(writer);
        loop {
            let left = self.until(start, patience, end).saturating_duration_since(Instant::now());
            if let Some(writer) = wait_at_most(left, writer.as_mut()).await {
                return Ok(writer);
            }
            if self.until(start, patience, end) <= Instant::now() {
                return Err(self.busy(start.elapsed()));
            }
        }
    }

    fn until(&self, start: Instant, patience: Duration, end: Instant) -> Instant {
        (self.lock().progressed_at.max(start) + patience).min(end)
    }

    fn busy(&self, waited: Duration) -> StoreError {
        let held = self.lock().holder.as_ref().map(|(holder, since)| (holder.clone(), since.elapsed()));
        let waiting_for = match held {
            Some((holder, time)) => format!(
                "{holder} in this process has held the store's only writer for {time:.1?}, and this call has waited for \
                 {waited:.1?}"
            ),
            None => format!("the store's only writer has not become free for {waited:.1?}"),
        };
        StoreError::Busy { waiting_for, source: None }
    }
}

impl Turn {
    /// Records that the transaction could not begin, so the waiting calls are no closer to their turn.
    pub(crate) fn was_stuck(&mut self) {
        self.was_stuck = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.holder = None;
        if !self.was_stuck {
            state.progressed_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_wait_lasts_as_long_as_others_get_something_done() {
        let turns = Arc::new(Turns::new());
        let mut done = 0;
        let turn_by_turn = async {
            while done < 10 {
                let turn = turns.begin("one of many".into());
                tokio::time::sleep(PATIENCE / 3).await;
                drop(turn);
                done += 1;
            }
        };
        assert!(turns.wait(PATIENCE, turn_by_turn).await.is_ok());
        assert_eq!(done, 10);
    }

    #[tokio::test]
    async fn who_holds_the_writer_without_an_end_is_named() {
        let turns = Arc::new(Turns::new());
        let _turn = turns.begin("a unit of work".into());
        let error = turns.wait(PATIENCE, std::future::pending::<()>()).await.unwrap_err();
        let StoreError::Busy { waiting_for, .. } = &error else { panic!("{error:?}") };
        assert!(waiting_for.starts_with("a unit of work in this process has held"), "{waiting_for}");
        assert!(!turns.are_waited_for());
    }

    #[tokio::test]
    async fn turns_that_could_not_begin_are_no_progress() {
        let turns = Arc::new(Turns::new());
        let mut stuck = 0;
        let without_success = async {
            loop {
                turns.begin("one of many".into()).was_stuck();
                stuck += 1;
                tokio::time::sleep(PATIENCE / 5).await;
            }
        };
        let waited = turns
            .wait(PATIENCE, async {
                let _: () = without_success.await;
            })
            .await;
        assert!(matches!(waited, Err(StoreError::Busy { .. })));
        assert!(stuck > 1);
    }
}
