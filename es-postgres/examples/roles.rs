//! Prints the script that creates the roles of a store: `cargo run -p es-postgres --example roles -- es | psql`.

fn main() -> Result<(), es_core::StoreError> {
    let schema = std::env::args().nth(1).unwrap_or_else(|| "es".to_owned());
    print!("{}", es_postgres::roles_script(&schema)?);
    Ok(())
}
