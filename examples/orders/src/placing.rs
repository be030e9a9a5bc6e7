//! Customers: they place orders, and go on where they were when the shop was killed.

use es_core::{ExecuteError, Repository};
use futures_util::{TryStreamExt, stream};

use crate::{
    Error,
    order::{AlreadyPlaced, Order, Place},
};

/// Orders that are placed at the same time.
const CUSTOMERS: usize = 32;
/// The next batch begins when this many are placed, so that a search finds where one was.
const BATCH: u64 = 500;

/// Places the orders up to a number, each once, however often this is called or killed.
pub async fn place_orders(orders: &Repository<Order>, upto: u64) -> Result<(), Error> {
    let (mut begun, mut not_begun) = (0, upto.div_ceil(BATCH));
    // Batches are begun in order: the last one whose first order is there may be unfinished.
    while begun + 1 < not_begun {
        let middle = begun.midpoint(not_begun);
        if orders.load(&order_id(middle * BATCH + 1)).await?.state.is_placed() {
            begun = middle;
        } else {
            not_begun = middle;
        }
    }
    for batch in begun..upto.div_ceil(BATCH) {
        let first = batch * BATCH + 1;
        // Alone, so that what the search looks at comes before the rest.
        place(orders, first).await?;
        let rest = (first + 1..=upto.min(first + BATCH - 1)).map(Ok::<u64, Error>);
        stream::iter(rest).try_for_each_concurrent(CUSTOMERS, |number| place(orders, number)).await?;
    }
    Ok(())
}

async fn place(orders: &Repository<Order>, number: u64) -> Result<(), Error> {
    match orders.execute(order_id(number), Place::number(number)).await {
        Ok(_) | Err(ExecuteError::Rejected(AlreadyPlaced)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn order_id(number: u64) -> String {
    format!("{number:06}")
}
