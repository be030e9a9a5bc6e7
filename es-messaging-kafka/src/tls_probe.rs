//! Whether a listener speaks TLS to a client that does not: librdkafka does not tell that from one that is away.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long a listener gets to take the connection, and to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Asks for the versions of the protocol: length, key 18, version 0, a number, and no name of a client.
const QUESTION: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Whether one of the servers answers with a record of TLS. Blocks for a few seconds at most for each.
pub(crate) fn speaks_tls(servers: &str) -> bool {
    servers
        .split(',')
        .any(|server| answer(server).is_some_and(|[kind, version]| (20..=23).contains(&kind) && version == 3))
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
