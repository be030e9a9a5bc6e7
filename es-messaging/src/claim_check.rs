//! Claim checks: content that is too large for a broker goes to a blob store, and the message carries its name.

use std::{fmt::Write, sync::Arc};

use es_core::{BlobStore, StoreError, check_blob, limits as core_limits};
use sha2::{Digest, Sha256};

use crate::{
    error::MalformedMessage,
    message::{Message, extension},
};

/// Where content goes that is too large for a broker.
///
/// A blob is kept until somebody drops it ([`BlobStore::drop_blobs_before`]): longer than messages may wait at the broker, in dead
/// letters and for a replay.
///
/// A relay is given one ([`RelayBuilder::claim_check`](crate::RelayBuilder::claim_check)), and a consumer the store
/// ([`ConsumerBuilder::blobs`](crate::ConsumerBuilder::blobs)); then nobody has to call what follows:
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
    /// Content of messages that are larger than the publisher takes goes to a store.
    pub fn new(blobs: Arc<dyn BlobStore>) -> Self {
        Self { blobs, over: None }
    }

    /// The same for smaller messages too: those over so many bytes, as [`Message::size`] counts.
    #[must_use]
    pub fn over(mut self, bytes: usize) -> Self {
        self.over = Some(bytes);
        self
    }

    /// The largest message that keeps its content, at a publisher with a limit.
    pub(crate) fn limit(&self, publisher: usize) -> usize {
        self.over.unwrap_or(publisher).min(publisher)
    }

    /// The message without its content, which is kept.
    ///
    /// # Errors
    /// [`ClaimError::Store`], [`ClaimError::Message`].
    ///
    /// # Cancel safety
    /// Dropped, the content may be kept or not; done again, it is kept once.
    pub async fn put(&self, message: &Message) -> Result<Message, ClaimError> {
        let name = blob_name(message);
        self.blobs.put_blob(&name, message.data()).await?;
        let content_type = message.content_type().to_owned();
        // Says which type the content has that is not here.
        let builder = message.to_builder().data(content_type, Vec::new()).without_data();
        Ok(builder.extension(extension::DATA_REF, name).build()?)
    }
}

/// Why a message could not be given its content, or its content could not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The blob store refused or failed; see [`StoreError`].
    #[error("the content of a message could not be put into the blob store, or not be read from there")]
    Store(#[from] StoreError),
    /// The blob store does not have the content: it was dropped too soon, or this is another store than the sender's.
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
    /// Whether trying again may help without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

/// Gives a message its content back, on the receiving side. One that has its content, or whose reference is no name of a blob store (a
/// URL of somebody else's), is given back as it is.
///
/// # Errors
/// [`ClaimError::Missing`] if the store does not have it; [`ClaimError::Store`].
///
/// # Cancel safety
/// Only reads.
pub async fn resolve(blobs: &dyn BlobStore, message: Message) -> Result<Message, ClaimError> {
    let name = message.extension(extension::DATA_REF).filter(|name| check_blob(name, &[]).is_ok());
    let Some(name) = name.filter(|_| !message.has_data()).map(str::to_owned) else { return Ok(message) };
    let Some(data) = blobs.blob(&name).await? else {
        return Err(ClaimError::Missing { id: message.id().to_owned(), name });
    };
    let content_type = message.content_type().to_owned();
    Ok(message.to_builder().without_extension(extension::DATA_REF).data(content_type, data).build()?)
}

/// A name made of the message's id, so that people find it, and of a hash of source, id and content, so that another content of the
/// same id (of another source, or of a changed mapper) has another name.
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
        // A String takes everything.
        let _ = write!(name, "{byte:02x}");
    }
    name
}
