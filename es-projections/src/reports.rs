//! The status of a runner's consumers, and waiting for a position.

use std::{collections::HashMap, sync::Arc, time::Duration};

use es_core::{
    Bookmark, Checkpoint, ConsumerName, GenerationState, LeaseHolder, ParkedTotals, Partition, Position, StoreError,
    Suspension,
};
use tokio::time::{sleep, timeout};

use crate::{
    consumer_loop::ConsumerLoop,
    consumer_state::Snapshot,
    error::RunnerError,
    limits,
    rebuild_status::RebuildStatus,
    runner::Runner,
    status::{ConsumerKind, ConsumerState, ConsumerStatus, PartitionStatus},
    suspension_check::suspension_of,
};

impl Runner {
    /// Returns the status of every consumer, in the order in which they were added. It makes five calls to the store,
    /// and one more for each view and projection.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn status(&self) -> Result<Vec<ConsumerStatus>, RunnerError> {
        let mut checkpoints: HashMap<ConsumerName, Checkpoint> = HashMap::new();
        for checkpoint in self.shared.store.checkpoints().await? {
            checkpoints.insert(checkpoint.consumer.clone(), checkpoint);
        }
        let parked: HashMap<_, _> = self.shared.store.parked_totals().await?.into_iter().collect();
        let suspensions = self.shared.store.suspensions().await?;
        let leases: HashMap<_, _> = self.shared.store.leases().await?.into_iter().collect();
        // Read after the checkpoints, so that no checkpoint is beyond it.
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
                checkpoints.values().filter(|known| known.consumer.unpartitioned() == *live).collect();
            own.sort_by_key(|known| known.consumer.partition());
            let parked = parked.get(live).copied().unwrap_or_default();
            let suspension = suspension_of(&suspensions, consumer.name());
            let stored =
                Stored { parked, head, suspension, leases: &leases, member: self.shared.member_session.member() };
            let mut status = status_of(consumer, live, &own, &stored);
            status.rebuild = RebuildStatus::of(&generations, |name| checkpoints.get(name), head);
            all.push(status);
        }
        Ok(all)
    }

    /// Returns the rebuilds beside the live read models of this runner's consumers, in any process, and the generations
    /// that they left. These are the `rebuild` fields of [`status`](Self::status).
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn rebuilds(&self) -> Result<Vec<RebuildStatus>, RunnerError> {
        Ok(self.status().await?.into_iter().filter_map(|status| status.rebuild).collect())
    }

    /// Waits until all events up to a place in the log have taken effect or are parked. To read its own writes, a
    /// caller passes the [`bookmark`](es_core::Appended::bookmark) of its append. A position also works, but it does
    /// not detect that the log went back and now holds another event there.
    ///
    /// If this runner runs the consumer, the wait does not access the store. If the consumer runs in another process,
    /// this method checks its checkpoint every [`limits::POLL_INTERVAL`].
    ///
    /// # Errors
    /// - [`RunnerError::WriteLost`] if the log does not hold the event that the bookmark names.
    /// - [`RunnerError::WaitTimeout`] if the time is up. The error contains the position that the consumer has reached,
    ///   and its state.
    /// - [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the name.
    /// - [`RunnerError::Store`] if a checkpoint could not be read.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn wait_for(
        &self,
        consumer: &str,
        place: impl Into<Bookmark>,
        time: Duration,
    ) -> Result<(), RunnerError> {
        let place = place.into();
        let waited = self.wait_for_position(consumer, place.position(), time).await;
        // Also checked after a timeout, because a lost write explains the timeout.
        if let (Some(_), Ok(()) | Err(RunnerError::WaitTimeout { .. })) = (place.event_id(), &waited) {
            self.shared.store.verify(place).await.map_err(|error| match error {
                StoreError::LogWentBack { .. } => RunnerError::WriteLost { place, source: Arc::new(error) },
                error => error.into(),
            })?;
        }
        waited
    }

    async fn wait_for_position(&self, consumer: &str, position: Position, time: Duration) -> Result<(), RunnerError> {
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
                    // The partitions may have changed during the wait.
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
            // If the store does not answer now, the state known in this process has to suffice.
            Some(local) => match self.status().await {
                Ok(all) => all.into_iter().find(|status| status.name == name).map(|status| status.state),
                Err(_) => Some(local.consumer_state().snapshot().state),
            },
            None => None,
        };
        let state = state.unwrap_or(ConsumerState::NotRunning);
        Err(RunnerError::WaitTimeout { consumer: name, position, reached, waited: time, state: Box::new(state) })
    }

    async fn wait_here_or_elsewhere(
        &self,
        consumer: &ConsumerLoop,
        position: Position,
        reached: &mut Position,
    ) -> Result<(), RunnerError> {
        let mut news = consumer.consumer_state().reached();
        loop {
            // This order ensures that the position of an earlier loop is not attributed to this one, and that no news
            // is missed.
            let is_running = consumer.consumer_state().is_running();
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

    /// Returns the position that every partition of a consumer has reached.
    async fn stored(&self, consumer: &ConsumerName) -> Result<Position, RunnerError> {
        let all = self.shared.store.partitions(&self.live_name(consumer).await?).await?;
        Ok(all.iter().map(|reached| reached.position).min().unwrap_or_default())
    }
}

/// Returns what the loops of a consumer report, one for each partition.
fn said_by_each(consumer: &ConsumerLoop) -> Vec<Snapshot> {
    consumer.watched().iter().map(|it| it.consumer_state.snapshot()).collect()
}

/// Returns how important a state is, for a consumer with the given lag. Of several partitions, the state with the
/// greatest weight is shown.
fn weight(state: &ConsumerState, lag: u64) -> u32 {
    match state {
        ConsumerState::CaughtUp => 0,
        ConsumerState::RunsElsewhere { .. } if lag == 0 => 1,
        ConsumerState::CatchingUp => 2,
        ConsumerState::RunsElsewhere { .. } => 3,
        ConsumerState::NotRunning => 4,
        _ => 5,
    }
}

/// What the store knows about a consumer, in addition to its checkpoints.
struct Stored<'a> {
    parked: ParkedTotals,
    head: Position,
    suspension: Option<Suspension>,
    leases: &'a HashMap<ConsumerName, LeaseHolder>,
    /// The member name of this runner.
    member: &'a str,
}

