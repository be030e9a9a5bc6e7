//! A registry by HTTP, as Confluent's and those that speak like it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use es_messaging_http::{Addresses, Endpoint, HttpAnswer, HttpClient, HttpClientConfig, HttpError, HttpRequest, Tls};
use serde::Deserialize;
use serde_json::json;

use crate::{
    compatibility::Report,
    error::RegistryError,
    limits,
    registry::{Registered, SchemaId, SchemaRegistry, SchemaVersion},
    schema::{Schema, SchemaFormat},
};

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Settings of a [`ConfluentRegistry`].
#[derive(Clone)]
#[must_use]
pub struct ConfluentConfig {
    url: String,
    authorization: Option<String>,
    timeout: Duration,
    allow_http: bool,
    tls: Option<Tls>,
}

impl ConfluentConfig {
    /// A registry at a URL: `https`, or `http` to this machine.
    pub fn new(url: impl Into<String>) -> Self {
        let timeout = es_messaging_http::limits::DEFAULT_TIMEOUT;
        Self { url: url.into(), authorization: None, timeout, allow_http: false, tls: None }
    }

    /// Says who is asking.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        self
    }

    /// How long a call may take.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Allows plain `http` to other machines: inside a network that is trusted.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// TLS of one's own.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl fmt::Debug for ConfluentConfig {
    /// Shows neither the URL nor credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfluentConfig").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A client of a schema registry that speaks Confluent's REST interface. Remembers schemas by their ids, which never change.
///
/// [`check`](SchemaRegistry::check) compares with the latest version alone; where the registry's level is a transitive one,
/// [`register`](SchemaRegistry::register) may refuse more.
///
/// Schemas that refer to others of the registry are not supported.
pub struct ConfluentRegistry {
    base: Endpoint,
    client: HttpClient,
    authorization: Option<String>,
    known: Mutex<HashMap<SchemaId, Schema>>,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
struct Body {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct VersionBody {
    subject: String,
    id: u32,
    version: u32,
    #[serde(flatten)]
    body: Body,
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// What a request is about, for errors.
enum About<'a> {
    Subject(&'a str),
    Version(&'a str, SchemaVersion),
    Id(SchemaId),
}

impl ConfluentRegistry {
    /// A client. Connects at the first call.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a wrong URL, or TLS that does not work.
    pub fn new(config: ConfluentConfig) -> Result<Self, RegistryError> {
        let base = Endpoint::parse(&config.url, Addresses::Any, config.allow_http)?;
        let mut settings = HttpClientConfig::default();
        settings.timeout = config.timeout;
        settings.answer_wait = config.timeout;
        settings.answer_bytes = limits::MAX_SCHEMA_BYTES * 2;
        settings.tls = config.tls;
        let client = HttpClient::new(settings)?;
        Ok(Self { base, client, authorization: config.authorization, known: Mutex::default() })
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str, about: About<'_>) -> Result<T, RegistryError> {
        self.call(HttpRequest::get(&self.base.join(path)?), about).await
    }

    async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        schema: &Schema,
        about: About<'_>,
    ) -> Result<T, RegistryError> {
        let body = json!({"schema": schema.text().trim_end(), "schemaType": schema.format().as_str()});
        self.call(HttpRequest::post(&self.base.join(path)?, CONTENT_TYPE, body.to_string()), about).await
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        request: HttpRequest,
        about: About<'_>,
    ) -> Result<T, RegistryError> {
        let refused = |error: HttpError| RegistryError::Refused { reason: error.to_string() };
        let mut request = request.header("accept", CONTENT_TYPE).map_err(refused)?;
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization).map_err(refused)?;
        }
        let answer = self.client.call(request).await;
        let answer = answer.map_err(|error| RegistryError::Unavailable { source: error.into() })?;
        if !(200..300).contains(&answer.status) {
            return Err(failure(answer, about));
        }
        let body = match answer.body {
            Ok(body) => body,
            Err(error @ HttpError::TooLarge { .. }) => return Err(RegistryError::Answer { reason: error.to_string() }),
            Err(error) => return Err(RegistryError::Unavailable { source: error.into() }),
        };
        serde_json::from_slice(&body).map_err(|error| RegistryError::Answer {
            reason: format!("line {}, column {}", error.line(), error.column()),
        })
    }

    fn remember(&self, id: SchemaId, schema: &Schema) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::CACHED_SCHEMAS {
            known.clear();
        }
        known.insert(id, schema.clone());
    }

    fn known(&self, id: SchemaId) -> Option<Schema> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn version_at(&self, subject: &str, version: &str, about: About<'_>) -> Result<Registered, RegistryError> {
        let body: VersionBody = self.get(&format!("subjects/{}/versions/{version}", encode(subject)), about).await?;
        let (id, schema) = (SchemaId(body.id), schema_of(&body.body)?);
        self.remember(id, &schema);
        Ok(Registered { subject: body.subject, version: SchemaVersion(body.version), id, schema })
    }
}

fn schema_of(body: &Body) -> Result<Schema, RegistryError> {
    if !body.references.is_empty() {
        let reason = "the schema refers to others of the registry, which is not supported".to_owned();
        return Err(RegistryError::Answer { reason });
    }
    // Avro is what is not said.
    let name = body.schema_type.as_deref().unwrap_or("AVRO");
    let unknown = || RegistryError::Answer { reason: format!("{name:?} is no format that is known") };
    Ok(Schema::parse(SchemaFormat::parse(name).ok_or_else(unknown)?, &body.schema)?)
}

