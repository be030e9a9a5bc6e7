//! One attempt to connect.

use std::{
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::{AsyncTcpStream, OwnedTLSConfig},
    uri::{AMQPScheme, AMQPUri},
};

/// Connects. An attempt that is dropped closes its socket: the library by itself would wait for the server's answer, with a thread and
/// buffers of its own, for as long as a server that hangs keeps the socket open.
pub(crate) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: OwnedTLSConfig,
) -> lapin::Result<Connection> {
    let attempt = Attempt::default();
    let socket = attempt.socket.clone();
    let connecting = Connection::connector(
        uri,
        lapin::runtime::default_runtime()?,
        async move |uri, runtime| {
            let AMQPUri { scheme, authority, .. } = uri;
            let addresses = runtime.to_socket_addrs((authority.host.clone(), authority.port));
            let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
            #[cfg(unix)]
            if let AsyncTcpStream::Plain(plain) = &stream {
                let same = std::os::fd::AsFd::as_fd(plain.get_ref()).try_clone_to_owned()?;
                lock(&socket).opened(same.into())?;
            }
            Ok(match scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&authority.host, tls.as_ref()).await?,
            })
        },
        properties,
    );
    let connection = connecting.await?;
    // From now on the connection alone has it.
    *lock(&attempt.socket) = Socket::None;
    Ok(connection)
}

/// Closes its socket when it is dropped.
#[derive(Default)]
struct Attempt {
    socket: Arc<Mutex<Socket>>,
}

#[derive(Default)]
enum Socket {
    #[default]
    None,
    Open(TcpStream),
    GivenUp,
}

impl Socket {
    fn opened(&mut self, socket: TcpStream) -> io::Result<()> {
        if matches!(self, Self::GivenUp) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *self = Self::Open(socket);
        Ok(())
    }
}

fn lock(socket: &Mutex<Socket>) -> MutexGuard<'_, Socket> {
    // Nothing panics under the lock.
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Socket::Open(socket) = std::mem::replace(&mut *lock(&self.socket), Socket::GivenUp) {
            // Whoever reads from it is told that this is its end.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
