//! `cargo run -p orders`: both services in one process, with the broker inside it.

use std::{path::Path, sync::Arc, time::Duration};

use es_core::{OperatorRequest, Position, Repository};
use es_messaging::{Broker, MemoryBroker};
use es_sqlite::SqliteStore;
use tokio::{sync::oneshot, time::sleep};

use crate::{Error, placing, shipping, shop, totals};

const ORDERS: u64 = 1_000;

pub async fn run() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("orders-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = show(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    done
}

async fn show(folder: &Path) -> Result<(), Error> {
    let shop = SqliteStore::open(folder.join("shop.db")).await?;
    let shipping = SqliteStore::open(folder.join("shipping.db")).await?;
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());

    say!("A shop and a shipping service, each with a store of its own, and a broker between them.\n");
    let (relay, _) = shop::relay(&shop, &*broker).await?;
    let consumer = shipping::consumer(&shipping, Arc::clone(&broker))?;
    let monitor = consumer.monitor();
    let (stop, stopped) = oneshot::channel::<()>();
    let shipping_service = tokio::spawn(async move {
        consumer
            .run(async {
                _ = stopped.await;
            })
            .await
    });

    placing::place_orders(&Repository::new(&shop), ORDERS).await?;
    say!("{ORDERS} orders are placed");
    relay.catch_up().await?;
    say!("all are published, each with its event's id");
    // As if the shop had been killed before it noted that: everything is published a second time.
    relay
        .reset("orders_out", Position::ZERO, &OperatorRequest::by("demo")?.because("to show what duplicates do")?)
        .await?;
    relay.catch_up().await?;
    say!("and all once more, as after a crash at the worst moment");

    while monitor.status().handled + monitor.status().duplicates < 2 * ORDERS {
        sleep(Duration::from_millis(10)).await;
    }
    let status = monitor.status();
    say!("{} messages took effect, {} were known already\n", status.handled, status.duplicates);
    drop(stop);
    shipping_service.await??;

    say!("ordered: {}", totals::placed(&shop).await?);
    say!("shipped: {}", totals::shipped(&shipping).await?);
    say!("\nWith two processes and a broker that they share: see examples/orders/README.md.");
    Ok(())
}
