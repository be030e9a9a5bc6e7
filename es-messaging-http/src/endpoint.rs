//! Where to send: a URL that was looked at.

use std::{fmt, net::IpAddr};

use es_messaging::BrokerError;
use http::Uri;

use crate::{addresses::Addresses, limits};

/// A URL that was looked at: `https`, or `http` to this machine. Shows neither path nor query, where some keep secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
}

impl Endpoint {
    /// Reads a URL. Plain `http` to another machine must be allowed.
    ///
    /// # Errors
    /// [`BrokerError::Config`] says what is wrong with it.
    pub fn parse(url: &str, addresses: Addresses, allow_http: bool) -> Result<Self, BrokerError> {
        let wrong = |reason: &str| BrokerError::Config { what: "the URL".to_owned(), reason: reason.to_owned() };
        if url.len() > limits::MAX_URL_BYTES {
            return Err(wrong(&format!("it has {} bytes, at most {}", url.len(), limits::MAX_URL_BYTES)));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL; it should be like https://example.com/hooks"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("it should begin with https:// and a host"));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a user or a password; give credentials as a header instead"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let address: Option<IpAddr> = host.parse().ok();
        if let Some(address) = address
            && !addresses.allow(address)
        {
            return Err(wrong(&format!("{address} is no public address")));
        }
        let is_local = address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback());
        match scheme {
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(wrong("https needs the feature `tls` of es-messaging-http")),
            "http" if is_local || allow_http => {}
            "http" => return Err(wrong("http is for this machine alone; use https, or allow http by a setting")),
            other => return Err(wrong(&format!("{other} is neither https nor http"))),
        }
        Ok(Self { uri })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL of something below this one: its path with more behind it.
    ///
    /// # Errors
    /// [`BrokerError::Config`] if that is no URL.
    pub fn join(&self, path: &str) -> Result<Self, BrokerError> {
        let base = self.uri.to_string();
        let base = base.split('?').next().unwrap_or_default().trim_end_matches('/');
        let uri = format!("{base}/{}", path.trim_start_matches('/')).parse().map_err(|_| BrokerError::Config {
            what: "the path".to_owned(),
            reason: "it holds something that a URL does not; encode it".to_owned(),
        })?;
        Ok(Self { uri })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}", self.uri.scheme_str().unwrap_or_default())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_refused_with_what_is_wrong_with_it() {
        let reason = |url: &str, addresses| Endpoint::parse(url, addresses, false).unwrap_err().to_string();
        for (url, says) in [
            ("example.com", "https://"),
            ("/hooks", "https://"),
            ("ftp://example.com/", "neither"),
            ("http://example.com/", "this machine"),
            ("https://ann:secret@example.com/", "a header instead"),
            ("https://", "no URL"),
            ("https://exa mple.com", "no URL"),
        ] {
            let reason = reason(url, Addresses::Any);
            assert!(reason.contains(says), "{url}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        for url in ["https://127.0.0.1/", "https://[::1]:8443/", "https://169.254.169.254/latest", "http://10.0.0.1"] {
            assert!(reason(url, Addresses::Public).contains("no public address"), "{url}");
        }
        assert!(reason(&format!("https://a.example/{}", "x".repeat(3_000)), Addresses::Any).contains("at most"));
    }

    #[test]
    fn loopback_may_do_without_tls_and_others_if_allowed() {
        for url in
            ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:80/", "https://example.com/?token=abc"]
        {
            let endpoint = Endpoint::parse(url, Addresses::Any, false).unwrap();
            assert!(!format!("{endpoint} {endpoint:?}").contains("abc"));
        }
        assert!(Endpoint::parse("http://example.com", Addresses::Any, true).is_ok());
    }

    #[test]
    fn a_path_is_joined_behind_the_one_that_is_there() {
        let base = Endpoint::parse("http://localhost:8081/registry/", Addresses::Any, false).unwrap();
        assert_eq!(
            base.join("/subjects/a%2Fb").unwrap().uri().to_string(),
            "http://localhost:8081/registry/subjects/a%2Fb"
        );
        assert!(base.join("a b").is_err());
    }
}
