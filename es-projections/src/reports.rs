//! What a runner says about its consumers, and how one waits for them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use es_core::{Checkpoint, ConsumerName, GenerationState, Hold, ParkedTotals, Partition, Position};
use tokio::time::{sleep, timeout};

use crate::{
    board::Snapshot,
    consumer_loop::ConsumerLoop,
    error::RunnerError,
    gate::hold_of,
    limits,
    rebuild_status::RebuildStatus,
    runner::Runner,
    status::{ConsumerKind, ConsumerState, ConsumerStatus, PartitionStatus},
};

impl Runner {
    /// Where every consumer stands, in the order in which they were added. Costs three calls of the store, and one more for each
    /// view and projection.
    ///
    /// # Errors
    /// [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn status(&self) -> Result<Vec<ConsumerStatus>, RunnerError> {
        let mut checkpoints: HashMap<ConsumerName, Checkpoint> = HashMap::new();
        for checkpoint in self.shared.store.checkpoints().await? {
            checkpoints.insert(checkpoint.consumer.clone(), checkpoint);
        }
        let parked: HashMap<_, _> = self.shared.store.parked_totals().await?.into_iter().collect();
        let holds = self.shared.store.holds().await?;
        // Read after the checkpoints, so that none of them is beyond it.
        let head = self.shared.store.head().await?;
        let mut all = Vec::with_capacity(self.shared.loops.len());
        for consumer in &self.shared.loops {
            let generations = match consumer.kind() {
                ConsumerKind::Reactor => Vec::new(),
                _ => self.shared.store.generations(consumer.name()).await?,
            };
            let live = generations.iter().find(|info| info.state == GenerationState::Live);
            let live = live.map_or(consumer.name(), |live| &live.name);
            let mut own: Vec<&Checkpoint> =
                checkpoints.values().filter(|known| known.consumer.whole() == *live).collect();
            own.sort_by_key(|known| known.consumer.partition());
            let parked = parked.get(live).copied().unwrap_or_default();
            let mut status = status_of(consumer, &own, parked, head, hold_of(&holds, consumer.name()));
            status.rebuild = RebuildStatus::of(&generations, |name| checkpoints.get(name), head);
            all.push(status);
        }
        Ok(all)
    }

    /// The rebuilds beside the live read models of this runner's consumers, whoever runs them, and what they left: the `rebuild` of
    /// every [`status`](Self::status).
    ///
    /// # Errors
    /// [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn rebuilds(&self) -> Result<Vec<RebuildStatus>, RunnerError> {
        Ok(self.status().await?.into_iter().filter_map(|status| status.rebuild).collect())
    }

    /// Returns when everything up to a position has taken effect, or is parked: a reader that has just written passes the
    /// `last_position` of its append and then sees its own writes.
    ///
    /// Where this runner is running the consumer, it is woken without asking the store. The checkpoint of a consumer that runs
    /// elsewhere is looked at every [`limits::POLL_INTERVAL`].
    ///
    /// # Errors
    /// [`RunnerError::WaitTimeout`] with how far it has come, and why not further.
    /// [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the name.
    /// [`RunnerError::Store`] if a checkpoint could not be read.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn wait_for(&self, consumer: &str, position: Position, time: Duration) -> Result<(), RunnerError> {
        let name = ConsumerName::new(consumer)?;
        let local = self.shared.loops.iter().find(|local| *local.name() == name);
        if local.is_none() && self.shared.store.partitions(&self.live_name(&name).await?).await?.is_empty() {
            return Err(self.unknown(consumer));
        }
        let mut reached = Position::ZERO;
        let waiting = async {
            match local {
                Some(local) => loop {
                    let others = local.others().loops();
                    self.wait_here_or_elsewhere(local, position, &mut reached).await?;
                    for other in &others {
                        self.wait_here_or_elsewhere(other, position, &mut reached).await?;
                    }
                    // The partitions may have changed meanwhile.
                    let now = local.others().loops();
                    if now.len() == others.len() && now.iter().zip(&others).all(|(now, other)| Arc::ptr_eq(now, other))
                    {
                        return Ok(());
                    }
                },
                None => loop {
                    reached = self.stored(&name).await?;
                    if reached >= position {
                        return Ok(());
                    }
                    sleep(limits::POLL_INTERVAL).await;
                },
            }
        };
        if let Ok(result) = timeout(time, waiting).await {
            return result;
        }
        let state = match local {
            Some(local) => said_by_all(local).0.state,
            None => ConsumerState::NotRunning,
        };
        Err(RunnerError::WaitTimeout { consumer: name, position, reached, waited: time, state: Box::new(state) })
    }

    async fn wait_here_or_elsewhere(
        &self,
        consumer: &ConsumerLoop,
        position: Position,
        reached: &mut Position,
    ) -> Result<(), RunnerError> {
        let mut news = consumer.board().reached();
        loop {
            // In this order, so that what an earlier loop reached is not taken for this one's, and no news is missed.
            let is_running = consumer.board().is_running();
            let here = *news.borrow_and_update();
            *reached = if is_running { here } else { self.stored(&consumer.name().base()).await? };
            if *reached >= position {
                return Ok(());
            }
            tokio::select! {
                _ = news.changed() => {}
                () = sleep(limits::POLL_INTERVAL) => {}
            }
        }
    }

    /// Up to where every partition of a consumer has come.
    async fn stored(&self, consumer: &ConsumerName) -> Result<Position, RunnerError> {
        let all = self.shared.store.partitions(&self.live_name(consumer).await?).await?;
        Ok(all.iter().map(|reached| reached.position).min().unwrap_or_default())
    }
}

