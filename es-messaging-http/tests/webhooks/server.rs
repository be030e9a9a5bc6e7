//! A small HTTP server that does what a test says.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use es_messaging::{Message, Outgoing};
use es_messaging_http::{WebhookConfig, WebhookSecret};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::AbortHandle,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The how-manieth connection it came on.
    pub(crate) connection: usize,
    /// The first line.
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What to do about a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    With(u16, &'static str, Vec<u8>),
    /// Answers nothing, and keeps the connection.
    Hang,
    /// Closes without an answer.
    Close,
    /// Closes its sending side in the middle of the answer's head, and keeps the other.
    HalfClose,
    /// Answers, and closes although it promised to keep the connection.
    StatusAndClose(u16),
    /// Answers, says that much more comes, and never sends it.
    Stalled(u16),
}

type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(handler, |stream| async { Some(stream) }).await
    }

    pub(crate) async fn start_with<S, F>(
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (kept, handler): (_, Arc<Handler>) = (received.clone(), Arc::new(handler));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (handler, kept, stream) = (handler.clone(), kept.clone(), accept(stream));
                tokio::spawn(async move {
                    if let Some(stream) = stream.await {
                        serve(stream, connection, &*handler, &kept).await;
                    }
                });
            }
        });
        Self { address, received, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn config(&self) -> WebhookConfig {
        WebhookConfig::new(self.url()).secret(secret(1))
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    handler: &Handler,
    kept: &Mutex<Vec<Received>>,
) {
    let mut buffer = Vec::new();
    while let Some(received) = read_request(&mut stream, &mut buffer, connection).await {
        let reply = handler(&received);
        kept.lock().unwrap().push(received);
        let closes = matches!(reply, Reply::StatusAndClose(_));
        let (status, header, body, more) = match reply {
            Reply::Status(status) => (status, "x: y", Vec::new(), 0),
            Reply::With(status, header, body) => (status, header, body, 0),
            Reply::StatusAndClose(status) => (status, "x: y", Vec::new(), 0),
            Reply::Stalled(status) => (status, "x: y", Vec::new(), 1_000),
            Reply::Hang => std::future::pending().await,
            Reply::Close => return,
            Reply::HalfClose => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut buffer).await;
                return;
            }
        };
        let length = body.len() + more;
        let head = format!("HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: {length}\r\n\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&body).await.is_err() {
            return;
        }
        let _ = stream.flush().await;
        if closes {
            return;
        }
    }
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[end + 4..end + 4 + length].to_vec();
    buffer.drain(..end + 4 + length);
    Some(Received { connection, line, headers, body })
}

pub(crate) fn secret(number: u8) -> WebhookSecret {
    WebhookSecret::from_bytes([number; 32]).unwrap()
}

pub(crate) fn outgoing(id: &str, key: Option<&str>) -> Outgoing {
    let builder = Message::builder("shop.order.placed", "/shop").id(id).subject("order/größe 17");
    let builder = builder.maybe_extension(es_messaging::extension::PARTITION_KEY, key);
    let message = builder.json(&serde_json::json!({ "cents": 100 })).unwrap().build().unwrap();
    Outgoing { topic: "order.placed".to_owned(), message }
}
