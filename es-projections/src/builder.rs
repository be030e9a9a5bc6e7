//! Builds a runner.

use std::{collections::HashSet, sync::Arc, time::Duration};

use es_core::{InvalidName, Projection, ProjectionStore, Projector, Reactor, RunnerStore, View, ViewFold};

use crate::{
    consumer::Consumer,
    consumer_loop::ConsumerLoop,
    error::RunnerError,
    limits,
    member_session::MemberSession,
    options::ConsumerOptions,
    projection_consumer::ProjectionConsumer,
    reactor_consumer::ReactorConsumer,
    runner::Runner,
    start_order::set_start_order,
    suspension_check::{SuspensionCheck, Suspensions},
    tail::Tail,
    view_consumer::ViewConsumer,
};

type NewConsumer = Result<Box<dyn Consumer>, InvalidName>;

/// Builds a [`Runner`] from a store and consumers.
///
/// Each consumer can have its own options: see `view_with`, `projection_with`, and `reactor_with`.
#[must_use = "a builder does nothing until it is built"]
pub struct RunnerBuilder<S> {
    store: S,
    shared: Arc<dyn RunnerStore>,
    consumers: Vec<(NewConsumer, ConsumerOptions)>,
    lease_time: Duration,
}

impl<S> std::fmt::Debug for RunnerBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.consumers.iter().map(|(consumer, _)| consumer.as_ref().map(|consumer| consumer.name()));
        f.debug_struct("RunnerBuilder").field("consumers", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

impl<S: RunnerStore + Clone + 'static> RunnerBuilder<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { shared: Arc::new(store.clone()), store, consumers: Vec::new(), lease_time: limits::LEASE_TIME }
    }

    /// Adds a view.
    pub fn view<V: View>(self) -> Self {
        self.view_with::<V>(ConsumerOptions::default())
    }

    /// Adds a view with options.
    pub fn view_with<V: View>(self, options: ConsumerOptions) -> Self {
        let store = Arc::clone(&self.shared);
        let consumer = ViewFold::<V>::new().map(|fold| ViewConsumer::new(store, Arc::new(fold)));
        self.add(consumer, options)
    }

    /// Adds a projection. It must use the connection type of the store.
    pub fn projection<P>(self, projection: P) -> Self
    where
        S: ProjectionStore,
        P: Projection<Connection = <S as ProjectionStore>::Connection>,
    {
        self.projection_with(projection, ConsumerOptions::default())
    }

    /// Adds a projection with options.
    pub fn projection_with<P>(self, projection: P, options: ConsumerOptions) -> Self
    where
        S: ProjectionStore,
        P: Projection<Connection = <S as ProjectionStore>::Connection>,
    {
        let store = self.store.clone();
        let consumer = Projector::new(projection).map(|projector| ProjectionConsumer::new(store, Box::new(projector)));
        self.add(consumer, options)
    }

    /// Adds a reactor.
    pub fn reactor<R: Reactor>(self, reactor: R) -> Self {
        self.reactor_with(reactor, ConsumerOptions::default())
    }

    /// Adds a reactor with options.
    pub fn reactor_with<R: Reactor>(self, reactor: R, options: ConsumerOptions) -> Self {
        let consumer = ReactorConsumer::new(Arc::clone(&self.shared), reactor, options.time_limit());
        self.add(consumer, options)
    }

    /// Sets how long a lease lasts without a heartbeat. The default is [`limits::LEASE_TIME`]. When a process is
    /// killed, another process replaces it after this time. A process that is suspended for longer has lost its leases
    /// when it continues.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.lease_time = time;
        self
    }

    fn add<C: Consumer + 'static>(mut self, consumer: Result<C, InvalidName>, options: ConsumerOptions) -> Self {
        self.consumers.push((consumer.map(|consumer| Box::new(consumer) as Box<dyn Consumer>), options));
        self
    }

    /// Checks the names and options and returns the runner. This method does not access the store.
    ///
    /// # Errors
    /// Returns [`RunnerError::InvalidName`], [`RunnerError::DuplicateName`], [`RunnerError::TooManyRetries`],
    /// [`RunnerError::Events`], [`RunnerError::Filter`], [`RunnerError::StartOrder`], or [`RunnerError::LeaseTime`].
    pub fn build(self) -> Result<Runner, RunnerError> {
        if !(limits::MIN_LEASE_TIME..=limits::MAX_LEASE_TIME).contains(&self.lease_time) {
            return Err(RunnerError::LeaseTime { time: self.lease_time });
        }
        let mut names = HashSet::with_capacity(self.consumers.len());
        let consumers = self.consumers.into_iter().map(|(consumer, options)| Ok((consumer?, options)));
        let consumers: Vec<_> = consumers.collect::<Result<_, InvalidName>>()?;
        let filters = consumers.iter().map(|(consumer, _)| consumer.filter());
        let tail = Arc::new(Tail::new(Arc::clone(&self.shared), filters));
        let bases = consumers.iter().map(|(consumer, _)| consumer.name().base()).collect();
        let member_session = MemberSession::new(Arc::clone(&self.shared), self.lease_time, bases);
        let suspensions = Arc::new(Suspensions::new(Arc::clone(&self.shared)));
        let mut loops = Vec::with_capacity(consumers.len());
        for (consumer, options) in consumers {
            options.check(consumer.name())?;
            check_events(&*consumer)?;
            if !names.insert(consumer.name().clone()) {
                return Err(RunnerError::DuplicateName { name: consumer.name().clone() });
            }
            let (store, tail, member_session) =
                (Arc::clone(&self.shared), Arc::clone(&tail), Arc::clone(&member_session));
            let suspension_check = Arc::new(SuspensionCheck::new(consumer.name().base(), Arc::clone(&suspensions)));
            loops.push(Arc::new(ConsumerLoop::new(
                store,
                consumer,
                options,
                tail,
                Some(member_session),
                suspension_check,
            )));
        }
        set_start_order(&loops)?;
        Ok(Runner::new(self.shared, loops, member_session, suspensions))
    }
}

/// Checks what a consumer reads, so that a mistake is reported before the first event arrives.
fn check_events(consumer: &dyn Consumer) -> Result<(), RunnerError> {
    let name = || consumer.name().clone();
    consumer.check().map_err(|error| RunnerError::Events { consumer: name(), source: Arc::new(error) })?;
    consumer.filter().check().map_err(|error| RunnerError::Filter { consumer: name(), source: Arc::new(error) })
}
