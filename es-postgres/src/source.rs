//! Where the server is: a URL, or the driver's own options.

use std::net::IpAddr;

use es_core::StoreError;
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::tls::{Pem, Tls};

/// What a URL looks like, for messages.
const FORM: &str = "write postgres://user:password@host:port/database?sslmode=verify-full, with special characters \
                    percent-encoded";

#[derive(Clone)]
pub(crate) enum Source {
    Url(String),
    Options(Box<PgConnectOptions>),
}

impl Source {
    /// The driver's options, with TLS as methods ask for it, or else the URL.
    ///
    /// # Errors
    /// [`StoreError::Setup`] for a text that is not the URL of a PostgreSQL database, and for certificates that cannot be read.
    pub(crate) fn connect_options(&self, tls: &Tls) -> Result<PgConnectOptions, StoreError> {
        match self {
            Self::Options(options) => tls.apply(options.as_ref().clone(), false),
            Self::Url(url) => {
                let (options, of_url) = of_url(url)?;
                tls.clone().or_else(of_url).apply(options, true)
            }
        }
    }
}

fn of_url(text: &str) -> Result<(PgConnectOptions, Tls), StoreError> {
    let unreadable = |why: String, source: Option<sqlx::Error>| StoreError::Setup {
        problem: format!("the URL of the database cannot be read: {why}"),
        remedy: FORM.to_owned(),
        source: source.map(Into::into),
    };
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("postgres" | "postgresql") => {}
        // What stands before may be a part of a password.
        Some(other) if other.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) => {
            return Err(unreadable(format!("{other}:// is not PostgreSQL"), None));
        }
        _ => return Err(unreadable("it does not begin with postgres://".to_owned(), None)),
    }
    let url = text.parse().map_err(|error| unreadable(format!("{error}"), None))?;
    let options = PgConnectOptions::from_url(&url);
    let mut tls = of_environment(|why| unreadable(why, None))?;
    for (key, value) in url.query_pairs() {
        match &*key {
            "sslmode" | "ssl-mode" => tls.mode = Some(mode(&value).map_err(|why| unreadable(why, None))?),
            // As with libpq: the system's, and nothing less than the full check.
            "sslrootcert" if value == "system" => {
                tls.mode = Some(PgSslMode::VerifyFull);
                tls.root = None;
            }
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => tls.root = Some(Pem::new(value.into_owned())),
            "sslcert" | "ssl-cert" => tls.client_certificate = Some(Pem::new(value.into_owned())),
            "sslkey" | "ssl-key" => tls.client_key = Some(Pem::new(value.into_owned())),
            // Passed over, it would leave the connection less safe than was asked for.
            other if other.starts_with("ssl") => {
                return Err(unreadable(format!("the parameter {other} is not supported"), None));
            }
            _ => {}
        }
    }
    let options = options.map_err(|error| unreadable(error.to_string(), Some(error)))?;
    Ok((options, tls))
}

/// What the usual environment asks for.
fn of_environment(unreadable: impl Fn(String) -> StoreError) -> Result<Tls, StoreError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mode = variable("PGSSLMODE").map(|value| mode(&value)).transpose();
    Ok(Tls {
        mode: mode.map_err(|why| unreadable(format!("PGSSLMODE: {why}")))?,
        root: variable("PGSSLROOTCERT").map(Pem::new),
        client_certificate: variable("PGSSLCERT").map(Pem::new),
        client_key: variable("PGSSLKEY").map(Pem::new),
    })
}

fn mode(value: &str) -> Result<PgSslMode, String> {
    let unknown = |_| "sslmode is one of disable, allow, prefer, require, verify-ca and verify-full".to_owned();
    value.parse().map_err(unknown)
}

/// Whether what is sent to the server can leave this machine.
pub(crate) fn is_remote(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let is_socket = options.get_socket().is_some() || host.starts_with('/');
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    !is_socket && host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        match of_url(url) {
            Err(StoreError::Setup { problem, remedy, .. }) => {
                assert!(remedy.contains("postgres://user:password@host:port/database"), "{remedy}");
                problem
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{url:?} was taken"),
        }
    }

    #[test]
    fn what_is_no_url_of_postgres_is_refused() {
        for url in ["", "shop", "localhost/shop", "localhost:5432/shop", "//localhost/shop", "user:secret@host/shop"] {
            let problem = problem(url);
            assert!(problem.contains("postgres://"), "{url}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
        assert!(problem("mysql://localhost/shop").contains("mysql:// is not PostgreSQL"));
        assert!(problem("host=localhost dbname=shop").contains("begin"));
        assert!(problem("user:sec ret://host").contains("begin"));
        for url in ["postgres://localhost/shop", "postgresql:///shop", "POSTGRES://localhost"] {
            assert!(of_url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn parameters_of_tls_are_read_or_refused() -> Result<(), StoreError> {
        assert!(problem("postgres://h/db?sslmode=verify_full").contains("verify-full"));
        assert!(problem("postgres://h/db?ssl=true").contains("ssl is not supported"));
        let (options, tls) = of_url("postgres://h/db?sslmode=require&sslrootcert=%2Fca.pem")?;
        assert!(tls.root.is_some());
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
        let (_, tls) = of_url("postgres://h/db?sslrootcert=system")?;
        assert!(tls.root.is_none() && matches!(tls.mode, Some(PgSslMode::VerifyFull)));
        Ok(())
    }

    #[test]
    fn only_what_leaves_the_machine_is_remote() -> Result<(), StoreError> {
        for (url, expected) in [
            ("postgres://localhost/db", false),
            ("postgres://127.0.0.2/db", false),
            ("postgres://[::1]/db", false),
            ("postgres://%2Frun%2Fpostgresql/db", false),
            ("postgres://db.example.com/db", true),
            ("postgres://10.0.0.1/db", true),
        ] {
            assert_eq!(is_remote(&of_url(url)?.0), expected, "{url}");
        }
        Ok(())
    }
}
