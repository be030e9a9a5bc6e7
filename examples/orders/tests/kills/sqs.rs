//! Over SQS and SNS (moto).

use es_testkit::{SeededRng, broker_conformance::TcpProxy};
use xtask::{brokers::moto::ThrowawayMoto, tools};

use crate::services::{Disturbed, away, each_order_is_shipped_once};

/// Keeps nothing over a restart: its connections are cut instead.
struct Sqs {
    _server: ThrowawayMoto,
    proxy: TcpProxy,
}

impl Sqs {
    async fn start() -> Self {
        let install = tools::ensure_moto().expect("moto is there or can be installed");
        let server = ThrowawayMoto::start(&install).expect("moto starts");
        let proxy = TcpProxy::to(server.port()).await.expect("a proxy");
        Self { _server: server, proxy }
    }
}

impl Disturbed for Sqs {
    fn url(&self) -> String {
        format!("sqs://any:any@127.0.0.1:{}/?fifo=true", self.proxy.port())
    }

    /// The imitation is slow.
    fn seconds(&self) -> u64 {
        16
    }

    async fn disturb(&mut self, random: &SeededRng) {
        self.proxy.set_open(false);
        away(random).await;
        self.proxy.set_open(true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_shipped_once_over_sqs() {
    each_order_is_shipped_once(Sqs::start().await).await;
}
