//! Whether a listener speaks TLS and the client does not, or the reverse: librdkafka does not tell that from one that is away.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long a listener gets to take the connection, and to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks for the versions of the protocol: length, key 18, version 0, a number, and no name of a client.
const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// What a listener answers to a question without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Tls,
    /// Kafka's protocol, as it is.
    Plain,
}

/// What the first of the servers speaks that answers. Blocks for a few seconds at most for each.
pub(crate) fn speech(servers: &str) -> Option<Speech> {
    servers.split(',').find_map(|server| match answer(server)? {
        [20..=23, 3] => Some(Speech::Tls),
        // A length, and a short one.
        [0, 0] => Some(Speech::Plain),
        _ => None,
    })
}

fn answer(server: &str) -> Option<[u8; 2]> {
    let address = server.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(&QUESTION).ok()?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}
