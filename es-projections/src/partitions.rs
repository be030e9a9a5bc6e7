//! The partitions of a consumer: one loop for each, and new loops when their number changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use es_core::{Partition, Position};
use tokio::task::JoinSet;

use crate::{
    consumer::Consumer,
    consumer_loop::{ConsumerLoop, Ended},
    error::RunnerError,
    feed::Feed,
    goal::Goal,
    stop::{Stop, Stopper},
    tail::Tail,
    watchdog::Watched,
};

/// The loops of a consumer's other partitions, and the template for them.
pub(crate) struct Others {
    /// `None` for a consumer that has no other partitions.
    template: Option<Box<dyn Consumer>>,
    tail: Arc<Tail>,
    loops: Mutex<Vec<Arc<ConsumerLoop>>>,
    /// Held while the loops are recreated.
    laying_out: tokio::sync::Mutex<()>,
}

impl Others {
    pub(crate) fn new(consumer: &dyn Consumer, tail: Arc<Tail>) -> Self {
        Self {
            template: consumer.duplicate(),
            tail,
            loops: Mutex::default(),
            laying_out: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the loops of all partitions except the first.
    pub(crate) fn loops(&self) -> Vec<Arc<ConsumerLoop>> {
        self.lock().clone()
    }

    /// No code panics halfway through a change while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ConsumerLoop>>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerLoop {
    /// Continues with all partitions until the goal is reached or the failure policy gives up. Calls `on_advance` with
    /// each new position; with several partitions, this is the position of the one that is furthest behind.
    ///
    /// # Cancel safety
    /// If the future is dropped, each page has either been applied or not. A reactor may receive some events again.
    pub(crate) async fn drive(
        &self,
        goal: Goal,
        stop: Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
    ) -> Result<(), RunnerError> {
        let goal = match goal {
            Goal::Rebuild(end) => {
                self.drive_one(Goal::Clear, stop.clone(), on_advance).await?;
                Goal::Reach(end)
            }
            goal => goal,
        };
        loop {
            let others = self.others().loops();
            let ended = match others.is_empty() {
                true => self.drive_one(goal, stop.clone(), on_advance).await?,
                false => self.drive_all(others, goal, &stop, on_advance).await?,
            };
            match ended {
                Ended::OtherPartitionEpoch(count) if !stop.is_requested() => self.lay_out(count).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Drives the loops of several partitions until all have ended.
    async fn drive_all(
        &self,
        others: Vec<Arc<ConsumerLoop>>,
        goal: Goal,
        stop: &Stop,
        on_advance: &mut (dyn FnMut(Position) + Send),
    ) -> Result<Ended, RunnerError> {
        let (stopper, round) = Stopper::new();
        let mut tasks = JoinSet::new();
        for other in &others {
            let (other, round) = (Arc::clone(other), round.clone());
            tasks.spawn(async move { other.drive_one(goal, round, &mut |_| {}).await });
        }
        let mut on_own = |position: Position| {
            let slowest = others.iter().map(|other| *other.consumer_state().reached().borrow()).min();
            on_advance(slowest.map_or(position, |slowest| slowest.min(position)));
        };
        let mut own = std::pin::pin!(self.drive_one(goal, round, &mut on_own));
        let (mut result, mut is_own_done, mut is_stopping) = (Ok(Ended::Done), false, false);
        while !is_own_done || !tasks.is_empty() {
            let ended = tokio::select! {
                ended = &mut own, if !is_own_done => {
                    is_own_done = true;
                    ended
                }
                Some(ended) = tasks.join_next() => match ended {
                    Ok(ended) => ended,
                    // Handled like a panic of this loop itself; see `supervisor`.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => Ok(Ended::Done),
                },
                () = stop.requested(), if !is_stopping => {
                    is_stopping = true;
                    stopper.stop();
                    continue;
                }
            };
            match ended {
                Ok(Ended::Done) => {}
                // All loops start again, including those that stopped, because the event that stopped a loop may belong
                // to another partition now.
                Ok(other) => {
                    stopper.stop();
                    result = Ok(other);
                }
                Err(error) => {
                    if let Ok(Ended::Done) = result {
                        result = Err(error);
                    }
                }
            }
        }
        result
    }

    /// Creates the loops for a number of partitions. This loop runs the first partition.
    pub(crate) async fn lay_out(&self, count: u16) -> Result<(), RunnerError> {
        let others = self.others();
        let _laying_out = others.laying_out.lock().await;
        let no_others = || RunnerError::NoGenerations { consumer: self.name().base() };
        let duplicate = || others.template.as_ref().and_then(|consumer| consumer.duplicate()).ok_or_else(no_others);
        let feed = Arc::new(Feed::new(Arc::clone(&others.tail), duplicate()?));
        let mut all = Partition::all(count)?.into_iter();
        if let Some(first) = all.next() {
            self.steps().await.work_for(first, Arc::clone(&feed));
        }
        let mut loops = Vec::with_capacity(usize::from(count));
        for partition in all {
            loops.push(Arc::new(self.other(duplicate()?, partition, &feed)));
        }
        tracing::info!(consumer = %self.name(), partitions = count, "going on with these partitions");
        *others.lock() = loops;
        Ok(())
    }

    /// Returns this loop and those of the other partitions.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        let watched = |it: &Self| Watched { name: it.name().clone(), consumer_state: Arc::clone(it.consumer_state()) };
        let others = self.others().loops();
        std::iter::once(watched(self)).chain(others.iter().map(|other| watched(other))).collect()
    }
}
