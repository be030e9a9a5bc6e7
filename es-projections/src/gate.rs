//! What a consumer loop asks before each step: may it go on?

use std::sync::{Arc, OnceLock};

use es_core::{ConsumerName, Hold, RunnerStore, StoreError};
use tokio::sync::watch;

use crate::{
    board::{Board, Phase},
    page_step::StepFailure,
    stop::Stop,
};

/// Who is held back, as far as this runner knows: looked up for all consumers together, see
/// [`Attendant`](crate::attendant::Attendant).
pub(crate) struct Holds {
    store: Arc<dyn RunnerStore>,
    /// `None` if it is not known.
    known: watch::Sender<Option<Vec<Hold>>>,
}

impl Holds {
    pub(crate) fn new(store: Arc<dyn RunnerStore>) -> Self {
        Self { store, known: watch::Sender::new(None) }
    }

    /// Looks who is held back.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let holds = self.store.holds().await?;
        self.known.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&holds);
            if is_news {
                *known = Some(holds);
            }
            is_news
        });
        Ok(())
    }

    /// Does not trust what was known any more.
    pub(crate) fn forget(&self) {
        self.known.send_replace(None);
    }
}

/// How a consumer is held back, if it is. Of several holds the first one is shown.
pub(crate) fn hold_of(holds: &[Hold], consumer: &ConsumerName) -> Option<Hold> {
    holds.iter().find(|hold| hold.consumer.as_str() == consumer.base_text()).cloned()
}

/// What keeps a consumer from going on, besides itself.
pub(crate) struct Gate {
    consumer: ConsumerName,
    /// `None`: it is always open.
    holds: Option<Arc<Holds>>,
    /// Who must have caught up once before this one starts.
    after: OnceLock<(ConsumerName, Arc<Board>)>,
}

impl Gate {
    pub(crate) fn new(consumer: ConsumerName, holds: Arc<Holds>) -> Self {
        Self { consumer, holds: Some(holds), after: OnceLock::new() }
    }

    /// A gate that is always open.
    pub(crate) fn open(consumer: ConsumerName) -> Self {
        Self { consumer, holds: None, after: OnceLock::new() }
    }

    /// Opens only when another consumer has caught up once.
    pub(crate) fn start_after(&self, other: ConsumerName, board: Arc<Board>) {
        let _ = self.after.set((other, board));
    }

    /// Whom this one starts after.
    pub(crate) fn after(&self) -> Option<&ConsumerName> {
        self.after.get().map(|(other, _)| other)
    }

    /// Returns when the consumer may go on, or is asked to stop. One that does not follow the log does not wait.
    ///
    /// # Errors
    /// [`StepFailure::Held`] instead of waiting; the store's, if it is not known who is held back.
    pub(crate) async fn pass(&self, follows: bool, board: &Board, stop: &Stop) -> Result<(), StepFailure> {
        let Some(holds) = &self.holds else { return Ok(()) };
        let mut news = holds.known.subscribe();
        let mut was_held = false;
        loop {
            let known = news.borrow_and_update().as_ref().map(|holds| hold_of(holds, &self.consumer));
            match known {
                None => holds.refresh().await?,
                Some(Some(hold)) if !follows => return Err(StepFailure::Held(hold)),
                Some(Some(hold)) => {
                    if !was_held {
                        tracing::info!(kind = %hold.kind, by = hold.by, reason = hold.reason, "held back");
                    }
                    was_held = true;
                    board.set_phase(Phase::Held(hold));
                    tokio::select! {
                        _ = news.changed() => {}
                        () = stop.requested() => return Ok(()),
                    }
                }
                Some(None) => {
                    if was_held {
                        tracing::info!("not held back any more");
                        board.set_phase(Phase::CatchingUp);
                        was_held = false;
                    }
                    let Some((other, its_board)) = self.after.get().filter(|_| follows) else { return Ok(()) };
                    let mut has_caught_up = its_board.has_caught_up();
                    if *has_caught_up.borrow_and_update() {
                        return Ok(());
                    }
                    board.set_phase(Phase::WaitingForOther(other.clone()));
                    tokio::select! {
                        _ = has_caught_up.changed() => board.set_phase(Phase::CatchingUp),
                        _ = news.changed() => {}
                        () = stop.requested() => return Ok(()),
                    }
                }
            }
        }
    }
}
