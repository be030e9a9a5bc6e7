//! A client of a few lines, and the service on a free port.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Nothing takes this long unless it hangs.
pub const LONG: Duration = Duration::from_secs(30);

/// Speaks HTTP/1.0: one request a connection, and a body that ends with it.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub address: SocketAddr,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Client {
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> BufReader<TcpStream> {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.0\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.write_all(format!("{request}\r\n{body}").as_bytes()).await.unwrap();
        BufReader::new(connection)
    }

    /// Any request.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answering = async {
            let mut connection = self.send(method, path, headers, body).await;
            let (status, headers) = head(&mut connection).await;
            let mut body = String::new();
            connection.read_to_string(&mut body).await.unwrap();
            Answer { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
        };
        timeout(LONG, answering).await.unwrap_or_else(|_| panic!("{method} {path} is not answered"))
    }

    /// A command, under a key.
    pub async fn command(&self, path: &str, key: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.call("POST", path, &headers, &body.to_string()).await
    }

    /// What the read model shows of an account, at a bookmark at least.
    pub async fn balance(&self, account: &str, bookmark: Option<&str>) -> Answer {
        let headers: Vec<_> = bookmark.map(|bookmark| ("event-bookmark", bookmark)).into_iter().collect();
        self.call("GET", &format!("/accounts/{account}"), &headers, "").await
    }

    /// Live updates, from now on or after an id.
    pub async fn updates(&self, path: &str, last_id: Option<&str>) -> Updates {
        let headers: Vec<_> = last_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let mut connection = self.send("GET", path, &headers, "").await;
        let (status, headers) = timeout(LONG, head(&mut connection)).await.expect("an answer in time");
        assert_eq!((status, headers["content-type"].as_str()), (200, "text/event-stream"));
        Updates { connection, last_id: String::new() }
    }
}

async fn head(connection: &mut BufReader<TcpStream>) -> (u16, BTreeMap<String, String>) {
    let status = line(connection).await.expect("a status line");
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status}"));
    let mut headers = BTreeMap::new();
    while let Some(line) = line(connection).await.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    (status, headers)
}

/// A line without its end; `None` where the connection ends.
async fn line(connection: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = connection.read_line(&mut line).await.unwrap();
    (length > 0).then(|| line.trim_end().to_owned())
}

pub struct Updates {
    connection: BufReader<TcpStream>,
    /// What a browser would send to continue after the last update.
    pub last_id: String,
}

impl Updates {
    /// The position, type and data of the next update; `None` at the end.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        timeout(LONG, self.read()).await.expect("an update or the end, in time")
    }

    async fn read(&mut self) -> Option<(String, String, Value)> {
        let mut event = String::new();
        loop {
            let line = line(&mut self.connection).await?;
            match line.split_once(": ") {
                Some(("id", value)) => self.last_id = value.to_owned(),
                Some(("event", value)) => event = value.to_owned(),
                Some(("data", value)) => {
                    let (position, _event_id) = self.last_id.split_once('@').expect("a bookmark");
                    return Some((position.to_owned(), event, serde_json::from_str(value).unwrap()));
                }
                _ => {}
            }
        }
    }
}

/// The service in this process.
pub struct Server {
    pub client: Client,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), web::ServeError>>,
}

impl Server {
    pub async fn start(store: impl es_core::RunnerStore + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client { address: listener.local_addr().unwrap() };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                // The test does not stop it.
                std::future::pending().await
            }
        };
        Self { client, stop, running: tokio::spawn(web::serve(listener, Arc::new(store), shutdown)) }
    }

    /// Asks it to stop.
    pub fn shut_down(self) -> JoinHandle<Result<(), web::ServeError>> {
        self.stop.send(()).expect("it runs");
        self.running
    }

    /// Waits for its end.
    pub async fn ended(running: JoinHandle<Result<(), web::ServeError>>) -> Result<(), web::ServeError> {
        timeout(LONG, running).await.expect("it ends").expect("it does not panic")
    }

    /// Waits until it ends by itself, which may take its retries.
    pub async fn ends(self) -> Result<(), web::ServeError> {
        let hours = Duration::from_secs(24 * 3_600);
        timeout(hours, self.running).await.expect("it ends").expect("it does not panic")
    }
}
