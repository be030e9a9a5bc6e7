//! The SDK itself, for tests and examples that go past this crate.

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};

/// Clients of the SDK itself, past ours.
pub(crate) fn clients(port: u16) -> (aws_sdk_sqs::Client, aws_sdk_sns::Client) {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let credentials = Credentials::new("test", "test", None, None, "test");
    let endpoint = format!("http://127.0.0.1:{port}");
    let sqs = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&endpoint)
        .credentials_provider(credentials.clone())
        .http_client(http.clone());
    let sns = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&endpoint)
        .credentials_provider(credentials)
        .http_client(http);
    (aws_sdk_sqs::Client::from_conf(sqs.build()), aws_sdk_sns::Client::from_conf(sns.build()))
}
