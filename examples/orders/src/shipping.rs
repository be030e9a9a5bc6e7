//! The shipping service: ships what was ordered, each order exactly once.

use std::sync::Arc;

use es_core::{
    Append, ControlStore, DeadLetterStore, DomainEvent, ExpectedVersion, InboxStore, MessageUnit, NewEvent, StreamId,
};
use es_messaging::{Broker, Consumer, Subscription};

use crate::{
    Error,
    contract::{ORDER_PLACED, OrderPlaced, SHIPPING, TOPIC, topology},
    report,
    shipment::ShipmentEvent,
};

/// Ships what was ordered, until `shutdown` is ready.
pub async fn run<S>(store: &S, broker: &Arc<dyn Broker>, shutdown: impl Future<Output = ()>) -> Result<(), Error>
where
    S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static,
{
    broker.declare(&topology()).await?;
    let consumer = consumer(store, Arc::clone(broker))?;
    let monitor = consumer.monitor();
    tokio::select! {
        ended = consumer.run(shutdown) => Ok(ended?),
        () = report::shipping(&monitor) => Ok(()),
    }
}

pub fn consumer<S>(store: &S, broker: Arc<dyn Broker>) -> Result<Consumer<S>, Error>
where
    S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static,
{
    let subscription = Subscription::new(SHIPPING, [TOPIC]);
    let consumer = Consumer::builder(SHIPPING, store, broker, subscription)
        .on(ORDER_PLACED, |order: OrderPlaced, message, unit| {
            Box::pin(async move {
                // A second shipment of the same order would be a second event: nothing here looks for the first.
                let stream = StreamId::new(ShipmentEvent::CATEGORY, &order.order)?;
                let shipped = ShipmentEvent::Shipped { order: order.order, cents: order.cents };
                let event = NewEvent::of(&shipped)?.with_metadata(message.metadata());
                unit.append(Append::to(stream, ExpectedVersion::Any, vec![event]).build()?)?;
                Ok(())
            })
        })
        .build()?;
    Ok(consumer)
}
