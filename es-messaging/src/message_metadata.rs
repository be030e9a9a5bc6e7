//! Metadata of the events that a message causes.

use es_core::Metadata;

use crate::message::{Message, extension};

impl Message {
    /// Returns metadata for the events that this message causes: its correlation ID (or its ID, if there is none), its
    /// ID as the causation ID, and its trace.
    ///
    /// ```
    /// let message = es_messaging::Message::builder("order.placed", "/shop").id("7").build()?;
    /// let metadata = message.metadata();
    /// assert_eq!((metadata.correlation(), metadata.causation()), (Some("7"), Some("7")));
    /// # Ok::<(), es_messaging::MalformedMessage>(())
    /// ```
    pub fn metadata(&self) -> Metadata {
        let fits = |text: &&str| text.len() <= es_core::limits::MAX_METADATA_TEXT_BYTES;
        let metadata = Metadata::new();
        let correlation = self.extension(extension::CORRELATION).filter(fits);
        let metadata = match correlation.or(Some(self.id()).filter(fits)) {
            Some(correlation) => metadata.with_correlation(correlation),
            None => metadata,
        };
        let metadata = match Some(self.id()).filter(fits) {
            Some(id) => metadata.with_causation(id),
            None => metadata,
        };
        match self.extension(extension::TRACE_PARENT).filter(fits) {
            Some(trace) => metadata.with_trace_parent(trace),
            None => metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_goes_on_and_the_message_is_the_cause() {
        let message = Message::builder("t", "/shop").id("7").extension(extension::CORRELATION, "request-1");
        let message = message.extension(extension::TRACE_PARENT, "00-ab").build().unwrap();
        let metadata = message.metadata();
        assert_eq!(metadata.correlation(), Some("request-1"));
        assert_eq!((metadata.causation(), metadata.trace_parent()), (Some("7"), Some("00-ab")));
    }
}
