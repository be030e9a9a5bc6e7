//! A throwaway RabbitMQ starts, comes back after a crash, and leaves nothing behind.

use std::error::Error;
use std::net::TcpStream;

use xtask::brokers::rabbitmq::{RabbitMqOptions, ThrowawayRabbitMq};

#[test]
fn a_server_comes_back_on_the_same_port_and_leaves_nothing() -> Result<(), Box<dyn Error>> {
    let install = xtask::tools::ensure_rabbitmq()?;
    let mut server = ThrowawayRabbitMq::start(&install, &RabbitMqOptions::default())?;
    let (port, folder) = (server.port(), server.folder().to_owned());
    TcpStream::connect(("127.0.0.1", port))?;
    server.kill()?;
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart()?;
    TcpStream::connect(("127.0.0.1", port))?;
    server.control(&["list_queues"])?;
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!folder.exists());
    Ok(())
}
