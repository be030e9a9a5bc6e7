//! Executing a command: load, decide, append, and the handling of conflicts and failures.

use std::{
    collections::HashSet,
    convert::Infallible,
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{try_join, try_join_all};

use super::{
    CommandQueue, Execute, Executed,
    command_queue::Turn,
    participant::{Decide, IsPure, OtherParticipant, Participant, Stamp},
};
use crate::{
    aggregate::Aggregate,
    append::{Append, Appended, IdempotencyKey},
    error::{ExecuteError, StoreError},
    event_filter::EventFilter,
    event_store::{EventStore, PageSize},
    limits,
    position::Position,
    request_digest::RequestDigest,
    stream_id::StreamId,
    version::Version,
};

/// Executes a command. An idempotency key costs no separate call if the append can answer for it. The key is looked up
/// in three cases: before a decision that must not run twice, if the key is likely to be known, and before anything
/// other than an append is returned.
pub(super) async fn run<A: Aggregate>(execute: Execute<A>) -> Result<Executed<A>, ExecuteError<A::Error>> {
    let shared = &execute.repository.shared;
    let (retries, time) = (shared.conflict_retries, shared.conflict_retry_time);
    let IsPure(is_pure) = execute.is_pure;
    let mut command = Command::prepare(execute)?;
    if (!is_pure || command.first.expects_repetition())
        && let Some(earlier) = command.find_earlier().await?
    {
        return command.recall(earlier).await;
    }
    // A caller's function may execute commands itself, and would then wait for its own turn.
    let turns = if is_pure { command.take_turns().await } else { Vec::new() };
    let result = command.carry_out(retries, time).await;
    if let Err(ExecuteError::Store(error)) = &result
        && error.is_transient()
    {
        turns.iter().for_each(Turn::let_all_go);
    }
    let is_open = match &result {
        Ok(appended) => appended.is_none(),
        Err(ExecuteError::Store(error)) => !error.is_transient(),
        Err(_) => true,
    };
    if is_pure
        && is_open
        && let Some(earlier) = command.find_earlier().await?
    {
        return command.recall(earlier).await;
    }
    match result? {
        Some(appended) if appended.repeated => command.recall(appended).await,
        appended => Ok(command.finish(appended).await),
    }
}

/// Decides a command on the current ends of its streams, without appending. The append alone could not tell whether an
/// earlier append under the same key was decided in the same way.
pub(super) async fn decide<A: Aggregate>(execute: Execute<A>) -> Result<Option<Append>, ExecuteError<A::Error>> {
    let mut command = Command::prepare(execute)?;
    if let Some(earlier) = command.find_earlier().await? {
        command.recall(earlier).await?;
        return Ok(None);
    }
    command.load().await?;
    command.confirm().await?;
    Ok(command.decide().await??)
}

/// A command whose settings have been checked.
struct Command<A: Aggregate> {
    store: Arc<dyn EventStore>,
    first: Participant<A>,
    more: Vec<Participant<A>>,
    others: Vec<Box<dyn OtherParticipant>>,
    /// The idempotency key, with the digest of what it is bound to.
    keyed: Option<(IdempotencyKey, RequestDigest)>,
    /// Whether the key is bound to the request that the caller names, and not to what the command decides.
    is_request_named: bool,
    stamp: Stamp,
}

impl<A: Aggregate> Command<A> {
    fn prepare(execute: Execute<A>) -> Result<Self, StoreError> {
        let Execute { repository, first, more, others, expecting, stamp, problem, .. } = execute;
        let (key, request, is_pure) = (execute.idempotency_key, execute.request, execute.is_pure);
        if let Some(problem) = problem {
            return Err(problem);
        }
        let count = 1 + more.len() + others.len();
        if count > limits::MAX_AGGREGATES_PER_COMMAND {
            return Err(StoreError::LimitExceeded {
                what: "aggregates in a command",
                limit: limits::MAX_AGGREGATES_PER_COMMAND as u64,
                actual: count as u64,
            });
        }
        let participant = |(id, decide): (String, Decide<A>), is_pure, expecting| -> Result<_, StoreError> {
            let stream = repository.stream_id(&id)?;
            Ok(Participant::new(repository.clone(), stream, decide, is_pure, expecting))
        };
        let more = more.into_iter().map(|target| participant(target, IsPure(true), None));
        let mut command = Self {
            store: Arc::clone(&repository.shared.store),
            first: participant(first, is_pure, expecting)?,
            more: more.collect::<Result<_, _>>()?,
            others,
            keyed: None,
            is_request_named: request.is_some(),
            stamp: stamp.complete(),
        };
        let mut seen = HashSet::with_capacity(count);
        if !command.streams().all(|stream| seen.insert(stream)) {
            let reason = "`and` names an aggregate that already takes part in the command; make one command of the two";
            return Err(StoreError::Refused { reason });
        }
        if let Some(key) = key {
            command.keyed = Some((IdempotencyKey::new(key)?, command.digest(request.as_deref(), is_pure)));
        }
        Ok(command)
    }

    /// Returns the streams of all participating aggregates.
    fn streams(&self) -> impl Iterator<Item = &StreamId> {
        let own = iter::once(&self.first).chain(&self.more).map(Participant::stream);
        own.chain(self.others.iter().map(|other| other.stream()))
    }

    /// Returns the digest of what the idempotency key is bound to.
    fn digest(&self, request: Option<&str>, IsPure(is_pure): IsPure) -> RequestDigest {
        let first = self.first.stream();
        let mut others: Vec<_> = self.streams().skip(1).collect();
        match request {
            Some(request) => RequestDigest::of_request(first, &mut others, request),
            None => RequestDigest::of_command(first, &mut others, is_pure, self.stamp.occurred_at),
        }
    }

    /// Returns the append that was stored under the command's key, if there is one.
    async fn find_earlier(&self) -> Result<Option<Appended>, StoreError> {
        let Some((key, request)) = &self.keyed else { return Ok(None) };
        let Some(earlier) = self.store.find_append(key).await? else { return Ok(None) };
        match earlier.request == Some(*request) {
            true => Ok(Some(earlier)),
            false => Err(StoreError::key_reused(key, &earlier)),
        }
    }

    /// Waits until no other command of this process works on one of the aggregates. All commands take their turns in
    /// the same order, which prevents deadlocks.
    async fn take_turns(&self) -> Vec<Turn> {
        let own = iter::once(&self.first).chain(&self.more).map(|own| (own.stream(), own.queue()));
        let mut wanted: Vec<_> = own.chain(self.others.iter().map(|other| (other.stream(), other.queue()))).collect();
        wanted.sort_by_key(|(stream, queue): &(&StreamId, &CommandQueue)| (stream.as_str(), queue.address()));
        let mut turns = Vec::with_capacity(wanted.len());
        for (stream, queue) in wanted {
            turns.push(queue.take(stream).await);
        }
        turns
    }

    /// Decides and appends until the append succeeds. Returns `None` if there is nothing to record.
    async fn carry_out(
        &mut self,
        mut retries_left: u32,
        time: Duration,
    ) -> Result<Option<Appended>, ExecuteError<A::Error>> {
        let start = Instant::now();
        let mut lost_races = 0;
        self.load().await?;
        loop {
            let append = match self.decide().await? {
                Ok(Some(append)) => append,
                Ok(None) => return Ok(None),
                // This result, which cannot become an append, may have been decided on a stale state.
                Err(error) => match self.confirm().await? {
                    true => continue,
                    false => return Err(error.into()),
                },
            };
            match self.append(&append).await {
                Ok(appended) => return Ok(Some(appended)),
                Err(StoreError::Conflict { stream, expected, actual }) => {
                    if !self.is_excused(&stream) {
                        if retries_left == 0 || start.elapsed() >= time {
                            self.forget();
                            return Err(StoreError::Conflict { stream, expected, actual }.into());
                        }
                        lost_races += 1;
                        self.first.queue().pause(lost_races).await;
                    }
                    tracing::debug!(%stream, %actual, retries_left, "conflict: the command is decided again");
                    self.reload(&stream, actual, retries_left > 0).await?;
                    retries_left = retries_left.saturating_sub(1);
                }
                Err(error @ StoreError::Busy { .. }) => return Err(error.into()),
                Err(error @ (StoreError::LimitExceeded { .. } | StoreError::Refused { .. })) => {
                    if !self.confirm().await? {
                        return Err(error.into());
                    }
                }
                Err(error) => {
                    self.forget();
                    return Err(error.into());
                }
            }
        }
    }

    /// Returns whether a conflict on a stream only means that the cached aggregate was stale. Such a conflict is not a
    /// lost race.
    fn is_excused(&self, stream: &StreamId) -> bool {
        let mut own = iter::once(&self.first).chain(&self.more).filter(|own| own.stream() == stream);
        own.any(Participant::is_excused) || self.others.iter().any(|o| o.stream() == stream && o.is_excused())
    }

    async fn load(&mut self) -> Result<(), ExecuteError<A::Error>> {
        self.first.load().await?;
        let more = async {
            for some in self.more.chunks_mut(limits::PARALLEL_LOADS) {
                try_join_all(some.iter_mut().map(Participant::load)).await?;
            }
            Ok(())
        };
        let others = async {
            for some in self.others.chunks_mut(limits::PARALLEL_LOADS) {
                try_join_all(some.iter_mut().map(|other| other.load())).await.map_err(widen)?;
            }
            Ok(())
        };
        try_join(more, others).await.map(|_| ())
    }

    /// Reloads the participants on the stream of a conflict.
    async fn reload(
        &mut self,
        stream: &StreamId,
        actual: Version,
        may_be_cached: bool,
    ) -> Result<(), ExecuteError<A::Error>> {
        for participant in iter::once(&mut self.first).chain(&mut self.more).filter(|p| p.stream() == stream) {
            participant.reload(actual, may_be_cached).await?;
        }
        for other in self.others.iter_mut().filter(|other| other.stream() == stream) {
            other.reload(actual, may_be_cached).await.map_err(widen)?;
        }
        Ok(())
    }

    /// Reads the tail of each stream that this command has not read from the store. Returns whether any of them had
    /// changed, in which case the decision is void.
    async fn confirm(&mut self) -> Result<bool, ExecuteError<A::Error>> {
        let mut has_changed = false;
        for participant in iter::once(&mut self.first).chain(&mut self.more) {
            has_changed |= participant.confirm().await?;
        }
        for other in &mut self.others {
            has_changed |= other.confirm().await.map_err(widen)?;
        }
        Ok(has_changed)
    }

    /// Returns what all participants decided as one append, or the reason why it cannot be one. Returns `None` if no
    /// participant has anything to record, after confirming that.
    async fn decide(&mut self) -> Result<Result<Option<Append>, StoreError>, ExecuteError<A::Error>> {
        loop {
            for participant in iter::once(&mut self.first).chain(&mut self.more) {
                participant.decide(&self.stamp).await?;
            }
            for other in &mut self.others {
                other.decide(&self.stamp).await.map_err(widen)?;
            }
            let mut parts = Vec::with_capacity(1 + self.more.len() + self.others.len());
            parts.extend(iter::once(&self.first).chain(&self.more).map(Participant::part));
            parts.extend(self.others.iter().map(|other| other.part()));
            if parts.iter().any(|part| !part.events().is_empty()) {
                let mut append = parts.into_iter().fold(Append::builder(), |append, part| append.and_stream(part));
                if let Some((key, request)) = &self.keyed {
                    append = append.idempotency_key(key.clone()).request(*request);
                }
                return Ok(append.build().map(Some));
            }
            // There is no append that would check the state.
            if !self.confirm().await? {
                return Ok(Ok(None));
            }
        }
    }

    /// Appends the events. If the store is busy or the outcome is unknown, it sends the same events again, with the
    /// same IDs.
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        let mut retries_left = limits::UNKNOWN_OUTCOME_RETRIES;
        let mut busy_retries_left = limits::BUSY_RETRIES;
        let mut is_unknown = false;
        loop {
            let error = match self.store.append(append).await {
                // An attempt of this command succeeded, and only its response was lost.
                Ok(mut appended) if is_unknown && appended.repeated => {
                    appended.repeated = !self.holds(append, &appended).await?;
                    return Ok(appended);
                }
                Err(error @ StoreError::Unavailable { .. }) => error,
                // This attempt stored nothing, but an earlier one may have.
                Err(error @ StoreError::Busy { .. }) if is_unknown => {
                    StoreError::Unavailable { source: Box::new(error) }
                }
                Err(StoreError::Busy { waiting_for, .. }) if busy_retries_left > 0 => {
                    busy_retries_left -= 1;
                    tracing::debug!(waiting_for, busy_retries_left, "the store is busy; the append is sent again");
                    continue;
                }
                result => return result,
            };
            is_unknown = true;
            if retries_left == 0 {
                return Err(error);
            }
            retries_left -= 1;
            tracing::warn!(%error, retries_left, "the outcome of an append is unknown; it is sent again");
        }
    }

    /// Returns whether the appended events are those of `append`, by their IDs.
    async fn holds(&self, append: &Append, appended: &Appended) -> Result<bool, StoreError> {
        let before = Position::new(appended.first_position.get().saturating_sub(1));
        let first = self.store.read_all(before, &EventFilter::all(), PageSize::new(1)?).await?;
        let stored = first.events.first().map(|event| event.id());
        Ok(stored.is_some() && stored == append.events().next().map(|(_, event)| event.id()))
    }

    /// Removes the aggregates of a failed append from the cache, because the append may have been stored.
    fn forget(&self) {
        iter::once(&self.first).chain(&self.more).for_each(Participant::forget);
        self.others.iter().for_each(|other| other.forget());
    }

    async fn finish(self, appended: Option<Appended>) -> Executed<A> {
        if self.keyed.is_some() {
            self.first.note_repetition(false);
        }
        let outcome = self.first.finish(appended.as_ref()).await;
        let mut others = Vec::with_capacity(self.more.len());
        for participant in self.more {
            others.push(participant.finish(appended.as_ref()).await);
        }
        for other in self.others {
            other.finish(appended.as_ref()).await;
        }
        Executed { outcome, others, appended }
    }

    async fn recall(self, appended: Appended) -> Result<Executed<A>, ExecuteError<A::Error>> {
        self.first.note_repetition(true);
        let compared = (!self.is_request_named).then_some(&self.stamp);
        let (outcome, mut is_same) = self.first.recall(&appended, compared).await?;
        let mut others = Vec::with_capacity(self.more.len());
        for some in self.more.chunks(limits::PARALLEL_LOADS) {
            for (outcome, is_same_too) in try_join_all(some.iter().map(|one| one.recall(&appended, compared))).await? {
                others.push(outcome);
                is_same &= is_same_too;
            }
        }
        if let Some(stamp) = compared {
            for some in self.others.chunks(limits::PARALLEL_LOADS) {
                let decisions = some.iter().map(|other| other.decides_as_before(&appended, stamp));
                is_same &= try_join_all(decisions).await?.into_iter().all(|is_same_too| is_same_too);
            }
        }
        match &self.keyed {
            Some((key, _)) if !is_same => Err(StoreError::key_reused(key, &appended).into()),
            _ => Ok(Executed { outcome, others, appended: Some(appended) }),
        }
    }
}

fn widen<E: std::error::Error + Send + Sync + 'static>(error: ExecuteError<Infallible>) -> ExecuteError<E> {
    match error {
        ExecuteError::Rejected(never) => match never {},
        ExecuteError::RejectedBy { stream, source } => ExecuteError::RejectedBy { stream, source },
        ExecuteError::Store(error) => ExecuteError::Store(error),
        ExecuteError::Decode(error) => ExecuteError::Decode(error),
        ExecuteError::Encode(error) => ExecuteError::Encode(error),
    }
}
