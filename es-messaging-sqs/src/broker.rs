//! A connection to SQS and SNS.

use std::sync::Arc;

use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};
use tokio::sync::watch;

use crate::{
    connection::Connection,
    declare,
    error::SQS,
    options::{SqsOptions, Target},
    publisher::SqsPublisher,
    subscriber::SqsSubscriber,
};

/// SQS and SNS, connected.
#[derive(Debug)]
pub struct Sqs {
    connection: Arc<Connection>,
    closed: watch::Sender<bool>,
}

impl Sqs {
    /// Connects: `sqs://region` or `sqs://host:port`, with `key:secret@` before it, or else credentials of the environment, a profile or the
    /// machine's role. What may follow: `?fifo=true`, `prefix=shop`, `max_receives=100`, `region=...` and `tls=true` with a host; it goes
    /// over the options.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a wrong URL, [`BrokerError::Denied`], [`BrokerError::Tls`], [`BrokerError::Unavailable`] if nobody
    /// answers within [`limits::CALL_TIMEOUT`](crate::limits::CALL_TIMEOUT).
    pub async fn connect(url: &str, options: SqsOptions) -> Result<Self, BrokerError> {
        let connection = Connection::open(Target::parse(url, options)?).await?;
        Ok(Self { connection: Arc::new(connection), closed: watch::Sender::new(false) })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if *self.closed.borrow() { Err(BrokerError::Closed) } else { Ok(()) }
    }
}

#[async_trait]
impl Broker for Sqs {
    fn name(&self) -> &'static str {
        SQS
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.check_open()?;
        declare::declare(&self.connection, topology).await
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        self.check_open()?;
        Ok(Box::new(SqsPublisher::open(self.connection.clone(), self.closed.subscribe()).await?))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.check_open()?;
        Ok(Box::new(SqsSubscriber::open(self.connection.clone(), subscription, self.closed.subscribe()).await?))
    }

    async fn close(&self) {
        self.closed.send_replace(true);
    }
}
