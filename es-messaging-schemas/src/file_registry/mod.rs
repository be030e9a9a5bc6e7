//! A registry in a folder of the repository.

mod folder;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use self::folder::{Folder, Index};
use crate::{
    compatibility::{Compatibility, Report},
    error::RegistryError,
    limits,
    registry::{Registered, SchemaId, SchemaRegistry, SchemaVersion},
    schema::Schema,
};

/// A registry in a folder, to be kept in the repository and reviewed like code: a file for each subject and version, and an index.
///
/// ```text
/// schemas/registry.json                 compatibility, subjects, versions, ids, fingerprints
/// schemas/shop.order.placed/1.json
/// schemas/shop.order.placed/2.json
/// ```
///
/// All of it is read when it is opened, and what is written is the same for the same calls. One process writes at a time; two branches that
/// both add a version meet as a conflict of their files, which is what a review is for. Calls that write do so at once, in the task that
/// calls: it is for builds and starts of programs.
pub struct FileRegistry {
    folder: Folder,
    index: Mutex<Index>,
}

/// What a schema of now is to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// There is no version of it yet: register it.
    New {
        /// Its subject.
        subject: String,
    },
    /// It is another one than the latest version, and goes with those before it: register it.
    Compatible {
        /// Its subject.
        subject: String,
    },
    /// It is another one than the latest version, and does not go with those before it.
    Incompatible {
        /// Its subject.
        subject: String,
        /// What breaks, and what cannot be told.
        report: Report,
    },
    /// A version that is registered does not go with those before it.
    Registered {
        /// Its subject.
        subject: String,
        /// Which version.
        version: SchemaVersion,
        /// What breaks, and what cannot be told.
        report: Report,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { subject } => write!(f, "{subject} is not registered"),
            Self::Compatible { subject } => write!(f, "{subject} has changed compatibly and is not registered"),
            Self::Incompatible { subject, report } => write!(f, "{subject} has changed incompatibly: {report}"),
            Self::Registered { subject, version, report } => {
                write!(f, "version {version} of {subject} does not go with those before it: {report}")
            }
        }
    }
}

impl FileRegistry {
    /// Makes a registry in a folder, which is made too if it is not there.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] if there is one already, [`RegistryError::Io`].
    pub fn create(folder: impl Into<PathBuf>, compatibility: Compatibility) -> Result<Self, RegistryError> {
        let folder = Folder::new(folder.into());
        let index = folder.create(compatibility)?;
        Ok(Self { folder, index: Mutex::new(index) })
    }

    /// Opens a registry, and looks at every file: whether the index lists it, it lists it, and nobody changed it since.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] says what is wrong with which file.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        let folder = Folder::new(folder.into());
        let index = folder.read()?;
        Ok(Self { folder, index: Mutex::new(index) })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The subjects, in order.
    pub fn subjects(&self) -> Vec<String> {
        self.index().subjects.keys().cloned().collect()
    }

    /// What must hold when a schema of a subject changes.
    pub fn compatibility(&self, subject: &str) -> Compatibility {
        self.index().compatibility(subject)
    }

