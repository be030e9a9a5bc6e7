//! Which consumers this runner works for, when processes share the work.

use std::{
    collections::HashMap,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use es_core::{ConsumerName, Lease, Leased, Member, Membership, RunnerStore, StoreError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::limits;

/// One runner among all runners over the same store: the leases that it holds, and what it knows about the others.
pub(crate) struct MemberSession {
    store: Arc<dyn RunnerStore>,
    /// Its name, which differs from that of every other runner, including runners of an earlier process with the same
    /// process ID.
    member: String,
    time: Duration,
    consumers: Vec<ConsumerName>,
    /// The number of tasks that announce this runner to the others.
    running: AtomicUsize,
    notes: Mutex<Notes>,
    members: watch::Sender<Vec<Member>>,
}

#[derive(Default)]
struct Notes {
    held: HashMap<ConsumerName, Held>,
    /// The consumers that it has but cannot run at the moment.
    withdrawn: HashMap<ConsumerName, usize>,
}

impl Notes {
    /// Removes a loop from a lease. Returns the lease if no other loop works under it.
    fn remove_user(&mut self, name: &ConsumerName) -> Option<Lease> {
        let held = self.held.get_mut(name)?;
        held.users = held.users.saturating_sub(1);
        let lease = held.lease;
        if held.users > 0 {
            return None;
        }
        self.held.remove(name);
        Some(lease)
    }
}

struct Held {
    lease: Lease,
    /// By this machine's clock, measured from before the store was asked, so that the runner never trusts a lease for
    /// longer than the store does.
    until: Instant,
    /// The number of loops that work under it.
    users: usize,
}

impl MemberSession {
    pub(crate) fn new(store: Arc<dyn RunnerStore>, time: Duration, consumers: Vec<ConsumerName>) -> Arc<Self> {
        let members = watch::Sender::new(Vec::new());
        let (running, notes) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { store, member: member_name(), time, consumers, running, notes, members })
    }

    /// Returns the name of this runner.
    pub(crate) fn member(&self) -> &str {
        &self.member
    }

    /// Sends heartbeats as long as it is polled. With `would_run`, the other runners leave this runner its share of the
    /// work.
    pub(crate) async fn keep_alive(&self, would_run: bool) {
        let _running = would_run.then(|| Running::start(self));
        if would_run {
            self.heartbeat().await;
        }
        loop {
            sleep(self.time / limits::HEARTBEATS_PER_LEASE).await;
            self.heartbeat().await;
        }
    }

    async fn heartbeat(&self) {
        let asked_at = Instant::now();
        let would_run = match self.running.load(Ordering::SeqCst) {
            0 => Vec::new(),
            _ => {
                let notes = self.notes();
                let is_able = |name: &&ConsumerName| !notes.withdrawn.contains_key(*name);
                self.consumers.iter().filter(is_able).cloned().collect()
            }
        };
        match self.store.heartbeat(&self.member, &would_run, self.time).await {
            Ok(Membership { members, held, .. }) => {
                let mut notes = self.notes();
                for (name, known) in &mut notes.held {
                    if held.contains(name) {
                        known.until = known.until.max(asked_at + self.time);
                    }
                }
                drop(notes);
                self.members.send_replace(members);
            }
            // Leases outlast several heartbeats. If they expire, nothing is lost, because the store refuses writes
            // under them.
            Err(error) => tracing::warn!(%error, "the store was not told that this runner is alive"),
        }
    }

    /// Returns a receiver for which runner would run which consumer.
    pub(crate) fn members(&self) -> watch::Receiver<Vec<Member>> {
        self.members.subscribe()
    }

    /// Claims a lease, for an additional loop or for one that already has it. Each loop that has the lease must release
    /// it with [`let_go`](Self::let_go).
    pub(crate) async fn claim(&self, name: &ConsumerName, is_new_user: bool) -> Result<Leased, StoreError> {
        let asked_at = Instant::now();
        let leased = self.store.claim_lease(name, &self.member, self.time).await?;
        let mut notes = self.notes();
        match &leased {
            Leased::Yours(lease) => {
                let users = notes.held.get(name).map_or(0, |held| held.users) + usize::from(is_new_user);
                notes.held.insert(name.clone(), Held { lease: *lease, until: asked_at + self.time, users });
            }
            Leased::Taken(_) => {
                notes.held.remove(name);
            }
        }
        Ok(leased)
    }

    /// Returns the lease of a consumer, if it is certain to be valid at this moment.
    pub(crate) fn lease(&self, name: &ConsumerName) -> Option<Lease> {
        let notes = self.notes();
        notes.held.get(name).filter(|held| Instant::now() < held.until).map(|held| held.lease)
    }

    /// Releases a lease if no other loop of this runner works under it.
    pub(crate) async fn let_go(&self, name: &ConsumerName) {
        let Some(lease) = self.notes().remove_user(name) else { return };
        if let Err(error) = self.store.release_lease(name, lease).await {
            tracing::debug!(consumer = %name, %error, "a lease was not given back; it runs out by itself");
        }
    }

    /// Like [`let_go`](Self::let_go), where the store cannot be called. The lease then expires.
    pub(crate) fn forget(&self, name: &ConsumerName) {
        self.notes().remove_user(name);
    }

    /// Leaves a consumer to other runners until the guard is dropped.
    pub(crate) fn withdraw(self: &Arc<Self>, consumer: &ConsumerName) -> Withdrawal {
        *self.notes().withdrawn.entry(consumer.clone()).or_default() += 1;
        Withdrawal { member_session: Arc::clone(self), consumer: consumer.clone() }
    }

    /// Leaves all work to other runners, except what a loop of this runner is still working on.
    pub(crate) async fn deregister(&self) {
        let is_at_work = !self.notes().held.is_empty();
        let left = match is_at_work {
            true => self.store.heartbeat(&self.member, &[], self.time).await.map(drop),
            false => self.store.deregister(&self.member).await,
        };
        if let Err(error) = left {
            tracing::debug!(%error, "the store was not told that this runner stops; its leases run out by themselves");
        }
    }

    /// No code panics halfway through a change while it holds this lock.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runner that is visible to others. It sends heartbeats until it ends.
pub(crate) struct Alive {
    member_session: Arc<MemberSession>,
    heartbeats: JoinHandle<()>,
    has_left: bool,
}

impl Alive {
    pub(crate) fn start(member_session: &Arc<MemberSession>) -> Self {
        let own = Arc::clone(member_session);
        let heartbeats = tokio::spawn(async move { own.keep_alive(true).await });
        Self { member_session: Arc::clone(member_session), heartbeats, has_left: false }
    }

    /// Releases everything.
    pub(crate) async fn end(mut self) {
        self.heartbeats.abort();
        self.member_session.deregister().await;
        self.has_left = true;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.heartbeats.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.has_left
        {
            let member_session = Arc::clone(&self.member_session);
            runtime.spawn(async move { member_session.deregister().await });
        }
    }
}

/// Leaves a consumer to other runners until it is dropped.
pub(crate) struct Withdrawal {
    member_session: Arc<MemberSession>,
    consumer: ConsumerName,
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        let mut notes = self.member_session.notes();
        if let Some(count) = notes.withdrawn.get_mut(&self.consumer) {
            *count -= 1;
            if *count == 0 {
                notes.withdrawn.remove(&self.consumer);
            }
        }
    }
}

/// Announces the runner to others until it is dropped.
struct Running<'a>(&'a MemberSession);

impl<'a> Running<'a> {
    fn start(member_session: &'a MemberSession) -> Self {
        member_session.running.fetch_add(1, Ordering::SeqCst);
        Self(member_session)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns a unique name: the host, the process ID, and a number.
fn member_name() -> String {
    static RUNNERS: AtomicU64 = AtomicU64::new(0);
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty() && host.len() <= 100);
    let host = host.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let host: String = host.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(100).collect();
    let host = if host.is_empty() { "process".to_owned() } else { host };
    let number = RUNNERS.fetch_add(1, Ordering::Relaxed);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{host}:{}:{:x}", process::id(), since_1970.as_nanos() as u64 ^ number)
}
