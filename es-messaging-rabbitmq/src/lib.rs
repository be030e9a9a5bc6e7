//! RabbitMQ as a broker.
