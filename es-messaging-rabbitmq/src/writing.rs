//! Handing messages to the connection, several at a time.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use futures_util::{
    FutureExt,
    future::{MaybeDone, maybe_done},
};
use lapin::{BasicProperties, Channel, PublisherConfirm, options::BasicPublishOptions, types::ShortString};
use tokio::time::timeout;

use crate::limits;

/// A message as it is handed over.
pub(crate) struct Draft<'a> {
    pub(crate) topic: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) data: &'a [u8],
}

/// What the connection took.
#[derive(Default)]
pub(crate) struct Written {
    /// One for each of the first messages, in order.
    pub(crate) confirms: Vec<PublisherConfirm>,
    /// What ended the channel or its connection, if anything did.
    pub(crate) lost: Option<lapin::Error>,
    /// Whether the server did not read for too long.
    pub(crate) late: bool,
}

impl Written {
    fn is_whole(&self) -> bool {
        self.lost.is_none() && !self.late
    }
}

/// Hands messages to the connection in their order. The library answers only when a message was written; waiting for each before the
/// next would give every message a write and a change of threads of its own. So [some](limits::WRITES) are on their way at once.
///
/// Waits at most `wait` for a message to be written; afterwards neither it nor those behind it are waited for.
pub(crate) async fn write(
    channel: &Channel,
    exchange: &ShortString,
    options: BasicPublishOptions,
    wait: Duration,
    drafts: impl ExactSizeIterator<Item = Draft<'_>>,
) -> Written {
    let mut written = Written { confirms: Vec::with_capacity(drafts.len()), ..Written::default() };
    let (mut under_way, mut bytes) = (VecDeque::with_capacity(limits::WRITES), 0);
    for Draft { topic, properties, data } in drafts {
        let publishing = channel.basic_publish(exchange.clone(), topic, options, data, properties);
        let mut publishing = Box::pin(maybe_done(publishing));
        // The first step puts it into the connection's queue: from then on its place is fixed.
        let _ = (&mut publishing).now_or_never();
        under_way.push_back((publishing, data.len()));
        bytes += data.len();
        while written.is_whole() && (under_way.len() >= limits::WRITES || bytes > limits::WRITE_BYTES) {
            let Some((publishing, length)) = under_way.pop_front() else { break };
            finish(publishing, wait, &mut written).await;
            bytes -= length;
        }
        if !written.is_whole() {
            return written;
        }
    }
    for (publishing, _) in under_way {
        finish(publishing, wait, &mut written).await;
        if !written.is_whole() {
            break;
        }
    }
    written
}

/// Waits until a message was written.
async fn finish<F>(mut publishing: Pin<Box<MaybeDone<F>>>, wait: Duration, written: &mut Written)
where
    F: Future<Output = lapin::Result<PublisherConfirm>>,
{
    let is_late = timeout(wait, &mut publishing).await.is_err();
    match publishing.as_mut().take_output() {
        Some(Ok(confirm)) => written.confirms.push(confirm),
        Some(Err(error)) => written.lost = Some(error),
        None => written.late = is_late,
    }
}
