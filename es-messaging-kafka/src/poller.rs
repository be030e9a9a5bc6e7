//! The thread of a group's member: it follows the group, and reads while there is room.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use es_messaging::BrokerError;
use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, base_consumer::PartitionQueue},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::Notify;

use crate::{
    binding::Record,
    client::{Said, log},
    limits,
    window::Window,
};

/// A partition: its topic and its number.
pub(crate) type Partition = (Arc<str>, i32);
pub(crate) type Member = BaseConsumer<Following>;

/// How many records are taken from a partition before the others get their turn.
const TURN: usize = 64;

/// What the member's thread and its callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<Windows>,
    /// Something for the thread to do.
    wake: (Mutex<bool>, Condvar),
    /// Something for a caller that waits for records.
    pub(crate) arrived: Notify,
    pub(crate) closing: AtomicBool,
    /// The thread has left the group.
    pub(crate) left: Notify,
    /// One commit at a time, so that none goes back behind another.
    pub(crate) committing: Arc<tokio::sync::Mutex<()>>,
    next_receipt: AtomicU64,
    prefetch: usize,
}

/// Everything that the member has in memory.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    pub(crate) partitions: BTreeMap<Partition, Window>,
    /// Which record is in somebody's hands, by receipt.
    pub(crate) receipts: std::collections::HashMap<u64, (Partition, i64)>,
    /// What the next caller is to hear.
    pub(crate) error: Option<BrokerError>,
    assigned: Vec<Partition>,
    revoked: Vec<Partition>,
    /// Something is settled and could not be committed: to be tried again.
    pub(crate) is_behind: bool,
}

impl Windows {
    fn unsettled(&self) -> usize {
        self.partitions.values().map(Window::unsettled).sum()
    }

    /// The connection is gone, and who holds something hears of it: all that is in hands comes again.
    fn take_back(&mut self) {
        self.receipts.clear();
        let now = Instant::now();
        self.partitions.values_mut().for_each(|window| window.take_back(now));
    }

    /// What is settled and the broker does not know.
    pub(crate) fn to_commit(&self) -> Vec<(Partition, i64)> {
        let offset = |(partition, window): (&Partition, &Window)| Some((partition.clone(), window.to_commit()?));
        self.partitions.iter().filter_map(offset).collect()
    }

