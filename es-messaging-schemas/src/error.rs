//! What can go wrong with schemas and registries.

use std::{path::PathBuf, time::Duration};

use es_core::BoxError;

use crate::{
    compatibility::Report,
    registry::{SchemaId, SchemaVersion},
    schema::SchemaFormat,
};

/// Why something is no schema that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// It is no schema of its format; correct it.
    #[error("it is no {format} schema: {reason}")]
    Invalid {
        /// Its format.
        format: SchemaFormat,
        /// What is wrong.
        reason: String,
    },
    /// It is larger than allowed.
    #[error("the schema has {actual} bytes, at most {limit}")]
    TooLarge {
        /// How much is allowed.
        limit: usize,
        /// How much there is.
        actual: usize,
    },
    /// This build does not have the format; enable its feature of `es-messaging-schemas`.
    #[error("{format} schemas need a feature of es-messaging-schemas that is not enabled")]
    NotCompiled {
        /// Which format.
        format: SchemaFormat,
    },
    /// A type has no schema of the form that events have.
    #[error("{type_name} is not in serde's default form for enums: {reason}")]
    NotAnEvent {
        /// Which type.
        type_name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Two schemas of one name.
    #[error("there are two schemas of {name:?}")]
    Twice {
        /// Which name.
        name: String,
    },
}

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no such subject.
    #[error("there is no subject {subject:?}")]
    NoSubject {
        /// Which one.
        subject: String,
    },
    /// The subject has no such version.
    #[error("the subject {subject:?} has no version {version}")]
    NoVersion {
        /// Which subject.
        subject: String,
        /// Which version.
        version: SchemaVersion,
    },
    /// There is no such schema.
    #[error("there is no schema {id}")]
    NoSchema {
        /// Which one.
        id: SchemaId,
    },
    /// The name of a subject cannot be used.
    #[error("{subject:?} is no name of a subject: {reason}")]
    Subject {
        /// Which one.
        subject: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The schema does not go with those before it: change it so that it does, or give the new messages another type.
    #[error("the schema of {subject:?} does not go with those before it: {reason}")]
    Incompatible {
        /// Which subject.
        subject: String,
        /// What breaks; the registry's words.
        reason: String,
    },
    /// It is no schema.
    #[error("{0}")]
    Schema(#[from] SchemaError),
    /// The registry does not take the schema.
    #[error("the registry refuses the request: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// The registry refuses the credentials, or what they may do.
    #[error("the registry refuses access ({status})")]
    Denied {
        /// The status that it gave.
        status: u16,
    },
    /// The registry asks for patience.
    #[error("the registry takes no more requests for now")]
    Throttled {
        /// How long it asks to wait, if it says so.
        after: Option<Duration>,
    },
    /// The registry does not answer, or fails. Try again.
    #[error("the registry does not answer: {source}")]
    Unavailable {
        /// What happened.
        source: BoxError,
    },
    /// What the registry answers is not what its interface says.
    #[error("the registry's answer cannot be read: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the registry is not as it should be; look at its history.
    #[error("{path}: {reason}", path = path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of the registry cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is too much of something.
    #[error("{what}: at most {limit}")]
    LimitExceeded {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// A setting is wrong.
    #[error("{0}")]
    Config(#[from] es_messaging::BrokerError),
}

impl RegistryError {
    /// Whether trying again may help without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    pub(crate) fn incompatible(subject: &str, report: &Report) -> Self {
        Self::Incompatible { subject: subject.to_owned(), reason: report.to_string() }
    }
}
