//! The shop: takes orders, and tells the world of them.

use std::sync::Arc;

use es_core::{DeadLetterStore, EventStore, Recorded, Repository, RunnerStore};
use es_messaging::{Broker, Drafts, Relay, RelayMonitor, map_with};
use es_projections::Runner;

use crate::{
    Error,
    contract::{ORDER_PLACED, OrderPlaced, topology},
    order::{Order, OrderEvent},
    placing, report,
};

/// Places orders up to a number and publishes them, until `shutdown` is ready.
pub async fn run<S>(
    store: &S,
    broker: &dyn Broker,
    orders: u64,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error>
where
    S: EventStore + RunnerStore + DeadLetterStore + Clone + 'static,
{
    let (runner, monitor) = relay(store, broker).await?;
    let repository = Repository::<Order>::new(store);
    let placing = async {
        placing::place_orders(&repository, orders).await?;
        say!("{orders} orders are placed");
        // The relay goes on.
        std::future::pending::<Result<(), Error>>().await
    };
    tokio::select! {
        published = runner.run(shutdown) => Ok(published?),
        failed = placing => failed,
        () = report::publishing(&runner, &monitor) => Ok(()),
    }
}

/// What publishes the orders, and what shows how that goes. Of an event it tells only what the contract says: the margin is the shop's own business.
pub async fn relay<S>(store: &S, broker: &dyn Broker) -> Result<(Runner, RelayMonitor), Error>
where
    S: RunnerStore + DeadLetterStore + Clone + 'static,
{
    broker.declare(&topology()).await?;
    let mapper = map_with(|event: &Recorded<OrderEvent>, messages: &mut Drafts<'_>| {
        let OrderEvent::Placed { cents, .. } = event.event;
        let placed = OrderPlaced { order: event.stream().id().to_owned(), cents };
        let draft = messages.message(ORDER_PLACED).json(&placed)?;
        messages.add(draft)
    });
    let relay = Relay::builder("orders_out", "/shop/orders", mapper)
        .topic("{category}.{type}")
        .build(broker.publisher().await?, Arc::new(store.clone()))?;
    let monitor = relay.monitor();
    Ok((Runner::builder(store).reactor_with(relay, Relay::options()).build()?, monitor))
}
