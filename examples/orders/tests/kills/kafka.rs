//! Over the Kafka protocol (Tansu).

use std::time::Duration;

use es_testkit::{SeededRng, broker_conformance::TcpProxy};
use xtask::{brokers::tansu::ThrowawayTansu, tools};

use crate::services::{Disturbed, away, each_order_is_shipped_once};

/// Keeps nothing over a restart: its connections are cut instead.
struct Kafka {
    _server: ThrowawayTansu,
    proxy: TcpProxy,
}

impl Kafka {
    async fn start() -> Self {
        let install = tools::ensure_tansu().expect("Tansu is there or can be installed");
        let port = xtask::brokers::free_port().expect("a free port");
        let proxy = TcpProxy::to(port).await.expect("a proxy");
        let server = ThrowawayTansu::start_behind(&install, port, proxy.port()).expect("Tansu starts");
        Self { _server: server, proxy }
    }
}

impl Disturbed for Kafka {
    fn url(&self) -> String {
        format!("kafka://127.0.0.1:{}?session.timeout.ms=6000", self.proxy.port())
    }

    /// A group waits for a member that was killed until its session has run out.
    fn longest_peace(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn disturb(&mut self, random: &SeededRng) {
        self.proxy.set_open(false);
        away(random).await;
        self.proxy.set_open(true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_shipped_once_over_kafka() {
    each_order_is_shipped_once(Kafka::start().await).await;
}
