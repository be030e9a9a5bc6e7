//! One commit for several writes: each is a savepoint of one transaction, and can fail alone.
//!
//! If a write is done while other calls wait for the writer, it leaves its transaction open for them. It then waits for
//! the writer once more, behind the calls that are already waiting, and commits unless another write has done so
//! before.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Instant,
};

use es_core::StoreError;
use futures_util::future::{Either, select};
use sqlx::{Connection, SqlSafeStr, SqliteConnection, sqlite::SqliteTransactionManager};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Mutex, oneshot};

use crate::{
    error::{DatabaseError, store_error},
    limits::{MAX_SHARED_COMMIT_TIME, MAX_WRITES_PER_COMMIT},
    queue::WriterStopped,
    store::runtime,
    turns::Holder,
    writer::{Access, LEFT_OPEN, Slot, Writer, depth, roll_back_to, start_rollback},
};

const BEGIN: &str = concat!(include_str!("../sql/begin_write.sql"), include_str!("../sql/member_begin.sql"));
const SAVEPOINT: &str = include_str!("../sql/member_begin.sql");
const RELEASE: &str = include_str!("../sql/member_keep.sql");
const UNDO: &str = include_str!("../sql/member_undo.sql");

/// The outcome of a commit.
type Outcome = Result<(), StoreError>;
/// The function that is called with the outcome.
type After = Box<dyn FnOnce(Outcome) + Send>;
/// The function that is called with the outcome before the caller receives it.
type Passed = Box<dyn FnOnce(Outcome) -> Outcome + Send>;

/// A transaction that several writes share, one after the other.
pub(crate) struct Group {
    /// The writes that are done, with the function that each calls with the outcome.
    members: Vec<(Holder, After)>,
    opened_at: Instant,
    /// Shared with every member that waits for the outcome.
    ticket: Arc<()>,
    /// Whether a write is in a savepoint, or was stopped there.
    pub(crate) is_untidy: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.members.len() >= MAX_WRITES_PER_COMMIT || self.opened_at.elapsed() >= MAX_SHARED_COMMIT_TIME
    }

    /// Returns whether no caller waits for the outcome.
    fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.ticket) == 1
    }

    fn is(&self, ticket: &Weak<()>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.ticket), ticket.as_ptr())
    }
}

impl Slot {
    /// Rolls back the remains of a write that was stopped halfway, and nothing else.
    pub(crate) async fn tidy(&mut self) -> Result<(), StoreError> {
        if self.group.as_ref().is_none_or(|group| !group.is_untidy) {
            return Ok(());
        }
        let undone = async {
            let connection = self.connection()?;
            connection.ping().await.map_err(store_error)?;
            roll_back_to(1, connection).await?;
            match sqlx::raw_sql(UNDO).execute(connection).await.map_err(DatabaseError::from) {
                // The savepoint was not begun, or is already released.
                Err(error) if error.is_misplaced() => Ok(()),
                result => result.map(drop).map_err(StoreError::from),
            }
        };
        let undone = undone.await;
        match (&undone, &mut self.group) {
            (Ok(()), Some(group)) => group.is_untidy = false,
            _ => self.lose_connection(),
        }
        undone
    }

    /// Rolls back the shared transaction if no caller waits for its outcome, because nothing else would end it.
    pub(crate) fn roll_back_if_forgotten(&mut self) {
        if self.group.take_if(|group| group.is_forgotten()).is_some()
            && let Some(connection) = &mut self.connection
        {
            start_rollback(connection);
        }
    }

    /// Begins a savepoint, and the transaction around it if there is none.
    async fn begin_member(&mut self) -> Result<(), StoreError> {
        if let Some(group) = &mut self.group {
            group.is_untidy = true;
            let begun = sqlx::raw_sql(SAVEPOINT).execute(self.connection()?).await;
            return begun.map(drop).map_err(store_error);
        }
        let begun = SqliteTransactionManager::begin(self.connection()?, Some(BEGIN.into_sql_str())).await;
        begun.map_err(store_error)?;
        let (members, opened_at) = (Vec::new(), Instant::now());
        self.group = Some(Group { members, opened_at, ticket: Arc::default(), is_untidy: true });
        Ok(())
    }

