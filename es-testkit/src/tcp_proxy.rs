//! A network that can be cut.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
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
    forgotten: watch::Sender<()>,
    target: Arc<AtomicU16>,
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
        let (forgotten, forgetting) = watch::channel(());
        let target = Arc::new(AtomicU16::new(target));
        let current = Arc::clone(&target);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = current.load(Ordering::SeqCst);
                tokio::spawn(pass_on(client, (Ipv4Addr::LOCALHOST, target).into(), state.clone(), forgetting.clone()));
            }
        });
        Ok(Self { port, open, forgotten, target, accepting })
    }

    /// Passes new connections on to another port.
    pub fn set_target(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
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

impl TcpProxy {
    /// Forgets all connections, as a firewall does with idle ones: they stay open, and what is sent on them is lost. New ones are
    /// passed on.
    pub fn forget(&self) {
        self.forgotten.send_replace(());
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.open.send_replace(false);
    }
}

async fn pass_on(
    mut client: TcpStream,
    target: SocketAddr,
    mut open: watch::Receiver<bool>,
    mut forgotten: watch::Receiver<()>,
) {
    forgotten.mark_unchanged();
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
        // Both ends stay open.
        _ = forgotten.changed() => drop(open.changed().await),
    }
}
