//! The broker: its connections, and what is declared on it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::sleep;

use crate::{
    BROKER,
    link::{Link, Settings, answer},
    options::{Address, DEAD, QueueKind, RabbitMqOptions},
    publisher::RabbitMqPublisher,
    subscriber::RabbitMqSubscriber,
};

/// Highest priority of a classic queue.
const MAX_PRIORITY: i32 = 9;

/// A RabbitMQ server. It has one connection for publishing and one for everything else: a server that is short of memory stops
/// reading from those that publish, and acknowledgements must still get through.
#[derive(Debug)]
pub struct RabbitMq {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
}

impl RabbitMq {
    /// Connects to a URL like `amqp://user:password@host:5672/vhost?exchange=events`; with the feature `tls` also `amqps://`.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a wrong URL, [`BrokerError::Denied`] for wrong credentials or a virtual host that is not there or not for
    /// this user, [`BrokerError::Tls`], [`BrokerError::Unavailable`].
    pub async fn connect(url: &str, options: RabbitMqOptions) -> Result<Self, BrokerError> {
        let address = Address::parse(url, &options)?;
        let settings = Arc::new(Settings { address, options });
        let [publishing, consuming] = [settings.clone(), settings].map(|settings| Arc::new(Link::new(settings)));
        consuming.connection(Duration::ZERO).await?;
        Ok(Self { publishing, consuming })
    }

    /// The name of the queue of dead letters of a subscription.
    pub fn dead_letter_queue(subscription: &Subscription) -> String {
        format!("{}{DEAD}", subscription.name)
    }

    fn settings(&self) -> &Settings {
        &self.consuming.settings
    }

    async fn declare_exchange(
        &self,
        channel: &Channel,
        name: &ShortString,
        kind: ExchangeKind,
    ) -> Result<(), BrokerError> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declaring = channel.exchange_declare(name.clone(), kind, durable, FieldTable::default());
        answer(&format!("the exchange {name}"), declaring).await
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &ShortString,
        arguments: FieldTable,
    ) -> Result<(), BrokerError> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        answer(&format!("the queue {name}"), channel.queue_declare(name.clone(), durable, arguments)).await.map(drop)
    }

    /// Whether a queue is there. Asked on a channel of its own, which does not survive a no.
    async fn is_there(&self, name: &ShortString) -> Result<bool, BrokerError> {
        let (_connection, channel) = self.consuming.channel(Duration::ZERO).await?;
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let asking = channel.queue_declare(name.clone(), passive, FieldTable::default());
        match answer(&format!("the queue {name}"), asking).await {
            Ok(_) => answer("closing a channel", channel.close(200, "done".into())).await.map(|()| true),
            Err(BrokerError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether declaring makes a quorum queue, which needs some time until it survives its server.
    async fn makes_quorum_queues(&self, topology: &Topology) -> Result<bool, BrokerError> {
        let options = &self.settings().options;
        if options.queue_kind != QueueKind::Quorum || options.new_queue_wait.is_zero() {
            return Ok(false);
        }
        for subscription in &topology.subscriptions {
            for name in [&subscription.name, &Self::dead_letter_queue(subscription)] {
                if !self.is_there(&short("a subscription's name", name)?).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn bind(
        &self,
        channel: &Channel,
        queue: &ShortString,
        exchange: &ShortString,
        topic: &str,
    ) -> Result<(), BrokerError> {
        let what = format!("the binding of {queue} to {topic}");
        let topic = short(&what, topic)?;
        let options = QueueBindOptions::default();
        answer(&what, channel.queue_bind(queue.clone(), exchange.clone(), topic, options, FieldTable::default())).await
    }

    async fn declare_subscription(&self, channel: &Channel, subscription: &Subscription) -> Result<(), BrokerError> {
        let Settings { address, options } = self.settings();
        let queue = short("a subscription's name", &subscription.name)?;
        let dead_queue = short("a subscription's name", &Self::dead_letter_queue(subscription))?;
        let exchange = short("the exchange", &address.exchange)?;
        let dead_exchange = short("the exchange", &format!("{exchange}{DEAD}"))?;
        let kind = match options.queue_kind {
            QueueKind::Quorum => "quorum",
            QueueKind::Classic => "classic",
        };
        let text = |value: &str| AMQPValue::LongString(value.into());
        let mut dead = FieldTable::default();
        dead.insert("x-queue-type".into(), text(kind));
        self.declare_queue(channel, &dead_queue, dead.clone()).await?;
        self.bind(channel, &dead_queue, &dead_exchange, &subscription.name).await?;

        let mut arguments = dead;
        arguments.insert("x-dead-letter-exchange".into(), text(dead_exchange.as_str()));
        arguments.insert("x-dead-letter-routing-key".into(), text(&subscription.name));
        if options.single_active_consumer {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        match options.queue_kind {
            QueueKind::Quorum => {
                if let Some(limit) = options.delivery_limit {
                    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit.into()));
                }
            }
            QueueKind::Classic => {
                arguments.insert("x-max-priority".into(), AMQPValue::LongInt(MAX_PRIORITY));
            }
        }
        self.declare_queue(channel, &queue, arguments).await?;
        for topic in &subscription.topics {
            self.bind(channel, &queue, &exchange, topic).await?;
        }
        Ok(())
    }
}

/// A text as AMQP's short string.
pub(crate) fn short(what: &str, text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text).map_err(|error| BrokerError::Config { what: what.to_owned(), reason: error.to_string() })
}

#[async_trait]
impl Broker for RabbitMq {
    fn name(&self) -> &'static str {
        BROKER
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let makes_quorum_queues = self.makes_quorum_queues(topology).await?;
        let (_connection, channel) = self.consuming.channel(Duration::ZERO).await?;
        let exchange = short("the exchange", &self.settings().address.exchange)?;
        let dead_exchange = short("the exchange", &format!("{exchange}{DEAD}"))?;
        self.declare_exchange(&channel, &exchange, ExchangeKind::Topic).await?;
        self.declare_exchange(&channel, &dead_exchange, ExchangeKind::Direct).await?;
        for subscription in &topology.subscriptions {
            self.declare_subscription(&channel, subscription).await?;
        }
        answer("closing a channel", channel.close(200, "done".into())).await?;
        if makes_quorum_queues {
            // What is published from now on has to survive the server.
            sleep(self.settings().options.new_queue_wait).await;
        }
        Ok(())
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        Ok(Box::new(RabbitMqPublisher::open(self.publishing.clone()).await?))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        Ok(Box::new(RabbitMqSubscriber::open(self.consuming.clone(), subscription).await?))
    }

    async fn close(&self) {
        self.publishing.close().await;
        self.consuming.close().await;
    }
}
