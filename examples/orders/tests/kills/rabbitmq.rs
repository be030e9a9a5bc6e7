//! Over RabbitMQ.

use es_messaging::Broker;
use es_messaging_rabbitmq::RabbitMq;
use es_testkit::SeededRng;
use xtask::{
    brokers::rabbitmq::{RabbitMqOptions, ThrowawayRabbitMq},
    tools,
};

use crate::services::{Disturbed, away, each_order_is_shipped_once};

#[path = "../../src/contract.rs"]
#[allow(dead_code, unreachable_pub, reason = "only what is declared is needed")]
mod contract;

/// Its quorum queues flush before they confirm, and so it may be killed.
struct Rabbit(ThrowawayRabbitMq);

impl Rabbit {
    /// The queues are declared as by a deployment: killed within a second after that, RabbitMQ forgets where it keeps them. Services that
    /// declare them themselves wait that long, but nobody would mend the queue for them.
    async fn start() -> Self {
        let install = tools::ensure_rabbitmq().expect("RabbitMQ is there or can be installed");
        let server = ThrowawayRabbitMq::start(&install, &RabbitMqOptions::default()).expect("RabbitMQ starts");
        let broker = RabbitMq::connect(&server.url(), Default::default()).await.expect("a connection");
        broker.declare(&contract::topology()).await.expect("the queues are declared");
        broker.close().await;
        Self(server)
    }
}

impl Disturbed for Rabbit {
    fn url(&self) -> String {
        self.0.url()
    }

    /// It takes some to start.
    fn seconds(&self) -> u64 {
        16
    }

    async fn disturb(&mut self, random: &SeededRng) {
        self.0.kill().expect("RabbitMQ can be killed");
        away(random).await;
        self.0.restart().expect("RabbitMQ starts again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_shipped_once_over_rabbitmq() {
    each_order_is_shipped_once(Rabbit::start().await).await;
}
