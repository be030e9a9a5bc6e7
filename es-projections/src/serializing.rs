//! Serializes the parts of a status that have no serialized form of their own: durations as seconds, and errors as
//! text.

use std::{error::Error, ops::Deref, time::Duration};

use serde::Serializer;

use crate::error::Chain;

pub(crate) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

pub(crate) fn maybe_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&time.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

/// Serializes an error with all its causes.
pub(crate) fn error_chain<E: Error + 'static, S: Serializer>(error: &E, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Chain(error))
}

/// Like [`error_chain`], for an error behind a pointer.
pub(crate) fn shared_error_chain<E, P, S>(error: &P, serializer: S) -> Result<S::Ok, S::Error>
where
    E: Error + 'static,
    P: Deref<Target = E>,
    S: Serializer,
{
    serializer.collect_str(&Chain(&**error))
}