fn failure(answer: HttpAnswer, about: About<'_>) -> RegistryError {
    let (status, after) = (answer.status, answer.header("retry-after").and_then(|value| value.trim().parse().ok()));
    let body = answer.body.unwrap_or_default();
    let failure: Failure = serde_json::from_slice(&body).unwrap_or_else(|_| {
        // What is in the way, such as a proxy, does not speak the interface.
        Failure { error_code: 0, message: String::from_utf8_lossy(&body).into_owned() }
    });
    let (code, said) = (failure.error_code, failure.said(status));
    let subject = |about: &About<'_>| match about {
        About::Subject(subject) | About::Version(subject, _) => (*subject).to_owned(),
        About::Id(id) => id.to_string(),
    };
    match (status, code, &about) {
        (401 | 403, ..) => RegistryError::Denied { status },
        (404, 40402, About::Version(subject, version)) => {
            RegistryError::NoVersion { subject: (*subject).to_owned(), version: *version }
        }
        (404, 40403, About::Id(id)) => RegistryError::NoSchema { id: *id },
        (404, 40401 | 40402, About::Subject(subject) | About::Version(subject, _)) => {
            RegistryError::NoSubject { subject: (*subject).to_owned() }
        }
        (409, ..) => RegistryError::Incompatible { subject: subject(&about), reason: said },
        (408 | 429, ..) => RegistryError::Throttled { after: after.map(Duration::from_secs) },
        (500.., ..) => RegistryError::Unavailable { source: format!("it answers {said}").into() },
        _ => RegistryError::Refused { reason: said },
    }
}

impl Failure {
    /// The status, the registry's own code and its words, as far as it says them.
    fn said(&self, status: u16) -> String {
        let message = self.message.chars().map(|c| if c.is_control() { ' ' } else { c });
        let message: String = message.take(limits::MAX_REGISTRY_WORDS).collect();
        let mut said = status.to_string();
        if self.error_code != 0 && self.error_code != u32::from(status) {
            said.push_str(&format!(" (error_code {})", self.error_code));
        }
        match message.trim() {
            "" => said,
            message => format!("{said}: {message}"),
        }
    }
}

/// A subject as a part of a path.
fn encode(subject: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn check_subject(subject: &str) -> Result<(), RegistryError> {
    if subject.is_empty() || subject.len() > limits::MAX_SUBJECT_BYTES || matches!(subject, "." | "..") {
        let reason = "it should have from 1 to 200 bytes, and not be dots alone";
        return Err(RegistryError::Subject { subject: subject.to_owned(), reason });
    }
    Ok(())
}

#[async_trait]
impl SchemaRegistry for ConfluentRegistry {
    async fn register(&self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError> {
        check_subject(subject)?;
        let path = format!("subjects/{}/versions", encode(subject));
        let id = SchemaId(self.post::<Id>(&path, schema, About::Subject(subject)).await?.id);
        self.remember(id, schema);
        Ok(id)
    }

    async fn schema(&self, id: SchemaId) -> Result<Schema, RegistryError> {
        if let Some(schema) = self.known(id) {
            return Ok(schema);
        }
        let body: Body = self.get(&format!("schemas/ids/{id}"), About::Id(id)).await?;
        let schema = schema_of(&body)?;
        self.remember(id, &schema);
        Ok(schema)
    }

    async fn versions(&self, subject: &str) -> Result<Vec<SchemaVersion>, RegistryError> {
        check_subject(subject)?;
        let path = format!("subjects/{}/versions", encode(subject));
        let versions: Vec<u32> = self.get(&path, About::Subject(subject)).await?;
        Ok(versions.into_iter().map(SchemaVersion).collect())
    }

    async fn version(&self, subject: &str, version: SchemaVersion) -> Result<Registered, RegistryError> {
        check_subject(subject)?;
        self.version_at(subject, &version.to_string(), About::Version(subject, version)).await
    }

    async fn latest(&self, subject: &str) -> Result<Registered, RegistryError> {
        check_subject(subject)?;
        self.version_at(subject, "latest", About::Subject(subject)).await
    }

    async fn check(&self, subject: &str, schema: &Schema) -> Result<Report, RegistryError> {
        check_subject(subject)?;
        // Every registry has this path; the one without a version, Confluent's alone.
        let path = format!("compatibility/subjects/{}/versions/latest?verbose=true", encode(subject));
        let mut report = Report::default();
        match self.post::<Verdict>(&path, schema, About::Subject(subject)).await {
            Ok(Verdict { is_compatible: true, .. }) | Err(RegistryError::NoSubject { .. }) => {}
            Ok(Verdict { messages, .. }) if messages.is_empty() => {
                report.broken("$", "the registry says so, and not why")
            }
            Ok(Verdict { messages, .. }) => messages.into_iter().for_each(|message| report.broken("$", message)),
            Err(error) => return Err(error),
        }
        Ok(report)
    }
}

impl fmt::Debug for ConfluentRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfluentRegistry({})", self.base)
    }
}