/// What the loop of a consumer says that has most to say, and what each says of several.
fn said_by_all(consumer: &ConsumerLoop) -> (Snapshot, Vec<Snapshot>) {
    let mut all: Vec<Snapshot> = consumer.attended().iter().map(|it| it.board.snapshot()).collect();
    let weight = |said: &Snapshot| match said.state {
        ConsumerState::RunsElsewhere { .. } => 0,
        ConsumerState::CaughtUp => 1,
        ConsumerState::CatchingUp => 2,
        ConsumerState::NotRunning => 3,
        _ => 4,
    };
    let worst = all.iter().enumerate().max_by_key(|(index, said)| (weight(said), std::cmp::Reverse(*index)));
    let mut worst = worst.map(|(_, said)| said.clone()).unwrap_or_else(|| consumer.board().snapshot());
    worst.rate_per_second = all.iter().map(|said| said.rate_per_second).sum();
    worst.moved_by_others = all.iter().map(|said| said.moved_by_others).sum();
    if all.len() == 1 {
        all.clear();
    }
    (worst, all)
}

fn status_of(
    consumer: &ConsumerLoop,
    checkpoints: &[&Checkpoint],
    parked: ParkedTotals,
    head: Position,
    hold: Option<Hold>,
) -> ConsumerStatus {
    let (said, said_by_each) = said_by_all(consumer);
    // A loop may have looked at more than it has saved, if it found nothing it wants there.
    let reached = |stored: Position, said: Option<&Snapshot>| match said.and_then(|said| said.place) {
        Some(place) if place.stored == stored => place.scanned.min(head).max(stored),
        _ => stored,
    };
    let of_each = checkpoints.iter().enumerate().map(|(index, checkpoint)| {
        let said = if said_by_each.is_empty() { Some(&said) } else { said_by_each.get(index) };
        reached(checkpoint.position, said)
    });
    let of_each: Vec<Position> = of_each.collect();
    let position = of_each.iter().copied().min().unwrap_or_default();
    let mut states = said_by_each.iter().map(|said| said.state.clone());
    let partitions = match checkpoints {
        [_, _, ..] => {
            let partition = |(checkpoint, &position): (&&Checkpoint, &Position)| PartitionStatus {
                partition: checkpoint.consumer.partition().unwrap_or(Partition::WHOLE),
                position,
                lag: head.distance_from(position),
                state: states.next().unwrap_or(ConsumerState::NotRunning),
            };
            checkpoints.iter().zip(&of_each).map(partition).collect()
        }
        _ => Vec::new(),
    };
    ConsumerStatus {
        name: consumer.name().clone(),
        kind: consumer.kind(),
        position,
        head,
        lag: head.distance_from(position),
        rate_per_second: said.rate_per_second,
        state: match hold {
            Some(hold) if !matches!(said.state, ConsumerState::Stopped { .. } | ConsumerState::ParkedLimit { .. }) => {
                hold.into()
            }
            _ => said.state,
        },
        applying_for: said.applying_for,
        silent_for: said.silent_for,
        last_error: said.last_error,
        moved_by_others: said.moved_by_others,
        parked,
        partitions,
        updated_at: checkpoints.iter().map(|checkpoint| checkpoint.updated_at).max(),
        rebuild: None,
    }
}
