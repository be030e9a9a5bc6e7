//! How a throwaway PostgreSQL is set up.

use std::fmt::Write;
use std::time::Duration;

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// Everybody on this machine may connect as anybody.
    Trust,
    /// A password is asked for, by SCRAM-SHA-256.
    Scram {
        /// The password of the superuser `postgres`.
        password: String,
    },
}

/// How a throwaway PostgreSQL is set up: start from [`fast`](Self::fast) or [`durable`](Self::durable).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(super) auth: Auth,
    pub(super) settings: Vec<(String, String)>,
    pub(super) slow_flush: Option<Duration>,
    /// Names and contents of files beside the data folder, which the server alone can read.
    pub(super) files: Vec<(&'static str, String)>,
}

impl PostgresOptions {
    /// Never waits for the disk: for tests of logic. What was committed does not survive a crash, and the
    /// data may not either.
    #[must_use]
    pub fn fast() -> Self {
        Self::durable().setting("fsync", "off").setting("synchronous_commit", "off").setting("full_page_writes", "off")
    }

    /// Flushes as a server in production does: for tests of crashes and durability.
    #[must_use]
    pub fn durable() -> Self {
        Self {
            auth: Auth::Trust,
            // Test processes run many tests at once, each with a pool of its own.
            settings: vec![("max_connections".to_owned(), "300".to_owned())],
            slow_flush: None,
            files: Vec::new(),
        }
    }

    /// Changes how clients prove who they are; [`Auth::Trust`] unless called.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Makes each flush to the disk take this much longer, as on a cloud volume or with a synchronous replica. A small
    /// library that does so is compiled by `cc` and preloaded into the server.
    #[must_use]
    pub fn slow_flush(mut self, time: Duration) -> Self {
        self.slow_flush = Some(time);
        self.setting("wal_sync_method", "fdatasync")
    }

    /// Makes the server offer TLS with this certificate, and check the certificates of clients that have one against the
    /// authority; all in PEM.
    #[must_use]
    pub fn with_tls(mut self, authority: &str, certificate: &str, key: &str) -> Self {
        let files = [("authority.pem", authority), ("certificate.pem", certificate), ("key.pem", key)];
        self.files.extend(files.map(|(name, text)| (name, text.to_owned())));
        self.setting("ssl", "on")
            .setting("ssl_ca_file", "../authority.pem")
            .setting("ssl_cert_file", "../certificate.pem")
            .setting("ssl_key_file", "../key.pem")
    }

    /// Replaces `pg_hba.conf`, which says who may connect from where and how.
    #[must_use]
    pub fn host_based_access(mut self, lines: &str) -> Self {
        self.files.push(("pg_hba.conf", lines.to_owned()));
        // Unlike the files of TLS, it is looked for where the server was started.
        self.setting("hba_file", "pg_hba.conf")
    }

    /// Adds a setting of `postgresql.conf`; the last one of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Writes settings in the form of `postgresql.conf`.
pub(super) fn configuration<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    settings.into_iter().fold(String::new(), |mut text, (name, value)| {
        let value = value.replace('\\', r"\\").replace('\'', "''");
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name} = '{value}'");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_quotes_and_backslashes_are_escaped() {
        let text = configuration([("archive_command", r"echo 'a\b'")]);
        assert_eq!(text, "archive_command = 'echo ''a\\\\b'''\n");
    }
}
