//! Calls of which some messages fail: moto has no such thing, so a small server says what SNS would.

use std::collections::BTreeMap;

use es_messaging::{Broker, Message, Outgoing, PublishError};
use es_messaging_sqs::{Sqs, SqsOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const TOPICS: &str = "<ListTopicsResponse><ListTopicsResult><Topics>\
    <member><TopicArn>arn:aws:sns:us-east-1:1:t-messages</TopicArn></member>\
    <member><TopicArn>arn:aws:sns:us-east-1:1:t-messages.fifo</TopicArn></member>\
    </Topics></ListTopicsResult></ListTopicsResponse>";

/// The answer to a batch: a message whose id is `fail-CODE` fails with that, one that is `silent` is not named.
fn answer(form: &str) -> String {
    if form.contains("Action=ListTopics") {
        return TOPICS.to_owned();
    }
    let mut entries: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for (name, value) in form.split('&').filter_map(|pair| pair.split_once('=')) {
        match name.strip_prefix("PublishBatchRequestEntries.member.").and_then(|rest| rest.split_once('.')) {
            Some((number, "Id")) => entries.entry(number).or_default().0 = value,
            Some((number, "Message")) => entries.entry(number).or_default().1 = value,
            _ => {}
        }
    }
    let (mut successful, mut failed) = (String::new(), String::new());
    for (id, message) in entries.into_values() {
        if let Some((_, rest)) = message.split_once("fail-") {
            let code: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            let fault = code == "InvalidParameter";
            failed += &format!("<member><Id>{id}</Id><Code>{code}</Code><SenderFault>{fault}</SenderFault></member>");
        } else if !message.contains("silent") {
            successful += &format!("<member><Id>{id}</Id><MessageId>m{id}</MessageId></member>");
        }
    }
    format!(
        "<PublishBatchResponse><PublishBatchResult><Successful>{successful}</Successful><Failed>{failed}</Failed>\
         </PublishBatchResult></PublishBatchResponse>"
    )
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut got, mut some) = (Vec::new(), [0; 8_192]);
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let answer = answer(body);
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", answer.len());
                stream.write_all((head + &answer).as_bytes()).await?;
                got.clear();
            }
        }
        match stream.read(&mut some).await? {
            0 => return Ok(()),
            count => got.extend_from_slice(&some[..count]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_call_has_its_own_result_and_in_a_fifo_holds_up_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let of = |id: &str, key: &str| {
        let message = Message::builder("t", "/").id(id).key(key).build().unwrap();
        Outgoing { topic: "events".to_owned(), message }
    };
    let batch = [
        of("1", "a"),
        of("fail-InternalError", "b"),
        of("2", "b"),
        of("fail-InvalidParameter", "c"),
        of("fail-Throttled", "d"),
        of("silent", "e"),
        of("3", "a"),
    ];
    for fifo in [false, true] {
        let url = format!("sqs://test:test@127.0.0.1:{port}?prefix=t");
        let sqs = Sqs::connect(&url, SqsOptions::new().fifo(fifo)).await.unwrap();
        let results = sqs.publisher().await.unwrap().publish(&batch).await;
        let is_right = |at: usize| match (at, &results[at]) {
            (2, Err(PublishError::Behind)) => fifo,
            (2, Ok(())) => !fifo,
            (1 | 5, Err(PublishError::Unconfirmed { .. })) => true,
            (3, Err(PublishError::Refused { .. })) | (4, Err(PublishError::Throttled { .. })) => true,
            (0 | 6, Ok(())) => true,
            _ => false,
        };
        assert!((0..batch.len()).all(is_right), "{fifo}: {results:?}");
    }
}
