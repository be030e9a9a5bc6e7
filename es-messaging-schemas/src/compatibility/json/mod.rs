//! JSON Schema: whether all that one schema lets be written is valid by another.
//!
//! "Compatible" is only said if it was shown. What a writer may write is taken apart into alternatives; each must be taken by every
//! keyword of the reader. Keywords of the writer that are not understood are left out, which only makes it write more; those of
//! the reader are reported.

mod document;
mod formats;
mod keywords;
mod reader;
mod types;
mod unions;
mod values;
mod writer;

use serde_json::Value;

use self::{document::Document, reader::Check};
use super::Report;
use crate::error::SchemaError;

pub(super) fn can_read(reader: &Value, writer: &Value) -> Result<Report, SchemaError> {
    let mut report = Report::default();
    if reader == writer {
        return Ok(report);
    }
    match (Document::new(reader), Document::new(writer)) {
        (Ok(reader), Ok(writer)) => Ok(Check::new(writer, reader).run()),
        (Err(reason), _) | (_, Err(reason)) => {
            report.untold("$", reason);
            Ok(report)
        }
    }
}

#[cfg(test)]
mod tests;
