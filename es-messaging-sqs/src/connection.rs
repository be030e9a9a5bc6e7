//! The clients of the two services.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use es_messaging::BrokerError;
use tokio::sync::OnceCell;

use crate::{
    error::{SQS, broker_error},
    limits,
    options::Target,
};

/// The clients, and what they have found out.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) target: Target,
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// The same with time to wait for messages.
    pub(crate) waiting: aws_sdk_sqs::Client,
    pub(crate) sns: aws_sdk_sns::Client,
    topic_arn: OnceCell<String>,
}

impl Connection {
    /// Makes the clients, and asks whether somebody answers.
    pub(crate) async fn open(target: Target) -> Result<Self, BrokerError> {
        let shared = shared_config(&target).await;
        let with_timeout = |timeout: Duration| {
            TimeoutConfig::builder().connect_timeout(limits::CONNECT_TIMEOUT).operation_timeout(timeout).build()
        };
        let sqs = |timeout| {
            let config = aws_sdk_sqs::config::Builder::from(&shared).timeout_config(with_timeout(timeout));
            aws_sdk_sqs::Client::from_conf(config.build())
        };
        let sns = aws_sdk_sns::config::Builder::from(&shared).timeout_config(with_timeout(limits::CALL_TIMEOUT));
        let this = Self {
            sqs: sqs(limits::CALL_TIMEOUT),
            waiting: sqs(limits::MAX_LONG_POLL + limits::CALL_TIMEOUT),
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            topic_arn: OnceCell::new(),
            target,
        };
        match this.topic_arn().await {
            // Not declared yet.
            Ok(_) | Err(BrokerError::Missing { .. }) => Ok(this),
            Err(error) => Err(error),
        }
    }

    /// The name of the topic, as the service has it.
    pub(crate) async fn topic_arn(&self) -> Result<&str, BrokerError> {
        let found = self.topic_arn.get_or_try_init(|| self.find_topic()).await?;
        Ok(found)
    }

    async fn find_topic(&self) -> Result<String, BrokerError> {
        let name = self.target.options.topic_name();
        let ending = format!(":{name}");
        let mut next = None;
        for _ in 0..limits::MAX_PAGES {
            let page = self.sns.list_topics().set_next_token(next).send().await;
            let page = page.map_err(|error| broker_error("the list of topics", error))?;
            let mut arns = page.topics().iter().filter_map(|topic| topic.topic_arn());
            if let Some(arn) = arns.find(|arn| arn.ends_with(&ending)) {
                return Ok(arn.to_owned());
            }
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        let reason = "SNS has no such topic: declare it, or correct the prefix".to_owned();
        Err(BrokerError::Missing { broker: SQS, what: format!("topic {name}"), reason })
    }

    /// The URL of a queue.
    pub(crate) async fn queue_url(&self, name: &str) -> Result<String, BrokerError> {
        let found = self.sqs.get_queue_url().queue_name(name).send().await;
        let found = found.map_err(|error| broker_error(&format!("queue {name}"), error))?;
        found.queue_url.ok_or_else(|| BrokerError::Missing {
            broker: SQS,
            what: format!("queue {name}"),
            reason: "the service gives no URL for it".to_owned(),
        })
    }
}

async fn shared_config(target: &Target) -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(target.region.clone()))
        .http_client(http)
        // Whoever calls decides what is tried again, and when.
        .retry_config(RetryConfig::disabled())
        // There is nothing to be seen on a connection while SQS waits for messages.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &target.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some((key, secret)) = &target.credentials {
        let credentials = Credentials::new(key, secret, None, None, "the URL");
        loader = loader.credentials_provider(SharedCredentialsProvider::new(credentials));
    }
    loader.load().await
}
