//! Whether the server keeps what it confirms.

use std::collections::HashMap;

use redis::RedisError;

use crate::link::{Link, ask};

/// What is known of what a confirmation by Redis means.
///
/// Redis confirms when a write is in its memory. Only with `appendonly yes` and `appendfsync always` it is on the disk by then; by
/// default (`everysec`) up to two seconds of confirmed writes go with a crash of the machine, and without an append-only file
/// everything since the last snapshot. A failover to a replica may lose confirmed writes in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Flushed before it is confirmed.
    Synced,
    /// In the append-only file, which is flushed every second, or when the system likes.
    Appended,
    /// Without an append-only file.
    Volatile,
    /// [`RedisOptions::assume_durable`](crate::RedisOptions::assume_durable) says so, and the server does not say otherwise, as it does not
    /// tell.
    Assumed,
    /// The server does not tell (`CONFIG` is not allowed).
    Unknown,
}

impl Durability {
    /// Whether confirmed messages may be lost with the server, as far as one knows.
    pub fn may_lose(self) -> bool {
        matches!(self, Self::Appended | Self::Volatile | Self::Unknown)
    }

    pub(crate) async fn find(link: &Link, assume: bool) -> Self {
        let command = {
            let mut command = redis::cmd("CONFIG");
            command.arg("GET").arg("append*");
            command
        };
        let answer: Result<HashMap<String, String>, RedisError> =
            ask!(link, |connection| command.query_async(connection));
        let found = match answer {
            Err(_) if assume => Self::Assumed,
            Err(_) => Self::Unknown,
            Ok(settings) => {
                let is = |name: &str, value: &str| settings.get(name).is_some_and(|found| found == value);
                match (is("appendonly", "yes"), is("appendfsync", "always")) {
                    (true, true) => Self::Synced,
                    (true, false) => Self::Appended,
                    (false, _) => Self::Volatile,
                }
            }
        };
        if found.may_lose() && !assume {
            tracing::warn!(
                known = ?found,
                "Redis may lose messages that it has confirmed, unless it runs with `appendonly yes` and `appendfsync always`. Say \
                 `assume_durable` if that is accepted"
            );
        }
        found
    }
}
