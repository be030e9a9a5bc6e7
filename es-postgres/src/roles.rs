//! The roles of a store in the database.

use es_core::StoreError;

use crate::{migrate, statements::SchemaName};

/// Returns the SQL script that creates the group roles of the store in a schema and grants each only the rights that it
/// needs: `<schema>_reader`, `_writer`, `_projector`, `_operator`, and `_admin`. These roles cannot log in: grant them
/// to login roles.
///
/// A superuser runs the script after the first migration, and again after each later one. The script can run any number
/// of times.
///
/// ```
/// let script = es_postgres::roles_script("es")?;
/// assert!(script.contains(r#"GRANT "es_reader" TO "es_writer""#));
/// # Ok::<(), es_core::StoreError>(())
/// ```
///
/// # Errors
/// Returns [`StoreError::Setup`] for an invalid schema name.
pub fn roles_script(schema: &str) -> Result<String, StoreError> {
    let schema = SchemaName::new(schema)?;
    let own = format!("{{{}}}", migrate::own_names().collect::<Vec<_>>().join(","));
    let script = schema.fill(include_str!("../sql/roles.sql"));
    Ok(script.replace("{name}", schema.as_str()).replace("{own}", &own))
}
