//! Claim checks: content that is too large for a broker goes to a blob store, and the message carries its name.

use std::{fmt::Write, sync::Arc};

use es_core::{BlobStore, StoreError, check_blob, limits as core_limits};
use sha2::{Digest, Sha256};

use crate::{
    error::MalformedMessage,
    message::{Message, extension},
};

/// Stores the content of messages that are too large for a broker.
///
/// A blob is kept until an operator or a job drops it ([`BlobStore::drop_blobs_before`]). Keep it longer than messages
/// may wait at the broker, in dead letters, and for a replay.
///
/// Pass a claim check to a relay ([`RelayBuilder::claim_check`](crate::RelayBuilder::claim_check)), and the blob store
/// to a consumer ([`ConsumerBuilder::blobs`](crate::ConsumerBuilder::blobs)). They make the following calls
/// automatically:
///
/// ```
/// use std::sync::Arc;
///
/// use es_core::MemoryStore;
/// use es_messaging::{ClaimCheck, Message, claim_check};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Every store keeps blobs; so does a `FileBlobStore`.
/// let blobs = MemoryStore::new();
/// let large = Message::builder("report.made", "/reports").data("text/plain", vec![b'x'; 1_000_000]).build()?;
/// let small = ClaimCheck::new(Arc::new(blobs.clone())).put(&large).await?;
/// assert!(small.size() < 1_000);
/// assert_eq!(claim_check::resolve(&blobs, small).await?, large);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClaimCheck {
    blobs: Arc<dyn BlobStore>,
    over: Option<usize>,
}

impl std::fmt::Debug for ClaimCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimCheck").field("over", &self.over).finish_non_exhaustive()
    }
}

impl ClaimCheck {
    /// Returns a claim check that stores the content of messages that exceed the limit of the publisher.
    pub fn new(blobs: Arc<dyn BlobStore>) -> Self {
        Self { blobs, over: None }
    }

    /// Sets a smaller limit: the content of messages over `bytes`, as [`Message::size`] counts them, is stored too.
    #[must_use]
    pub fn over(mut self, bytes: usize) -> Self {
        self.over = Some(bytes);
        self
    }

    /// Returns the maximum size of a message that keeps its content, for a publisher with a limit.
    pub(crate) fn limit(&self, publisher: usize) -> usize {
        self.over.unwrap_or(publisher).min(publisher)
    }

    /// Stores the content of a message. Returns the message without its content.
    ///
    /// # Errors
    /// Returns [`ClaimError::Store`] or [`ClaimError::Message`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the content may be stored or not. If the call is repeated, the content is stored once.
    pub async fn put(&self, message: &Message) -> Result<Message, ClaimError> {
        let name = blob_name(message);
        self.blobs.put_blob(&name, message.data()).await?;
        let content_type = message.content_type().to_owned();
        // States the type of the content although the content is not in the message.
        let builder = message.to_builder().data(content_type, Vec::new()).without_data();
        Ok(builder.extension(extension::DATA_REF, name).build()?)
    }
}

/// The reason why the content of a message could not be stored or resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The blob store refused or failed; see [`StoreError`].
    #[error("the content of a message could not be put into the blob store, or not be read from there")]
    Store(#[from] StoreError),
    /// The blob store does not have the content. Either it was dropped too early, or this is not the sender's store.
    #[error(
        "the blob store has no {name}, the content of message {id}; is it the sender's store, and was it kept long enough?"
    )]
    Missing {
        /// The message.
        id: String,
        /// The name of its content.
        name: String,
    },
    /// The message cannot be built.
    #[error("{0}")]
    Message(#[from] MalformedMessage),
}

impl ClaimError {
    /// Returns whether a retry may succeed without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

/// Restores the content of a message, on the receiving side. A message is returned unchanged if it has its content, or
/// if its reference is not a blob name (for example, a URL of another system).
///
/// # Errors
/// Returns [`ClaimError::Missing`] if the store does not have the content, and [`ClaimError::Store`] if the store
/// fails.
///
/// # Cancel safety
/// Safe: this function only reads.
pub async fn resolve(blobs: &dyn BlobStore, message: Message) -> Result<Message, ClaimError> {
    let name = message.extension(extension::DATA_REF).filter(|name| check_blob(name, &[]).is_ok());
    let Some(name) = name.filter(|_| !message.has_data()).map(str::to_owned) else { return Ok(message) };
    let Some(data) = blobs.blob(&name).await? else {
        return Err(ClaimError::Missing { id: message.id().to_owned(), name });
    };
    let content_type = message.content_type().to_owned();
    Ok(message.to_builder().without_extension(extension::DATA_REF).data(content_type, data).build()?)
}

/// Returns a blob name. It contains the message's ID, so that people can find the blob, and a hash of source, ID, and
/// content, so that other content under the same ID (from another source, or after a change of the mapper) has another
/// name.
fn blob_name(message: &Message) -> String {
    let id = message.id();
    let content = Sha256::digest(message.data());
    let hash = Sha256::new_with_prefix(message.source())
        .chain_update([0])
        .chain_update(id)
        .chain_update([0])
        .chain_update(content);
    let word = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let mut name: String = id.chars().map(word).take(core_limits::MAX_BLOB_NAME_BYTES - 48).collect();
    name.push('.');
    for byte in &hash.finalize()[..16] {
        // Writing to a `String` never fails.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
