//! The files of a registry.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::check_subject;
use crate::{
    compatibility::Compatibility,
    error::RegistryError,
    limits,
    registry::{Registered, SchemaId},
    schema::{Schema, SchemaFormat},
};

const INDEX: &str = "registry.json";

/// What the index and the files say together.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) compatibility: Compatibility,
    pub(super) subjects: BTreeMap<String, Kept>,
}

/// A subject.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) compatibility: Option<Compatibility>,
    pub(super) versions: Vec<(SchemaId, Schema)>,
}

/// The index as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexFile {
    compatibility: String,
    subjects: BTreeMap<String, SubjectEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compatibility: Option<String>,
    versions: Vec<VersionEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionEntry {
    version: u32,
    id: u32,
    format: String,
    fingerprint: String,
}

pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&self, compatibility: Compatibility) -> Result<Index, RegistryError> {
        fs::create_dir_all(&self.path).map_err(failed(&self.path))?;
        let path = self.path.join(INDEX);
        if path.exists() {
            return Err(corrupt(&path, "there is a registry already; open it"));
        }
        let index = Index { compatibility, subjects: BTreeMap::new() };
        self.write_index(&index)?;
        Ok(index)
    }

    pub(super) fn write_index(&self, index: &Index) -> Result<(), RegistryError> {
        let subject = |kept: &Kept| SubjectEntry {
            compatibility: kept.compatibility.map(|level| level.to_string()),
            versions: (1..)
                .zip(&kept.versions)
                .map(|(version, (id, schema))| VersionEntry {
                    version,
                    id: id.0,
                    format: schema.format().to_string(),
                    fingerprint: fingerprint(schema),
                })
                .collect(),
        };
        let subjects = index.subjects.iter().map(|(name, kept)| (name.clone(), subject(kept))).collect();
        let file = IndexFile { compatibility: index.compatibility.to_string(), subjects };
        let path = self.path.join(INDEX);
        let mut text = serde_json::to_string_pretty(&file).map_err(|error| corrupt(&path, error))?;
        text.push('\n');
        write(&path, &text)
    }

    pub(super) fn write_schema(&self, registered: &Registered) -> Result<(), RegistryError> {
        let folder = self.path.join(&registered.subject);
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        write(&folder.join(file_name(registered.version.0, registered.schema.format())), registered.schema.text())
    }

    /// Reads all of it, and compares the index with the files.
    pub(super) fn read(&self) -> Result<Index, RegistryError> {
        let path = self.path.join(INDEX);
        let text = read(&path)?;
        let file: IndexFile = serde_json::from_str(&text).map_err(|error| corrupt(&path, error))?;
        let level = |text: &str| {
            Compatibility::parse(text).ok_or_else(|| corrupt(&path, format!("{text:?} is no compatibility")))
        };
        let mut index = Index { compatibility: level(&file.compatibility)?, subjects: BTreeMap::new() };
        let mut by_id: BTreeMap<u32, Schema> = BTreeMap::new();
        if file.subjects.len() > limits::MAX_SUBJECTS {
            return Err(RegistryError::LimitExceeded { what: "subjects", limit: limits::MAX_SUBJECTS });
        }
        for (name, subject) in file.subjects {
            check_subject(&name)?;
            if subject.versions.len() > limits::MAX_VERSIONS {
                return Err(RegistryError::LimitExceeded {
                    what: "versions of a subject",
                    limit: limits::MAX_VERSIONS,
                });
            }
            let compatibility = subject.compatibility.as_deref().map(level).transpose()?;
            let mut kept = Kept { compatibility, versions: Vec::new() };
            for (expected, entry) in (1..).zip(subject.versions) {
                if entry.version != expected {
                    let reason = format!("{name} has version {} where {expected} should be", entry.version);
                    return Err(corrupt(&path, reason));
                }
                let schema = self.read_version(&path, &name, &entry)?;
                if by_id.insert(entry.id, schema.clone()).is_some_and(|other| other != schema) {
                    return Err(corrupt(&path, format!("the id {} is of two different schemas", entry.id)));
                }
                kept.versions.push((SchemaId(entry.id), schema));
            }
            index.subjects.insert(name, kept);
        }
        self.refuse_unlisted(&index)?;
        Ok(index)
    }

    fn read_version(&self, index: &Path, name: &str, entry: &VersionEntry) -> Result<Schema, RegistryError> {
        let format = SchemaFormat::parse(&entry.format);
        let format = format.ok_or_else(|| corrupt(index, format!("{:?} is no format", entry.format)))?;
        let file = self.path.join(name).join(file_name(entry.version, format));
        let schema = Schema::parse(format, &read(&file)?).map_err(|error| corrupt(&file, error))?;
        if fingerprint(&schema) != entry.fingerprint {
            return Err(corrupt(
                &file,
                "it was changed after it was registered; put it back, and register a new version",
            ));
        }
        Ok(schema)
    }

    fn refuse_unlisted(&self, index: &Index) -> Result<(), RegistryError> {
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path))? {
            let entry = entry.map_err(failed(&self.path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            // Notes beside it are welcome.
            if !path.is_dir() || name.starts_with('.') {
                continue;
            }
            let kept =
                index.subjects.get(&name).ok_or_else(|| corrupt(&path, "the index does not list this subject"))?;
            let listed: Vec<String> =
                (1..).zip(&kept.versions).map(|(version, (_, schema))| file_name(version, schema.format())).collect();
            for file in fs::read_dir(&path).map_err(failed(&path))? {
                let file = file.map_err(failed(&path))?;
                if !listed.contains(&file.file_name().to_string_lossy().into_owned()) {
                    return Err(corrupt(&file.path(), "the index does not list this file"));
                }
            }
        }
        Ok(())
    }
}

fn file_name(version: u32, format: SchemaFormat) -> String {
    format!("{version}.{}", format.extension())
}

fn fingerprint(schema: &Schema) -> String {
    format!("{:016x}", schema.fingerprint())
}

fn read(path: &Path) -> Result<String, RegistryError> {
    let length = fs::metadata(path).map_err(failed(path))?.len();
    // The index holds many entries, a schema is one.
    if length > limits::MAX_INDEX_BYTES as u64 {
        return Err(corrupt(path, format!("it has {length} bytes, at most {}", limits::MAX_INDEX_BYTES)));
    }
    fs::read_to_string(path).map_err(failed(path))
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), RegistryError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text).map_err(failed(&beside))?;
    fs::rename(&beside, path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::Io { path: path.clone(), source }
}

fn corrupt(path: &Path, reason: impl ToString) -> RegistryError {
    RegistryError::Corrupt { path: path.to_owned(), reason: reason.to_string() }
}