    /// Commits the open transaction, or rolls it back, and tells all members. Returns the outcome to the caller if
    /// there are no members.
    async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = self.try_commit().await;
        if committed.is_err() {
            let rolled_back = match self.connection() {
                Ok(connection) => roll_back_to(0, connection).await.map(drop),
                Err(error) => Err(error),
            };
            if rolled_back.is_err() {
                self.connection = None;
            }
        }
        let members = self.group.take().map(|group| group.members).unwrap_or_default();
        let count = members.len();
        let outcomes: Vec<Result<(), StoreError>> = match committed {
            _ if members.is_empty() => return committed,
            Ok(()) => (0..count).map(|_| Ok(())).collect(),
            Err(error) => {
                self.apart.extend(members.iter().map(|(holder, _)| holder.clone()));
                of_all(error, count).for_each_caller(count).into_iter().map(Err).collect()
            }
        };
        for ((_, after), outcome) in members.into_iter().zip(outcomes) {
            after(outcome);
        }
        Ok(())
    }

    async fn try_commit(&mut self) -> Result<(), StoreError> {
        self.tidy().await?;
        self.opened.check()?;
        let connection = self.connection()?;
        if depth(connection) != 1 {
            // The driver would treat a commit outside of a transaction as a success.
            return Err(store_error(sqlx::Error::WorkerCrashed));
        }
        SqliteTransactionManager::commit(connection).await.map_err(store_error)
    }
}

/// Returns why none of the members of a shared commit is stored. If one of them may be the cause, each is tried again
/// alone.
fn of_all(error: StoreError, count: usize) -> StoreError {
    match error {
        StoreError::Setup { .. } | StoreError::Busy { .. } | StoreError::Unavailable { .. } => error,
        error if count == 1 => error,
        error => StoreError::Busy {
            waiting_for: format!("a commit that {count} writes shared has failed, and each is tried alone next"),
            source: Some(Box::new(error)),
        },
    }
}

impl Access {
    /// Commits the shared transaction, if one is open, and tells its members.
    pub(crate) async fn commit_group(&mut self) {
        if let Some(slot) = self.slot.as_deref_mut().filter(|slot| slot.group.is_some()) {
            // The group has members, and they receive the outcome.
            let _ = slot.commit().await;
        }
    }
}

/// A write that may share its commit with others. It is undone when it is dropped.
pub(crate) struct Member {
    writer: Writer,
    holder: Holder,
    access: Access,
    is_apart: bool,
}

impl Writer {
    /// Waits for the writer, and begins a write that may share its commit.
    ///
    /// # Errors
    /// Returns the errors of [`lock`](Self::lock).
    pub(crate) async fn join(&self, holder: impl Into<Holder>) -> Result<Member, StoreError> {
        let holder = holder.into();
        self.begin_member(self.in_lane(holder.clone()).await?, holder).await
    }

    /// Begins a write that may share its commit.
    pub(crate) async fn begin_member(&self, mut access: Access, holder: Holder) -> Result<Member, StoreError> {
        let is_apart = access.slot()?.apart.contains(&holder);
        if is_apart {
            access.commit_group().await;
        }
        let begun = access.slot()?.begin_member().await;
        access.settle(begun)?;
        Ok(Member { writer: self.clone(), holder, access, is_apart })
    }

    /// Adds a completed write to those that share the transaction, and waits for the outcome.
    async fn wait_with_others(&self, mut access: Access, holder: Holder, after: Passed) -> Outcome {
        let Some(group) = &mut access.slot()?.group else { return after(Err(store_error(sqlx::Error::WorkerCrashed))) };
        let (sender, outcome) = oneshot::channel();
        // A caller that was dropped needs no answer.
        group.members.push((holder, Box::new(move |result| drop(sender.send(after(result))))));
        let awaited = Awaited { slot: Arc::clone(&self.slot), ticket: Arc::clone(&group.ticket) };
        if self.turns.are_waited_for() && !group.is_full() {
            drop(access);
        } else {
            commit_in_task(access).await;
        }
        self.wait_for(awaited, outcome).await
    }

    /// Waits for the outcome of a shared commit, and makes sure that there is one.
    async fn wait_for(&self, awaited: Awaited, outcome: oneshot::Receiver<Outcome>) -> Outcome {
        let ticket = Arc::downgrade(&awaited.ticket);
        let closing = pin!(async {
            let lane = Arc::clone(&self.lane).lock_owned().await;
            let slot = Arc::clone(&self.slot).lock_owned().await;
            if slot.group.as_ref().is_some_and(|group| group.is(&ticket)) {
                commit_in_task(self.access("a shared commit".into(), Some(lane), slot)).await;
            }
        });
        let outcome = match select(outcome, closing).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), outcome)) => outcome.await,
        };
        outcome.unwrap_or_else(|_| Err(StoreError::Unavailable { source: Box::new(WriterStopped) }))
    }
}

