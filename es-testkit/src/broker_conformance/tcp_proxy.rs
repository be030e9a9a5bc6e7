//! A network that can be cut.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Stands between a client and a server on 127.0.0.1: passes everything on until it is cut. Ends when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl TcpProxy {
    /// Begins to pass connections on to a port.
    ///
    /// # Errors
    /// The system's, if there is no free port.
    pub async fn to(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (open, state) = watch::channel(true);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, (Ipv4Addr::LOCALHOST, target).into(), state.clone()));
            }
        });
        Ok(Self { port, open, accepting })
    }

    /// The port that clients are to use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections, and every new one at once; or lets them through again.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.open.send_replace(false);
    }
}

async fn pass_on(mut client: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    if !*open.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        // Closed, or dropped: either way this connection ends.
        _ = open.changed() => {}
    }
}