    pub(crate) fn committed(&mut self, offsets: &[(Partition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(window) = self.partitions.get_mut(partition) {
                window.committed = window.committed.max(Some(*offset));
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(prefetch: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            wake: (Mutex::new(false), Condvar::new()),
            arrived: Notify::new(),
            closing: AtomicBool::new(false),
            left: Notify::new(),
            committing: Arc::default(),
            next_receipt: AtomicU64::new(1),
            prefetch,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Windows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn receipt(&self) -> u64 {
        self.next_receipt.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the thread look around.
    pub(crate) fn wake(&self) {
        *self.wake.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.1.notify_one();
    }

    fn rest(&self) {
        let awake = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = self.wake.1.wait_timeout_while(awake, limits::POLL_INTERVAL, |awake| !*awake);
        *rested.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// What follows the group.
#[derive(Debug, Clone)]
pub(crate) struct Following {
    pub(crate) shared: Arc<Shared>,
    pub(crate) said: Said,
}

impl ClientContext for Following {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.said.note(&error, reason);
    }
}

impl ConsumerContext for Following {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let revoked = partitions(list);
        let mut offsets = self.shared.lock().to_commit();
        offsets.retain(|(partition, _)| revoked.contains(partition));
        // The next member begins behind what is settled. What is lost already belongs to somebody else.
        if !offsets.is_empty()
            && !consumer.assignment_lost()
            && let Err(error) = consumer.commit(&offset_list(&offsets), CommitMode::Sync)
        {
            tracing::warn!(%error, "offsets of revoked partitions were not committed: some messages come twice");
        }
        let mut state = self.shared.lock();
        for partition in &revoked {
            state.partitions.remove(partition);
            state.assigned.retain(|assigned| assigned != partition);
        }
        state.receipts.retain(|_, (partition, _)| !revoked.contains(partition));
        state.revoked.extend(revoked);
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let mut state = self.shared.lock();
        match result {
            Ok(()) => state.committed(&offsets_of(offsets)),
            Err(error) => {
                tracing::debug!(%error, "offsets were not committed");
                state.is_behind = true;
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Nothing may come before each partition has a queue of its own.
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "partitions could not be paused");
        }
        let assigned = partitions(list);
        let mut state = self.shared.lock();
        for partition in &assigned {
            state.partitions.insert(partition.clone(), Window::default());
            state.revoked.retain(|revoked| revoked != partition);
        }
        state.assigned.extend(assigned);
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| (element.topic().into(), element.partition())).collect()
}

/// Offsets as librdkafka takes them.
pub(crate) fn offset_list(offsets: &[(Partition, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for ((topic, number), offset) in offsets {
        // Refused only for offsets that are none.
        let _ = list.add_partition_offset(topic, *number, Offset::Offset(*offset));
    }
    list
}

fn offsets_of(list: &TopicPartitionList) -> Vec<(Partition, i64)> {
    let offset = |element: TopicPartitionListElem<'_>| match (element.error(), element.offset()) {
        (Ok(()), Offset::Offset(offset)) => Some(((element.topic().into(), element.partition()), offset)),
        _ => None,
    };
    list.elements().into_iter().filter_map(offset).collect()
}

type Queues = BTreeMap<Partition, PartitionQueue<Following>>;

/// Runs until it is told to end; then leaves the group, so that others take over at once.
pub(crate) fn run(member: Arc<Member>, shared: &Arc<Shared>) {
    let mut queues = Queues::new();
    let mut tried = Instant::now();
    while !shared.closing.load(Ordering::Relaxed) {
        // Rebalances and errors; the records have queues of their own.
        match member.poll(Duration::ZERO) {
            Some(Err(error)) => note(&member, shared, error),
            Some(Ok(message)) => {
                let came = vec![(message.offset(), record(&message))];
                push(shared, &(message.topic().into(), message.partition()), came);
            }
            None => {}
        }
        follow(&member, shared, &mut queues);
        if tried.elapsed() >= limits::COMMIT_AGAIN {
            tried = Instant::now();
            catch_up(&member, shared);
        }
        if !read(&member, shared, &queues) {
            shared.rest();
        }
    }
    drop(queues);
    // Commits what is settled, gives the partitions back, and leaves.
    drop(member);
    shared.lock().receipts.clear();
    shared.left.notify_one();
}

/// Commits what could not be committed when it was settled: nothing else may be settled for long.
fn catch_up(member: &Member, shared: &Shared) {
    let Ok(_guard) = shared.committing.try_lock() else { return };
    let offsets = {
        let mut state = shared.lock();
        if !std::mem::take(&mut state.is_behind) {
            return;
        }
        state.to_commit()
    };
    if !offsets.is_empty()
        && let Err(error) = member.commit(&offset_list(&offsets), CommitMode::Async)
    {
        tracing::debug!(%error, "offsets were not committed");
        shared.lock().is_behind = true;
    }
}

/// Gives new partitions a queue, and lets go of those that went.
fn follow(member: &Arc<Member>, shared: &Arc<Shared>, queues: &mut Queues) {
    let (assigned, revoked) = {
        let mut state = shared.lock();
        (std::mem::take(&mut state.assigned), std::mem::take(&mut state.revoked))
    };
    queues.retain(|partition, _| !revoked.contains(partition));
    if assigned.is_empty() {
        return;
    }
    let mut list = TopicPartitionList::new();
    for partition in assigned {
        // One that is replaced silences the partition when it goes, so it goes before.
        queues.remove(&partition);
        let Some(mut queue) = member.split_partition_queue(&partition.0, partition.1) else { continue };
        let shared = shared.clone();
        queue.set_nonempty_callback(move || shared.wake());
        list.add_partition(&partition.0, partition.1);
        queues.insert(partition, queue);
    }
    if let Err(error) = member.resume(&list) {
        note(member, shared, error);
    }
}

/// Reads while there is room. Whether there was anything.
fn read(member: &Member, shared: &Arc<Shared>, queues: &Queues) -> bool {
    let mut any = false;
    for (partition, queue) in queues {
        let room = {
            let state = shared.lock();
            let full = state.partitions.get(partition).is_none_or(|window| window.len() >= limits::MAX_WINDOW);
            // As many as are in hands may wait.
            if full { 0 } else { (2 * shared.prefetch).saturating_sub(state.unsettled()).min(TURN) }
        };
        let mut came = Vec::new();
        for _ in 0..room {
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => came.push((message.offset(), record(&message))),
                Some(Err(error)) => note(member, shared, error),
            }
        }
        any |= !came.is_empty();
        push(shared, partition, came);
    }
    if any {
        shared.arrived.notify_one();
    }
    any
}

fn push(shared: &Shared, partition: &Partition, came: Vec<(i64, Record)>) {
    if came.is_empty() {
        return;
    }
    if let Some(window) = shared.lock().partitions.get_mut(partition) {
        came.into_iter().for_each(|(offset, record)| window.push(offset, record));
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record { key: message.key().map(<[u8]>::to_vec), headers, value: message.payload().map(<[u8]>::to_vec) }
}

/// An error that concerns nobody's call.
fn note(member: &Member, shared: &Shared, error: KafkaError) {
    let code = error.rdkafka_error_code();
    let said = &member.context().said;
    said.note(&error, &error.to_string());
    // Each broker by itself; the others may do.
    if let Some(Code::BrokerTransportFailure | Code::Resolve | Code::PartitionEOF | Code::OperationTimedOut) = code {
        return;
    }
    tracing::warn!(%error, "kafka");
    let error = said.explain(error);
    said.forget();
    let mut state = shared.lock();
    // Whoever hears of it gives up what is in hands.
    state.take_back();
    state.error = Some(error);
    drop(state);
    shared.arrived.notify_one();
}