/// Commits for all members of a shared transaction, in a task that continues if one of them is dropped.
async fn commit_in_task(mut access: Access) {
    match runtime() {
        Ok(runtime) => drop(runtime.spawn(async move { access.commit_group().await })),
        Err(_) => access.commit_group().await,
    }
}

impl Member {
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.access.connection()
    }

    /// Ends the write, and returns after it is committed.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if a nested transaction was left open, or the transaction was ended. Returns an
    /// error of the commit if it failed; nothing was stored then.
    pub(crate) async fn end(self) -> Result<(), StoreError> {
        self.end_with(|result| result).await
    }

    /// Ends the write, and calls `after` with the outcome, before later writes.
    ///
    /// # Errors
    /// Returns the errors of [`end`](Self::end), as far as `after` passes them on.
    pub(crate) async fn end_with(
        mut self,
        after: impl FnOnce(Outcome) -> Outcome + Send + 'static,
    ) -> Result<(), StoreError> {
        if depth(self.connection()?) != 1 {
            let undone = self.undo().await;
            return after(undone.and(Err(LEFT_OPEN)));
        }
        let are_others_waiting = self.writer.turns.are_waited_for();
        let Self { writer, holder, mut access, is_apart } = self;
        let slot = access.slot()?;
        let is_only = slot.group.as_ref().is_none_or(|group| group.members.is_empty());
        if is_apart || (is_only && !are_others_waiting) {
            if let Some(group) = &mut slot.group {
                group.is_untidy = false;
            }
            let committed = slot.commit().await;
            if committed.is_ok() {
                slot.apart.remove(&holder);
            }
            return after(access.settle(committed));
        }
        if let Err(error) = release(slot).await {
            return after(access.settle(Err(error)));
        }
        if let Some(group) = &mut slot.group {
            group.is_untidy = false;
        }
        writer.wait_with_others(access, holder, Box::new(after)).await
    }

    /// Records what a result says about the state of the connection.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.access.settle(result)
    }

    /// Undoes the write. Other writes that share its transaction are kept. Their changes may have caused the failure,
    /// so this waits until they are committed.
    ///
    /// # Errors
    /// Returns the error of their commit. In this case it is not known what the result of the write alone would have
    /// been.
    pub(crate) async fn undo(self) -> Outcome {
        let Self { writer, holder, mut access, .. } = self;
        let slot = access.slot()?;
        let is_shared = slot.group.as_ref().is_some_and(|group| !group.members.is_empty());
        let undone = if is_shared {
            slot.tidy().await
        } else {
            slot.group = None;
            match slot.connection() {
                Ok(connection) => roll_back_to(0, connection).await.map(drop),
                Err(error) => Err(error),
            }
        };
        match undone {
            Ok(()) if is_shared => writer.wait_with_others(access, holder, Box::new(|outcome| outcome)).await,
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the connection is closed, since a write could not be undone");
                slot.lose_connection();
                Ok(())
            }
        }
    }
}

/// Ends the savepoint of a write. If that fails, the content of the transaction is unknown.
async fn release(slot: &mut Slot) -> Result<(), StoreError> {
    let released = sqlx::raw_sql(RELEASE).execute(slot.connection()?).await.map_err(DatabaseError::from);
    released.map(drop).map_err(|error| {
        slot.lose_connection();
        if error.is_misplaced() {
            return StoreError::Refused {
                reason: "the store's transaction was ended by a handler; commit and roll back nested ones alone",
            };
        }
        error.into()
    })
}

/// The wait for the outcome of a shared commit.
struct Awaited {
    slot: Arc<Mutex<Slot>>,
    ticket: Arc<()>,
}

impl Drop for Awaited {
    /// If no caller waits, the transaction would stay open until the next write.
    fn drop(&mut self) {
        let ticket = Arc::downgrade(&self.ticket);
        self.ticket = Arc::default();
        // The group has its own ticket while it is open. Other tickets may be returned at the same moment.
        while ticket.strong_count() == 1 {
            // The holder of the slot checks this when it releases the slot.
            let Ok(mut slot) = self.slot.try_lock() else { return };
            if !slot.group.as_ref().is_some_and(|group| group.is(&ticket)) {
                return;
            }
            slot.roll_back_if_forgotten();
        }
    }
}
