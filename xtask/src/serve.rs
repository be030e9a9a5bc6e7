//! `cargo xtask postgres`: a server in the foreground.

use std::io;
use std::path::Path;

use xtask::postgres::{PostgresOptions, ThrowawayPostgres};
use xtask::{ServerError, tools};

use crate::cli::ServeOptions;

/// Runs a throwaway PostgreSQL until a line, or the end, of standard input is read.
pub(crate) fn postgres(options: &ServeOptions) -> Result<(), ServerError> {
    let install = if options.newest { tools::ensure_newest_postgres()? } else { tools::ensure_postgres()? };
    let profile = if options.durable { PostgresOptions::durable() } else { PostgresOptions::fast() };
    let server = ThrowawayPostgres::start(&install, &profile)?;
    println!("{}", server.url());
    let pid = server.pid().unwrap_or_default();
    println!("PostgreSQL {}, process {pid}", server.version());
    println!("files in {}", server.folder().display());
    println!("Press Enter to stop it.");
    io::stdin().read_line(&mut String::new()).map_err(|source| ServerError::Io {
        doing: "read",
        path: Path::new("standard input").to_owned(),
        source,
    })?;
    Ok(())
}
