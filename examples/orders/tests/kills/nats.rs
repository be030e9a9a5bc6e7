//! Over NATS.

use es_testkit::SeededRng;
use xtask::{
    brokers::nats::{NatsOptions, ThrowawayNats},
    tools,
};

use crate::services::{Disturbed, away, each_order_is_shipped_once};

/// Flushes before it acknowledges, and so may be killed.
struct Nats(ThrowawayNats);

impl Nats {
    async fn start() -> Self {
        let install = tools::ensure_nats().expect("NATS is there or can be installed");
        Self(ThrowawayNats::start(&install, &NatsOptions::durable()).expect("NATS starts"))
    }
}

impl Disturbed for Nats {
    fn url(&self) -> String {
        self.0.url()
    }

    async fn disturb(&mut self, random: &SeededRng) {
        self.0.kill().expect("NATS can be killed");
        away(random).await;
        self.0.restart().expect("NATS starts again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_shipped_once_over_nats() {
    each_order_is_shipped_once(Nats::start().await).await;
}
