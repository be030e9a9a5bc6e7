//! Publishing to the topic.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use es_messaging::{BrokerError, Outgoing, PublishError, Publisher, PublisherLimits, waves};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use crate::{
    binding::{Entry, TOPIC},
    connection::Connection,
    error::{entry_error, publish_error, unconfirmed},
    limits,
};

/// Publishes in calls of ten messages, several at a time.
#[derive(Debug)]
pub(crate) struct SqsPublisher {
    connection: Arc<Connection>,
    closed: watch::Receiver<bool>,
}

type Results = Vec<Option<Result<(), PublishError>>>;

impl SqsPublisher {
    /// Checks that the topic is there.
    pub(crate) async fn open(connection: Arc<Connection>, closed: watch::Receiver<bool>) -> Result<Self, BrokerError> {
        connection.topic_arn().await?;
        Ok(Self { connection, closed })
    }

    /// Publishes messages of which no two depend on each other.
    async fn publish_wave(&self, topic_arn: &str, entries: &[Option<Entry>], wave: &[usize], results: &mut Results) {
        let calls = stream::iter(calls(entries, wave)).map(|call| self.call(topic_arn, entries, call));
        let mut answers = std::pin::pin!(calls.buffer_unordered(limits::CALLS));
        while let Some(answer) = answers.next().await {
            for (index, result) in answer {
                results[index] = Some(result);
            }
        }
    }

    async fn call(
        &self,
        topic_arn: &str,
        entries: &[Option<Entry>],
        call: Vec<usize>,
    ) -> Vec<(usize, Result<(), PublishError>)> {
        let mut request = Vec::with_capacity(call.len());
        for index in &call {
            if let Some(Ok(entry)) = entries[*index].as_ref().map(|entry| request_entry(*index, entry)) {
                request.push(entry);
            }
        }
        let publish = self.connection.sns.publish_batch().topic_arn(topic_arn);
        let answer = match publish.set_publish_batch_request_entries(Some(request)).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = publish_error(error);
                return call.into_iter().map(|index| (index, Err(again(&error)))).collect();
            }
        };
        let is = |id: &str, index: usize| id.parse() == Ok(index);
        let result = |index: usize| {
            if answer.successful().iter().any(|one| one.id().is_some_and(|id| is(id, index))) {
                return Ok(());
            }
            match answer.failed().iter().find(|one| is(one.id(), index)) {
                Some(one) => Err(entry_error(one.code(), one.message(), one.sender_fault())),
                None => Err(unconfirmed("the answer does not name this message")),
            }
        };
        call.iter().map(|index| (*index, result(*index))).collect()
    }
}

/// Cuts a wave into calls, by number and by size.
fn calls(entries: &[Option<Entry>], wave: &[usize]) -> Vec<Vec<usize>> {
    let (mut calls, mut call, mut bytes) = (Vec::new(), Vec::new(), 0);
    for index in wave {
        let Some(entry) = &entries[*index] else { continue };
        if call.len() == limits::CALL_MESSAGES || bytes + entry.size() > limits::CALL_BYTES {
            calls.push(std::mem::take(&mut call));
            bytes = 0;
        }
        bytes += entry.size();
        call.push(*index);
    }
    if !call.is_empty() {
        calls.push(call);
    }
    calls
}

fn request_entry(index: usize, entry: &Entry) -> Result<PublishBatchRequestEntry, aws_sdk_sns::error::BuildError> {
    let topic = MessageAttributeValue::builder().data_type("String").string_value(&entry.topic).build()?;
    let request = PublishBatchRequestEntry::builder().id(index.to_string()).message(&entry.body);
    let request = request.message_attributes(TOPIC, topic);
    match &entry.order {
        Some((group, id)) => request.message_group_id(group).message_deduplication_id(id).build(),
        None => request.build(),
    }
}

/// The same error once more: errors cannot be cloned.
fn again(error: &PublishError) -> PublishError {
    match error {
        PublishError::Throttled { broker, after } => PublishError::Throttled { broker, after: *after },
        PublishError::Unconfirmed { source, .. } => unconfirmed(source.to_string()),
        other => unconfirmed(other.to_string()),
    }
}

#[async_trait]
impl Publisher for SqsPublisher {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: limits::MESSAGE_BYTES, batch: limits::BATCH }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let fifo = self.connection.target.options.fifo;
        let mut results: Results = std::iter::repeat_with(|| None).take(batch.len()).collect();
        let topic_arn = match self.connection.topic_arn().await {
            Ok(arn) if !*self.closed.borrow() => arn,
            Ok(_) => return batch.iter().map(|_| Err(unconfirmed(BrokerError::Closed))).collect(),
            Err(error) => {
                let text = error.to_string();
                return batch.iter().map(|_| Err(unconfirmed(text.clone()))).collect();
            }
        };
        let mut stopped: HashSet<&str> = HashSet::new();
        let mut entries = Vec::with_capacity(batch.len());
        for (index, outgoing) in batch.iter().enumerate() {
            let key = outgoing.message.key();
            let entry = match key.filter(|key| stopped.contains(key)) {
                Some(_) => Err(PublishError::Behind),
                None => Entry::of(outgoing, fifo),
            };
            if let Err(error) = entry {
                stopped.extend(key);
                results[index] = Some(Err(error));
                entries.push(None);
            } else {
                entries.push(entry.ok());
            }
        }
        // The services may keep a message of a call and not the one before it.
        let waves = if fifo { waves(batch) } else { vec![(0..batch.len()).collect()] };
        let mut failed: HashSet<&str> = HashSet::new();
        for wave in waves {
            for index in &wave {
                if results[*index].is_none() && batch[*index].message.key().is_some_and(|key| failed.contains(key)) {
                    results[*index] = Some(Err(PublishError::Behind));
                    entries[*index] = None;
                }
            }
            self.publish_wave(topic_arn, &entries, &wave, &mut results).await;
            let keys = wave.iter().filter(|index| !matches!(results[**index], Some(Ok(()))));
            failed.extend(keys.filter_map(|index| batch[*index].message.key()));
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(unconfirmed("it was not sent")))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_at_most_ten_messages_and_a_quarter_of_a_mebibyte() {
        let entry = |bytes: usize| Some(Entry { topic: "t".to_owned(), body: "x".repeat(bytes), order: None });
        let small: Vec<_> = (0..25).map(|_| entry(10)).collect();
        let sizes = |entries: &[Option<Entry>]| -> Vec<usize> {
            let wave: Vec<usize> = (0..entries.len()).collect();
            calls(entries, &wave).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&small), [10, 10, 5]);
        let large: Vec<_> = (0..5).map(|_| entry(limits::CALL_BYTES / 2 - 100)).collect();
        assert_eq!(sizes(&large), [2, 2, 1]);
    }
}
