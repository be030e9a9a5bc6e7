//! Counts what a client and a PostgreSQL say to each other, whatever machine they run on.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// What went over the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireCosts {
    /// Times that the client waited for the answer to a statement. Whether a connection is tested before it is used depends
    /// on how long it was idle, so that does not count.
    pub round_trips: u64,
    /// Statements that the server executed.
    pub statements: u64,
    /// Rows that the server sent.
    pub rows: u64,
    /// Bytes that the client sent.
    pub bytes_sent: u64,
    /// Bytes that the server sent.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
struct Counters {
    round_trips: AtomicU64,
    statements: AtomicU64,
    rows: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

/// A proxy in front of a PostgreSQL that reads the message headers of both directions.
#[derive(Debug)]
pub struct WireCounter {
    url: String,
    counters: Arc<Counters>,
    accepting: JoinHandle<()>,
}

impl WireCounter {
    /// Listens on a free port of the loopback address, and passes everything on to the server of `url`.
    ///
    /// # Panics
    /// If the URL names no host and port, or no port is free.
    pub async fn before(url: &str) -> Self {
        let (credentials, rest) = url.split_once('@').expect("a URL with a user");
        let (server, database) = rest.split_once('/').expect("a URL with a database");
        let server = server.to_owned();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
        let port = listener.local_addr().expect("a local address").port();
        let counters = Arc::<Counters>::default();
        let shared = Arc::clone(&counters);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(relay(client.0, server.1, Arc::clone(&shared), Side::Client));
                tokio::spawn(relay(server.0, client.1, Arc::clone(&shared), Side::Server));
            }
        });
        // The proxy reads plain text.
        let separator = if database.contains('?') { '&' } else { '?' };
        let url = format!("{credentials}@127.0.0.1:{port}/{database}{separator}sslmode=disable");
        Self { url, counters, accepting }
    }

    /// The URL of the server behind the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything so far.
    pub fn costs(&self) -> WireCosts {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let Counters { round_trips, statements, rows, bytes_sent, bytes_received } = &*self.counters;
        WireCosts {
            round_trips: read(round_trips),
            statements: read(statements),
            rows: read(rows),
            bytes_sent: read(bytes_sent),
            bytes_received: read(bytes_received),
        }
    }
}

impl Drop for WireCounter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl WireCosts {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            round_trips: self.round_trips - earlier.round_trips,
            statements: self.statements - earlier.statements,
            rows: self.rows - earlier.rows,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            bytes_received: self.bytes_received - earlier.bytes_received,
        }
    }
}

impl WireCosts {
    /// The smaller of each number.
    #[must_use]
    pub fn cheapest(self, other: Self) -> Self {
        Self {
            round_trips: self.round_trips.min(other.round_trips),
            statements: self.statements.min(other.statements),
            rows: self.rows.min(other.rows),
            bytes_sent: self.bytes_sent.min(other.bytes_sent),
            bytes_received: self.bytes_received.min(other.bytes_received),
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// Passes messages on, one by one, and counts each before the other side sees it.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counters: Arc<Counters>, side: Side) {
    // The client's first message has no type.
    let mut is_startup = side == Side::Client;
    let mut message = Vec::new();
    let mut is_asked = false;
    loop {
        message.clear();
        let kind = if is_startup {
            0
        } else {
            match from.read_u8().await {
                Ok(kind) => kind,
                Err(_) => break,
            }
        };
        let Ok(length) = from.read_u32().await else { break };
        if !is_startup {
            message.push(kind);
        }
        is_startup = false;
        message.extend(length.to_be_bytes());
        let start = message.len();
        message.resize(start + (length as usize).saturating_sub(4), 0);
        if from.read_exact(&mut message[start..]).await.is_err() {
            break;
        }
        let ends_nothing = side == Side::Client && kind == b'S' && !is_asked;
        is_asked = side == Side::Client && kind != b'S';
        if !ends_nothing {
            count(&counters, side, kind, message.len() as u64);
        }
        if to.write_all(&message).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn count(counters: &Counters, side: Side, kind: u8, bytes: u64) {
    let one = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    match (side, kind) {
        // Sync, and a simple query.
        (Side::Client, b'S') => one(&counters.round_trips),
        (Side::Client, b'Q') => {
            one(&counters.round_trips);
            one(&counters.statements);
        }
        // Execute.
        (Side::Client, b'E') => one(&counters.statements),
        (Side::Server, b'D') => one(&counters.rows),
        _ => {}
    }
    let total = if side == Side::Client { &counters.bytes_sent } else { &counters.bytes_received };
    total.fetch_add(bytes, Ordering::SeqCst);
}
