//! Connections: names resolved and looked at, TCP, TLS.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use es_core::BoxError;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tower_service::Service;

use crate::{addresses::Addresses, limits, tls::Tls};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name {host} has no address: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no public address, and only those are allowed")]
    NotPublic { host: String },
    #[error("{host} does not take a connection: {source}")]
    Tcp { host: String, source: io::Error },
    #[error("no TLS connection to {host}: {source}")]
    Tls { host: String, source: BoxError },
    #[error("{host} takes no connection within {after:?}")]
    Timeout { host: String, after: Duration },
}

/// Connects as its settings say.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) addresses: Addresses,
    pub(crate) timeout: Duration,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there is no TLS without the feature"))]
    pub(crate) tls: Option<Tls>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let all = async {
            let stream = self.tcp(&host, port).await?;
            if is_tls { self.secure(&host, stream).await } else { Ok(Stream(TokioIo::new(Box::new(stream)))) }
        };
        match timeout(self.timeout, all).await {
            Ok(stream) => stream,
            Err(_) => Err(ConnectError::Timeout { host: host.clone(), after: self.timeout }),
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let found = lookup_host((host, port)).await;
                found.map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?.collect()
            }
        };
        let allowed = found.into_iter().filter(|address| self.addresses.allow(address.ip()));
        let mut last = None;
        for address in allowed.take(limits::MAX_ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A request is one write; waiting for more of it only costs time.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => last = Some(ConnectError::Tcp { host: host.to_owned(), source }),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::NotPublic { host: host.to_owned() }))
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, host: &str, stream: TcpStream) -> Result<Stream, ConnectError> {
        let failed = |source: BoxError| ConnectError::Tls { host: host.to_owned(), source };
        let tls = self.tls.as_ref().ok_or_else(|| failed("the client has no TLS settings".into()))?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|error| failed(error.into()))?;
        let stream = tokio_rustls::TlsConnector::from(tls.config.clone()).connect(name, stream).await;
        Ok(Stream(TokioIo::new(Box::new(stream.map_err(|error| failed(error.into()))?))))
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, host: &str, _stream: TcpStream) -> Result<Stream, ConnectError> {
        let source = "https needs the feature `tls` of es-messaging-http".into();
        Err(ConnectError::Tls { host: host.to_owned(), source })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, with TLS or without.
pub(crate) struct Stream(TokioIo<Box<dyn Io>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
