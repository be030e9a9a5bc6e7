//! Free ports on the loopback interface.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use crate::error::ServerError;
use crate::temp_folder::random;

/// How many ports are tried before giving up.
pub(crate) const MAX_PORT_ATTEMPTS: u32 = 32;

/// The lowest port that is handed out.
const LOWEST: u16 = 15_000;

/// The lowest ephemeral port of Linux unless configured.
const USUAL_LOWEST_EPHEMERAL: u16 = 32_768;

/// Finds a port on 127.0.0.1 where nobody listens.
///
/// It lies below the range that the kernel takes the local ports of outgoing connections from. Otherwise, while
/// a server is down between `kill` and `restart`, a client that keeps connecting could be given that very port, be
/// connected to itself, and keep the server from coming back.
pub(crate) fn free() -> Result<u16, ServerError> {
    let end = lowest_ephemeral().filter(|lowest| *lowest > LOWEST + 1000).unwrap_or(USUAL_LOWEST_EPHEMERAL);
    (0..MAX_PORT_ATTEMPTS)
        .map(|_| LOWEST + (random() % u64::from(end - LOWEST)) as u16)
        .find(|port| is_free(*port))
        .ok_or(ServerError::NoFreePort { attempts: MAX_PORT_ATTEMPTS })
}

/// Whether a server could listen on `port` now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn lowest_ephemeral() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_somebody_listens_on_is_not_free() -> Result<(), Box<dyn std::error::Error>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        assert!(!is_free(port));
        assert!(is_free(free()?));
        Ok(())
    }
}
