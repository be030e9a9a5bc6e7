//! A small registry over TCP that speaks Confluent's documented interface, as far as the client uses it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use es_messaging_schemas::{Compatibility, Schema, SchemaFormat};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

#[derive(Default)]
struct State {
    subjects: BTreeMap<String, Vec<u32>>,
    schemas: Vec<(String, String)>,
    requests: Vec<String>,
    /// Answered to the next request in place of the right answer.
    next: Option<(u16, String)>,
}

pub(crate) struct RegistryServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RegistryServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/registry", self.address)
    }

    /// The first lines of what came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn answer_next(&self, status: u16, body: &str) {
        self.state.lock().unwrap().next = Some((status, body.to_owned()));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end + 4 + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = buffer[end + 4..end + 4 + length].to_vec();
        buffer.drain(..end + 4 + length);
        let line = head.lines().next().unwrap().to_owned();
        let (status, answer) = {
            let mut state = state.lock().unwrap();
            state.requests.push(line.clone());
            match state.next.take() {
                Some(next) => next,
                None if header("authorization").as_deref() != Some("Basic YW5uOnNlY3JldA==") => (401, "{}".to_owned()),
                None => {
                    let (status, answer) = route(&mut state, &line, &body);
                    (status, answer.to_string())
                }
            }
        };
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\ncontent-length: {length}\r\n\r\n"
        );
        if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn error(code: u32, message: &str) -> (u16, Value) {
    ((code / 100) as u16, json!({"error_code": code, "message": message}))
}

fn route(state: &mut State, line: &str, body: &[u8]) -> (u16, Value) {
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let path = path.strip_prefix("/registry/").unwrap();
    let path = path.split('?').next().unwrap();
    let parts: Vec<String> = path.split('/').map(|part| es_messaging::percent_decode(part).unwrap()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let posted = || -> (String, String) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let format = body["schemaType"].as_str().unwrap_or("AVRO");
        (format.to_owned(), body["schema"].as_str().unwrap().to_owned())
    };
    let parse = |(format, text): &(String, String)| Schema::parse(SchemaFormat::parse(format).unwrap(), text);
    let check = |state: &State, subject: &str, new: &Schema| {
        let ids = state.subjects.get(subject).cloned().unwrap_or_default();
        let before: Vec<Schema> = ids.iter().map(|id| parse(&state.schemas[*id as usize - 1]).unwrap()).collect();
        Compatibility::Backward.check(new, &before).unwrap()
    };
    match (method, &parts[..]) {
        ("POST", ["subjects", subject, "versions"]) => {
            let posted = posted();
            let Ok(schema) = parse(&posted) else { return error(42201, "no schema") };
            let ids = state.subjects.get(*subject).cloned().unwrap_or_default();
            if let Some(id) = ids.iter().find(|id| state.schemas[**id as usize - 1] == posted) {
                return (200, json!({"id": id}));
            }
            let report = check(state, subject, &schema);
            if !report.is_compatible() {
                return (409, json!({"error_code": 409, "message": report.to_string()}));
            }
            let known = state.schemas.iter().position(|known| *known == posted);
            let at = known.unwrap_or_else(|| {
                state.schemas.push(posted);
                state.schemas.len() - 1
            });
            let id = at as u32 + 1;
            state.subjects.entry((*subject).to_owned()).or_default().push(id);
            (200, json!({"id": id}))
        }
        ("POST", ["compatibility", "subjects", subject, "versions", "latest"]) => {
            // Confluent's registry and Karapace answer with the one or the other.
            if !state.subjects.contains_key(*subject) {
                return error(if subject.starts_with('n') { 40401 } else { 40402 }, "no version");
            }
            let Ok(schema) = parse(&posted()) else { return error(42201, "no schema") };
            let report = check(state, subject, &schema);
            let messages: Vec<String> = report.breaks.iter().map(ToString::to_string).collect();
            (200, json!({"is_compatible": report.is_compatible(), "messages": messages}))
        }
        ("GET", ["schemas", "ids", id]) => match state.schemas.get(id.parse::<usize>().unwrap().wrapping_sub(1)) {
            // Avro is what is not said.
            Some((format, text)) if format == "AVRO" => (200, json!({"schema": text})),
            Some((format, text)) => (200, json!({"schema": text, "schemaType": format})),
            None => error(40403, "no schema"),
        },
        ("GET", ["subjects", subject, "versions"]) => match state.subjects.get(*subject) {
            Some(ids) => (200, json!((1..=ids.len()).collect::<Vec<_>>())),
            None => error(40401, "no subject"),
        },
        ("GET", ["subjects", subject, "versions", version]) => {
            let Some(ids) = state.subjects.get(*subject) else { return error(40401, "no subject") };
            let version = if *version == "latest" { ids.len() } else { version.parse().unwrap() };
            let Some(id) = ids.get(version.wrapping_sub(1)) else { return error(40402, "no version") };
            let (format, text) = &state.schemas[*id as usize - 1];
            (200, json!({"subject": subject, "version": version, "id": id, "schema": text, "schemaType": format}))
        }
        // As Karapace answers for what it does not have.
        _ => error(404, "Not Found"),
    }
}
