//! Whether the server flushes before it acknowledges.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{limits, options::NatsOptions};

const ASK_LIMIT: Duration = Duration::from_secs(3);

/// What is known of what an acknowledgement by JetStream means.
///
/// By default JetStream acknowledges when the operating system has the message, and flushes to the disk every two minutes: what was
/// acknowledged survives a crash of the server's process, not one of its machine, and in a cluster not one of all machines at once. With
/// `sync_interval: always` it flushes first. A server tells this only on its monitoring port and to its system account, so an ordinary
/// client cannot see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Each server says on its monitoring port that it flushes before it acknowledges.
    Synced,
    /// [`NatsOptions::assume_synced`] says so.
    Assumed,
    /// A server says on its monitoring port that it does not.
    NotSynced,
    /// Nobody was asked, or a monitoring port did not answer.
    Unknown,
}

impl Durability {
    /// Whether acknowledged messages may be lost with a machine, as far as one knows.
    pub fn may_lose(self) -> bool {
        matches!(self, Self::NotSynced | Self::Unknown)
    }

    pub(crate) async fn find(options: &NatsOptions) -> Self {
        let mut all = if options.monitoring.is_empty() { Self::Unknown } else { Self::Synced };
        for server in &options.monitoring {
            match timeout(ASK_LIMIT, ask(server)).await {
                Ok(Some(true)) => {}
                Ok(Some(false)) => {
                    all = Self::NotSynced;
                    break;
                }
                Ok(None) | Err(_) => all = Self::Unknown,
            }
        }
        if options.assume_synced && all != Self::Synced {
            return Self::Assumed;
        }
        if all.may_lose() {
            tracing::warn!(
                known = ?all,
                "NATS acknowledges messages up to two minutes before it flushes them, unless it runs with `sync_interval: always`: \
                 a power cut may lose what was confirmed. Say `assume_synced` if it does, or if that is accepted"
            );
        }
        all
    }
}

/// What the monitoring port of a server says; none if it does not answer.
async fn ask(server: &str) -> Option<bool> {
    let mut connection = TcpStream::connect(server).await.ok()?;
    let question = format!("GET /varz HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    connection.write_all(question.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    connection.take(limits::MAX_MONITORING_BYTES as u64).read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.lines().next()?.contains(" 200") {
        return None;
    }
    let variables: serde_json::Value = serde_json::from_str(body).ok()?;
    let jetstream = variables.get("jetstream")?.get("config")?;
    Some(jetstream.get("sync_always").and_then(serde_json::Value::as_bool).unwrap_or(false))
}
