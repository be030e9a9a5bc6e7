//! The URL of a NATS: several servers, credentials, and the stream.

use async_nats::ServerAddr;
use es_messaging::BrokerError;

use crate::options::NatsOptions;

/// What a URL says of servers.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: bool,
    /// The URL as errors show it: without credentials and settings.
    pub(crate) shown: String,
}

/// Reads a URL, and puts its settings into `options`.
pub(crate) fn parse(url: &str, options: &mut NatsOptions) -> Result<Address, BrokerError> {
    let form = "nats://[user:password@]host[:port][,host[:port]]/[?stream=NAME&prefix=WORDS&replicas=N&credentials=FILE&ca=FILE]";
    let error = |what: &str, reason: String| BrokerError::Config { what: what.to_owned(), reason };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| error("the URL", format!("it is not {form}")))?;
    let tls = match scheme {
        "nats" => false,
        "tls" => true,
        other => return Err(error("the URL", format!("its scheme is {other:?}, not nats or tls"))),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let shown = format!("{scheme}://{hosts}");
    if !path.is_empty() {
        return Err(error(&shown, "a NATS has no path; name the stream by ?stream=".to_owned()));
    }
    let mut servers = Vec::new();
    for host in hosts.split(',') {
        let server = format!("{scheme}://{host}").parse::<ServerAddr>();
        let server = server.map_err(|_| error(&shown, format!("{host:?} is no host and port")))?;
        if host.is_empty() || server.host().is_empty() {
            return Err(error(&shown, format!("a server has no name; the form is {form}")));
        }
        servers.push(server);
    }
    for (name, value) in ::url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "stream" => options.stream = value.into_owned(),
            "prefix" => options.prefix = Some(value.into_owned()),
            "credentials" => options.credentials = Some(value.into_owned().into()),
            "ca" => options.ca = Some(value.into_owned().into()),
            "replicas" => {
                options.replicas = value.parse().map_err(|_| error("replicas", format!("{value:?} is no number")))?;
            }
            other => return Err(error(&shown, format!("it has no setting {other:?}; the form is {form}"))),
        }
    }
    options.check()?;
    let decode = |text: &str| {
        es_messaging::percent_decode(text).ok_or_else(|| error(&shown, "its credentials are no UTF-8".to_owned()))
    };
    let user = match user {
        None => None,
        Some(user) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            Some((decode(name)?, decode(password)?))
        }
    };
    Ok(Address { servers, user, tls, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_servers_credentials_and_the_stream() {
        let mut options = NatsOptions::new();
        let url = "nats://ann:p%40ss@one:4222,two:5222/?stream=ORDERS&prefix=shop.orders&replicas=3";
        let address = parse(url, &mut options).unwrap();
        let servers: Vec<_> = address.servers.iter().map(|server| (server.host(), server.port())).collect();
        assert_eq!(servers, [("one", 4222), ("two", 5222)]);
        assert_eq!(address.user, Some(("ann".to_owned(), "p@ss".to_owned())));
        assert_eq!((options.stream.as_str(), options.replicas), ("ORDERS", 3));
        assert_eq!(options.subject_prefix(), "shop.orders");
        assert!(!address.shown.contains("p%40ss"));
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for (url, said) in [
            ("localhost:4222", "it is not nats://"),
            ("http://localhost", "scheme"),
            ("nats://", "no name"),
            ("nats://localhost/EVENTS", "no path"),
            ("nats://localhost/?steam=EVENTS", "steam"),
            ("nats://localhost/?stream=A.B", "A.B"),
            ("nats://localhost/?replicas=2", "1, 3 or 5"),
            ("nats://localhost/?prefix=a..b", "a..b"),
        ] {
            let error = parse(url, &mut NatsOptions::new()).unwrap_err();
            assert!(matches!(error, BrokerError::Config { .. }), "{url}: {error:?}");
            assert!(error.to_string().contains(said), "{url}: {error}");
        }
    }
}