impl Stored<'_> {
    /// Returns what a partition is doing according to its loop in this process or, if none runs here, according to its
    /// lease.
    fn state_of(&self, partition: &ConsumerName, said: Option<&Snapshot>) -> (ConsumerState, Option<LeaseHolder>) {
        let holder = self.leases.get(partition);
        let state = said.map_or(ConsumerState::NotRunning, |said| said.state.clone());
        let state = match (state, holder) {
            (ConsumerState::NotRunning, Some(holder)) if holder.owner != self.member => {
                ConsumerState::RunsElsewhere { by: holder.owner.clone() }
            }
            (state, _) => state,
        };
        (state, holder.cloned())
    }
}

fn status_of(
    consumer: &ConsumerLoop,
    live: &ConsumerName,
    checkpoints: &[&Checkpoint],
    stored: &Stored,
) -> ConsumerStatus {
    let said_by_each = said_by_each(consumer);
    let head = stored.head;
    // A loop may have scanned more than it has saved, if it found no wanted events there.
    let reached = |checkpoint: Position, said: Option<&Snapshot>| match said.and_then(|said| said.place) {
        Some(place) if place.stored == checkpoint => place.scanned.position().min(head).max(checkpoint),
        _ => checkpoint,
    };
    let partition = |name: &ConsumerName, checkpoint: Position, said: Option<&Snapshot>| {
        let position = reached(checkpoint, said);
        let (state, holder) = stored.state_of(name, said);
        let partition = name.partition().unwrap_or(Partition::UNPARTITIONED);
        PartitionStatus { partition, position, lag: head.distance_from(position), state, holder }
    };
    let mut partitions: Vec<PartitionStatus> = checkpoints
        .iter()
        .enumerate()
        .map(|(index, known)| partition(&known.consumer, known.position, said_by_each.get(index)))
        .collect();
    if partitions.is_empty() {
        partitions.push(partition(live, Position::ZERO, said_by_each.first()));
    }
    let position = partitions.iter().map(|partition| partition.position).min().unwrap_or_default();
    // The first of the partitions with the greatest weight.
    let heaviest = |(index, it): &(usize, &PartitionStatus)| (weight(&it.state, it.lag), std::cmp::Reverse(*index));
    let worst = partitions.iter().enumerate().max_by_key(heaviest);
    let (state, holder) =
        worst.map_or((ConsumerState::NotRunning, None), |(_, it)| (it.state.clone(), it.holder.clone()));
    let errors = said_by_each.iter().filter_map(|said| said.last_error.clone());
    let sum = |count: fn(&Snapshot) -> u64| said_by_each.iter().map(count).sum();
    if partitions.len() == 1 {
        partitions.clear();
    }
    ConsumerStatus {
        name: consumer.name().clone(),
        kind: consumer.kind(),
        position,
        head,
        lag: head.distance_from(position),
        rate_per_second: said_by_each.iter().map(|said| said.rate_per_second).sum(),
        state: match &stored.suspension {
            Some(suspension) if !matches!(state, ConsumerState::Stopped { .. } | ConsumerState::ParkedLimit { .. }) => {
                suspension.clone().into()
            }
            _ => state,
        },
        holder,
        applying_for: said_by_each.iter().filter_map(|said| said.applying_for).max(),
        silent_for: said_by_each.iter().filter_map(|said| said.silent_for).max(),
        last_error: errors.max_by_key(|error| error.at),
        moved_by_others: sum(|said| said.moved_by_others),
        passed_over: sum(|said| said.passed_over),
        log_went_back: said_by_each.iter().filter_map(|said| said.log_went_back).max_by_key(|went_back| went_back.at),
        parked: stored.parked,
        partitions,
        updated_at: checkpoints.iter().map(|checkpoint| checkpoint.updated_at).max(),
        rebuild: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_lags_elsewhere_has_more_to_say_than_one_that_has_caught_up_here() {
        let elsewhere = ConsumerState::RunsElsewhere { by: "another process".to_owned() };
        assert!(weight(&elsewhere, 1_359) > weight(&ConsumerState::CaughtUp, 0));
        assert!(weight(&elsewhere, 1_359) > weight(&ConsumerState::CatchingUp, 5));
        assert!(weight(&ConsumerState::CatchingUp, 5) > weight(&elsewhere, 0));
        assert!(weight(&ConsumerState::NotRunning, 0) > weight(&elsewhere, 1_359));
    }
}
