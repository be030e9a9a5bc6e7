//! Whether a changed schema goes with the ones before it.

#[cfg(feature = "avro")]
mod avro;
mod json;
#[cfg(feature = "protobuf")]
mod protobuf;

use std::fmt;

use crate::{
    error::SchemaError,
    limits,
    schema::{Schema, SchemaFormat},
};

/// Who must be able to read whose messages when a schema changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compatibility {
    /// Nobody.
    None,
    /// Whoever knows the new schema reads messages of the latest one: update consumers first.
    #[default]
    Backward,
    /// Whoever knows the new schema reads messages of every one before: also those that lie in a log for years.
    BackwardTransitive,
    /// Whoever knows the latest schema reads messages of the new one: update producers first.
    Forward,
    /// Whoever knows any schema before reads messages of the new one.
    ForwardTransitive,
    /// Both, with the latest one: update in any order.
    Full,
    /// Both, with every one before.
    FullTransitive,
}

impl Compatibility {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The word that registries have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    /// Checks a new schema against those before it, the oldest first.
    ///
    /// # Errors
    /// [`SchemaError`] if one of them is no schema at all.
    pub fn check(self, new: &Schema, before: &[Schema]) -> Result<Report, SchemaError> {
        let mut report = Report::default();
        let compared = if self.is_transitive() { 0 } else { before.len().saturating_sub(1) };
        for (index, old) in before.iter().enumerate().skip(compared) {
            let version = index + 1;
            if self.is_backward() {
                report.add(&format!("the new schema cannot read version {version}"), can_read(new, old)?);
            }
            if self.is_forward() {
                report.add(&format!("version {version} cannot read the new schema"), can_read(old, new)?);
            }
            #[cfg(feature = "protobuf")]
            if self != Self::None && new.format() == SchemaFormat::Protobuf && old.format() == new.format() {
                report.add(&format!("after version {version}"), protobuf::successor(new, old)?);
            }
        }
        Ok(report)
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that stands in the way of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where in a message: `$` is the whole of it.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// What a check found. Compatible is only what was shown to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What breaks.
    pub breaks: Vec<Finding>,
    /// What cannot be told: keywords that the check does not understand, or too much to compare. Somebody has to look.
    pub unknown: Vec<Finding>,
}

impl Report {
    /// Whether nothing breaks and everything could be told.
    pub fn is_compatible(&self) -> bool {
        self.breaks.is_empty() && self.unknown.is_empty()
    }

    fn add(&mut self, why: &str, other: Self) {
        let explained =
            |finding: Finding| Finding { path: finding.path, problem: format!("{} ({why})", finding.problem) };
        self.breaks.extend(other.breaks.into_iter().map(explained));
        self.unknown.extend(other.unknown.into_iter().map(explained));
        self.breaks.truncate(limits::MAX_FINDINGS);
        self.unknown.truncate(limits::MAX_FINDINGS);
    }

    pub(crate) fn broken(&mut self, path: &str, problem: impl Into<String>) {
        if self.breaks.len() < limits::MAX_FINDINGS {
            self.breaks.push(Finding { path: path.to_owned(), problem: problem.into() });
        }
    }

    pub(crate) fn untold(&mut self, path: &str, problem: impl Into<String>) {
        if self.unknown.len() < limits::MAX_FINDINGS {
            self.unknown.push(Finding { path: path.to_owned(), problem: problem.into() });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_compatible() {
            return f.write_str("compatible");
        }
        for (index, (finding, word)) in (self.breaks.iter().map(|finding| (finding, "")))
            .chain(self.unknown.iter().map(|f| (f, "cannot tell: ")))
            .enumerate()
        {
            let between = if index > 0 { "; " } else { "" };
            write!(f, "{between}{}: {word}{}", finding.path, finding.problem)?;
        }
        Ok(())
    }
}

/// Whether whoever knows the schema `reader` can read all that is written by the schema `writer`.
///
/// Of JSON Schema, a writer writes no properties but those that its schema names or speaks of (`additionalProperties`): a
/// struct writes its fields. So a new optional property is compatible, as it is in Avro and Protobuf.
///
/// # Errors
/// [`SchemaError`] if one of them is no schema at all, or its format was not compiled in.
pub fn can_read(reader: &Schema, writer: &Schema) -> Result<Report, SchemaError> {
    if reader.format() != writer.format() {
        let mut report = Report::default();
        report.broken("$", format!("one is {}, the other {}", reader.format(), writer.format()));
        return Ok(report);
    }
    match reader.format() {
        SchemaFormat::Json => json::can_read(&reader.json()?, &writer.json()?),
        #[cfg(feature = "avro")]
        SchemaFormat::Avro => avro::can_read(reader, writer),
        #[cfg(feature = "protobuf")]
        SchemaFormat::Protobuf => protobuf::can_read(reader, writer),
        #[cfg(not(all(feature = "avro", feature = "protobuf")))]
        format => Err(SchemaError::NotCompiled { format }),
    }
}
