//! What keeps schemas and their versions.

use std::fmt;

use async_trait::async_trait;

use crate::{compatibility::Report, error::RegistryError, schema::Schema};

/// Names a schema in its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a schema within its subject: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion(pub u32);

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A schema as a registry keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The subject that it belongs to.
    pub subject: String,
    /// Which of its versions.
    pub version: SchemaVersion,
    /// Its id.
    pub id: SchemaId,
    /// The schema.
    pub schema: Schema,
}

/// Keeps schemas: under ids, and as versions of subjects. What an id or a version stands for never changes.
///
/// # Cancel safety
/// A dropped [`register`](Self::register) may have happened; register it again, which gives the same id.
#[async_trait]
pub trait SchemaRegistry: fmt::Debug + Send + Sync {
    /// Makes a schema the latest version of a subject, if it is not one of its versions already.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] if it does not go with those before it, by the subject's compatibility.
    async fn register(&self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError>;

    /// The schema of an id.
    ///
    /// # Errors
    /// [`RegistryError::NoSchema`].
    async fn schema(&self, id: SchemaId) -> Result<Schema, RegistryError>;

    /// The versions of a subject, in order.
    ///
    /// # Errors
    /// [`RegistryError::NoSubject`].
    async fn versions(&self, subject: &str) -> Result<Vec<SchemaVersion>, RegistryError>;

    /// A version of a subject.
    ///
    /// # Errors
    /// [`RegistryError::NoSubject`], [`RegistryError::NoVersion`].
    async fn version(&self, subject: &str, version: SchemaVersion) -> Result<Registered, RegistryError>;

    /// The latest version of a subject.
    ///
    /// # Errors
    /// [`RegistryError::NoSubject`].
    async fn latest(&self, subject: &str) -> Result<Registered, RegistryError>;

    /// Whether a schema could be registered: what stands in its way. A subject that is not there takes every schema.
    ///
    /// # Errors
    /// [`RegistryError`].
    async fn check(&self, subject: &str, schema: &Schema) -> Result<Report, RegistryError>;
}
