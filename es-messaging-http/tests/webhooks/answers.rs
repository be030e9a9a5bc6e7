//! What becomes of a message when its receiver answers this, that or nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use es_core::DeadReason;
use es_messaging::{Outgoing, PublishError, Publisher};
use es_messaging_http::{Addresses, ContentMode, Endpoint, HttpClient, HttpClientConfig, HttpRequest, Webhook, limits};

use crate::server::{Reply, Server, outgoing};

async fn answered(reply: Reply) -> Result<(), PublishError> {
    let server = Server::start(move |_| reply.clone()).await;
    let webhook = Webhook::new(server.config().timeout(Duration::from_millis(400))).unwrap();
    webhook.publish(&[outgoing("1", None)]).await.remove(0)
}

fn source(error: PublishError) -> String {
    match error {
        PublishError::Unconfirmed { source, .. } => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_status_decides() {
    assert!(answered(Reply::Status(204)).await.is_ok());
    assert!(source(answered(Reply::Status(500)).await.unwrap_err()).contains("500"));
    let gone = answered(Reply::Status(410)).await.unwrap_err();
    assert!(
        matches!(&gone, PublishError::Refused { kind: DeadReason::Unroutable, reason, .. } if reason.contains("410"))
    );
    let throttled = answered(Reply::With(429, "retry-after: 3", Vec::new())).await.unwrap_err();
    assert!(matches!(throttled, PublishError::Throttled { after: Some(after), .. } if after == Duration::from_secs(3)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(|_| Reply::Status(200)).await;
    let location: &'static str = format!("location: {}", other.url()).leak();
    let error = answered(Reply::With(307, location, Vec::new())).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused { reason, .. } if reason.contains("307")), "{error:?}");
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn who_hangs_or_hangs_up_leaves_a_message_unconfirmed() {
    let began = Instant::now();
    assert!(source(answered(Reply::Hang).await.unwrap_err()).contains("no answer within"));
    assert!(began.elapsed() < Duration::from_secs(5));
    for reply in [Reply::Close, Reply::HalfClose] {
        assert!(source(answered(reply).await.unwrap_err()).contains("broke"));
    }
}

#[tokio::test]
async fn the_body_of_an_answer_is_neither_needed_nor_trusted() {
    let large = vec![b'x'; limits::WEBHOOK_ANSWER_BYTES * 20];
    assert!(answered(Reply::With(200, "x: y", large.clone())).await.is_ok());
    assert!(answered(Reply::Stalled(200)).await.is_ok());
    let refused = answered(Reply::With(400, "x: y", b"the card number is wrong".to_vec())).await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("card"));
}

#[tokio::test]
async fn nobody_there_is_unconfirmed_with_the_cause() {
    let server = Server::start(|_| Reply::Status(200)).await;
    let webhook = Webhook::new(server.config()).unwrap();
    drop(server);
    // The task that listened ends at its next step; a connection until then is closed without an answer.
    let mut says = String::new();
    for _ in 0..50 {
        says = source(webhook.publish(&[outgoing("1", None)]).await.remove(0).unwrap_err());
        if says.contains("does not take a connection") {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{says}");
}

#[tokio::test]
async fn after_silence_the_rest_of_a_batch_is_not_tried() {
    let server = Server::start(|_| Reply::Hang).await;
    let webhook = Webhook::new(server.config().timeout(Duration::from_millis(300)).parallel(2)).unwrap();
    let batch: Vec<Outgoing> = (0..100).map(|number| outgoing(&number.to_string(), None)).collect();
    let began = Instant::now();
    let results = webhook.publish(&batch).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(results.iter().all(|result| matches!(result, Err(PublishError::Unconfirmed { .. }))));
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn who_asks_to_wait_gets_no_more_of_a_batch() {
    let server = Server::start(|_| Reply::With(503, "retry-after: 9", Vec::new())).await;
    let webhook = Webhook::new(server.config().parallel(1)).unwrap();
    let batch: Vec<Outgoing> = (0..10).map(|number| outgoing(&number.to_string(), None)).collect();
    for result in webhook.publish(&batch).await {
        assert!(matches!(result, Err(PublishError::Throttled { after: Some(after), .. }) if after.as_secs() == 9));
    }
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn connections_are_kept_and_a_cut_one_is_made_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        2 => Reply::StatusAndClose(200),
        _ => Reply::Status(200),
    })
    .await;
    let webhook = Webhook::new(server.config().parallel(1)).unwrap();
    for number in 0..6 {
        // A request that meets the cut itself is unconfirmed, and the next one gets through.
        let mut tries = 0;
        while webhook.publish(&[outgoing(&number.to_string(), None)]).await.remove(0).is_err() {
            tries += 1;
            assert!(tries < 3);
        }
    }
    let connections: Vec<usize> = server.received().iter().map(|received| received.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1]);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_it_is() {
    let server = Server::start(|_| Reply::Status(200)).await;
    let webhook = Webhook::new(server.config().message_bytes(10)).unwrap();
    let error = webhook.publish(&[outgoing("1", None)]).await.remove(0).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { reason, .. } if reason.contains("at most 10")), "{error:?}");

    let wrong = |content_type: &str| {
        let message = outgoing("1", None).message.to_builder().data(content_type, b"{".to_vec()).build().unwrap();
        [Outgoing { topic: "t".to_owned(), message }]
    };
    let structured = Webhook::new(server.config()).unwrap();
    let error = structured.publish(&wrong("application/json")).await.remove(0).unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");
    let binary = Webhook::new(server.config().mode(ContentMode::Binary)).unwrap();
    let error = binary.publish(&wrong("größe")).await.remove(0).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { reason, .. } if reason.contains("datacontenttype")), "{error:?}");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_into_the_own_network_is_not_called() {
    let server = Server::start(|_| Reply::Status(200)).await;
    let url = format!("http://localhost:{}/", server.address.port());
    let config = es_messaging_http::WebhookConfig::new(url).unsigned();
    assert!(Webhook::new(config.clone()).unwrap().publish(&[outgoing("1", None)]).await[0].is_ok());
    let webhook = Webhook::new(config.public_addresses_only()).unwrap();
    let says = source(webhook.publish(&[outgoing("1", None)]).await.remove(0).unwrap_err());
    assert!(says.contains("no public address"), "{says}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_client_reads_no_more_of_an_answer_than_it_may() {
    let server = Server::start(|_| Reply::With(200, "x: y", vec![b'x'; 5_000])).await;
    let endpoint = Endpoint::parse(&server.url(), Addresses::Any, false).unwrap();
    for (limit, whole) in [(5_000, true), (4_999, false)] {
        let mut config = HttpClientConfig::default();
        config.answer_bytes = limit;
        let answer = HttpClient::new(config).unwrap().call(HttpRequest::get(&endpoint)).await.unwrap();
        assert_eq!((answer.status, answer.body.is_ok()), (200, whole));
    }
}