    /// Asks for another compatibility of a subject's schemas from now on.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn set_compatibility(&self, subject: &str, compatibility: Compatibility) -> Result<(), RegistryError> {
        let mut index = self.index();
        let mut changed = index.clone();
        let kept = changed.subjects.get_mut(subject);
        kept.ok_or_else(|| RegistryError::NoSubject { subject: subject.to_owned() })?.compatibility =
            Some(compatibility);
        self.folder.write_index(&changed)?;
        *index = changed;
        Ok(())
    }

    /// Makes a schema the latest version of a subject, if it is not one of its versions already.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`].
    pub fn add(&self, subject: &str, schema: &Schema) -> Result<Registered, RegistryError> {
        check_subject(subject)?;
        let mut index = self.index();
        if let Some(known) = index.of_subject(subject).into_iter().find(|known| known.schema == *schema) {
            return Ok(known);
        }
        let report = index.check(subject, schema)?;
        if !report.is_compatible() {
            return Err(RegistryError::incompatible(subject, &report));
        }
        let mut changed = index.clone();
        let registered = changed.add(subject, schema)?;
        self.folder.write_schema(&registered)?;
        self.folder.write_index(&changed)?;
        *index = changed;
        Ok(registered)
    }

    /// What stands between schemas of now, by their subjects, and the registry: for a check of every change. Nothing: all are registered as
    /// their latest versions, and every registered version goes with those before it.
    ///
    /// # Errors
    /// [`RegistryError`] for what is no schema.
    pub fn changes<'a>(
        &self,
        schemas: impl IntoIterator<Item = (&'a str, &'a Schema)>,
    ) -> Result<Vec<Change>, RegistryError> {
        let index = self.index();
        let mut changes = Vec::new();
        for subject in index.subjects.keys() {
            let versions = index.of_subject(subject);
            let schemas: Vec<Schema> = versions.iter().map(|version| version.schema.clone()).collect();
            for (count, version) in versions.iter().enumerate() {
                let report = index.compatibility(subject).check(&version.schema, &schemas[..count])?;
                if !report.is_compatible() {
                    changes.push(Change::Registered { subject: subject.clone(), version: version.version, report });
                }
            }
        }
        for (subject, schema) in schemas {
            check_subject(subject)?;
            let owned = subject.to_owned();
            match index.of_subject(subject).last() {
                None => changes.push(Change::New { subject: owned }),
                Some(latest) if latest.schema == *schema => {}
                Some(_) => {
                    let report = index.check(subject, schema)?;
                    changes.push(if report.is_compatible() {
                        Change::Compatible { subject: owned }
                    } else {
                        Change::Incompatible { subject: owned, report }
                    });
                }
            }
        }
        Ok(changes)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn compatibility(&self, subject: &str) -> Compatibility {
        self.subjects.get(subject).and_then(|kept| kept.compatibility).unwrap_or(self.compatibility)
    }

    fn of_subject(&self, subject: &str) -> Vec<Registered> {
        let versions = self.subjects.get(subject).map(|kept| kept.versions.as_slice()).unwrap_or_default();
        let one = |(count, (id, schema)): (usize, &(SchemaId, Schema))| Registered {
            subject: subject.to_owned(),
            version: SchemaVersion(u32::try_from(count + 1).unwrap_or(u32::MAX)),
            id: *id,
            schema: schema.clone(),
        };
        versions.iter().enumerate().map(one).collect()
    }

    fn check(&self, subject: &str, schema: &Schema) -> Result<Report, RegistryError> {
        let before: Vec<Schema> = self.of_subject(subject).into_iter().map(|version| version.schema).collect();
        Ok(self.compatibility(subject).check(schema, &before)?)
    }

    fn add(&mut self, subject: &str, schema: &Schema) -> Result<Registered, RegistryError> {
        let all = self.subjects.values().flat_map(|kept| &kept.versions);
        let by_id: BTreeMap<SchemaId, &Schema> = all.map(|(id, schema)| (*id, schema)).collect();
        // The same schema has the same id in every subject.
        let known = by_id.iter().find(|(_, known)| **known == schema).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| SchemaId(by_id.last_key_value().map_or(0, |(id, _)| id.0) + 1));
        let count = self.subjects.len();
        let kept = self.subjects.entry(subject.to_owned()).or_default();
        if kept.versions.len() >= limits::MAX_VERSIONS {
            return Err(RegistryError::LimitExceeded { what: "versions of a subject", limit: limits::MAX_VERSIONS });
        }
        if kept.versions.is_empty() && count >= limits::MAX_SUBJECTS {
            return Err(RegistryError::LimitExceeded { what: "subjects", limit: limits::MAX_SUBJECTS });
        }
        kept.versions.push((id, schema.clone()));
        let version = SchemaVersion(u32::try_from(kept.versions.len()).unwrap_or(u32::MAX));
        Ok(Registered { subject: subject.to_owned(), version, id, schema: schema.clone() })
    }
}

/// A subject is the name of a folder here.
fn check_subject(subject: &str) -> Result<(), RegistryError> {
    let reason = if subject.is_empty() || subject.len() > limits::MAX_SUBJECT_BYTES {
        "it should have from 1 to 200 bytes"
    } else if !subject.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        "it should have ASCII letters, digits, `.`, `_` and `-` alone"
    } else if subject.starts_with('.') {
        "it should not begin with a dot"
    } else {
        return Ok(());
    };
    Err(RegistryError::Subject { subject: subject.to_owned(), reason })
}

#[async_trait]
impl SchemaRegistry for FileRegistry {
    async fn register(&self, subject: &str, schema: &Schema) -> Result<SchemaId, RegistryError> {
        Ok(self.add(subject, schema)?.id)
    }

    async fn schema(&self, id: SchemaId) -> Result<Schema, RegistryError> {
        let index = self.index();
        let mut all = index.subjects.values().flat_map(|kept| &kept.versions);
        all.find(|(known, _)| *known == id).map(|(_, schema)| schema.clone()).ok_or(RegistryError::NoSchema { id })
    }

    async fn versions(&self, subject: &str) -> Result<Vec<SchemaVersion>, RegistryError> {
        let versions = self.index().of_subject(subject);
        if versions.is_empty() {
            return Err(RegistryError::NoSubject { subject: subject.to_owned() });
        }
        Ok(versions.into_iter().map(|version| version.version).collect())
    }

    async fn version(&self, subject: &str, version: SchemaVersion) -> Result<Registered, RegistryError> {
        let versions = self.index().of_subject(subject);
        if versions.is_empty() {
            return Err(RegistryError::NoSubject { subject: subject.to_owned() });
        }
        let found = versions.into_iter().find(|known| known.version == version);
        found.ok_or_else(|| RegistryError::NoVersion { subject: subject.to_owned(), version })
    }

    async fn latest(&self, subject: &str) -> Result<Registered, RegistryError> {
        let latest = self.index().of_subject(subject).pop();
        latest.ok_or_else(|| RegistryError::NoSubject { subject: subject.to_owned() })
    }

    async fn check(&self, subject: &str, schema: &Schema) -> Result<Report, RegistryError> {
        self.index().check(subject, schema)
    }
}

impl fmt::Debug for FileRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileRegistry({}, {} subjects)", self.folder.path().display(), self.index().subjects.len())
    }
}
