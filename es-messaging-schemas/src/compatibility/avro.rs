//! Avro: what its specification says about resolving schemas.

use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

use super::Report;
use crate::{error::SchemaError, schema::Schema};

pub(super) fn can_read(reader: &Schema, writer: &Schema) -> Result<Report, SchemaError> {
    let mut report = Report::default();
    match SchemaCompatibility::can_read(&writer.avro()?, &reader.avro()?) {
        Ok(Compatibility::Full) => {}
        Ok(Compatibility::Partial) => {
            report.broken("$", "some of what is written cannot be read, such as a branch of a union")
        }
        Err(error) => report.broken("$", error.to_string()),
    }
    Ok(report)
}
