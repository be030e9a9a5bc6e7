//! Over Redis Streams.

use es_testkit::SeededRng;
use xtask::{
    brokers::redis::{RedisOptions, ThrowawayRedis},
    tools,
};

use crate::services::{Disturbed, away, each_order_is_shipped_once};

/// Flushes before it answers, and so may be killed.
struct Redis(ThrowawayRedis);

impl Redis {
    async fn start() -> Self {
        let install = tools::ensure_redis().expect("Redis is there or can be installed");
        Self(ThrowawayRedis::start(&install, &RedisOptions::durable()).expect("Redis starts"))
    }
}

impl Disturbed for Redis {
    fn url(&self) -> String {
        self.0.url()
    }

    async fn disturb(&mut self, random: &SeededRng) {
        self.0.kill().expect("Redis can be killed");
        away(random).await;
        self.0.restart().expect("Redis starts again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_order_is_shipped_once_over_redis() {
    each_order_is_shipped_once(Redis::start().await).await;
}
