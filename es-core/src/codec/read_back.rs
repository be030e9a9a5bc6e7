//! Reads values back before they are stored. The reader must be the inverse of the writer, and serde does not guarantee
//! that.
//!
//! Debug builds, and therefore all tests, check every value. Release builds check the first value of each kind, and
//! every value with features that often cannot be read back ([`Storable::is_unusual`]).

use std::{
    any::{TypeId, type_name},
    collections::{HashMap, HashSet},
    sync::{LazyLock, PoisonError, RwLock},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    decode::{RawDecodeError, measure_event, measure_value},
    encode::{Encoded, encode_event, encode_value},
    json_value::is_same_but_for_order,
    redact::without_content,
    storable::Storable,
};
use crate::{
    domain_event::DomainEvent,
    error::EncodeError,
    event::{EventType, Payload},
    upcast::Reading,
};

/// The kinds of values that were read back correctly, by type and name. The size is bounded by the number of types in
/// the program.
static PROVEN: LazyLock<RwLock<HashMap<TypeId, HashSet<String>>>> = LazyLock::new(RwLock::default);

/// Runs the check, unless it is unnecessary.
fn check_once<T: 'static>(
    name: &str,
    storable: Storable,
    check: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let is_proven = || {
        let proven = PROVEN.read().unwrap_or_else(PoisonError::into_inner);
        proven.get(&TypeId::of::<T>()).is_some_and(|names| names.contains(name))
    };
    if !cfg!(debug_assertions) && !storable.is_unusual && is_proven() {
        return Ok(());
    }
    check()?;
    if !is_proven() {
        let mut proven = PROVEN.write().unwrap_or_else(PoisonError::into_inner);
        proven.entry(TypeId::of::<T>()).or_default().insert(name.to_owned());
    }
    Ok(())
}

/// Checks that an event will be read back as it was written.
pub(crate) fn check_event<E: DomainEvent>(event_type: &EventType, encoded: &Encoded) -> Result<(), EncodeError> {
    let check = || try_event::<E>(event_type, encoded);
    check_once::<E>(event_type, encoded.storable, check).map_err(|problem| EncodeError::NotReadable {
        what: format!("an event of type {event_type}"),
        type_name: type_name::<E>(),
        problem,
    })
}

fn try_event<E: DomainEvent>(event_type: &EventType, encoded: &Encoded) -> Result<(), String> {
    let payload = encoded.payload.as_str();
    let mut read = Vec::new();
    let reading = Reading::<E>::new();
    reading.check()?;
    reading.decode(event_type, payload, E::SCHEMA_VERSION, &mut |event| read.push(event)).map_err(
        |error| {
            match error {
        RawDecodeError::UnknownType => {
            "no variant is read from this type; see to it that the variant has one name for writing and reading, and \
             remove `skip_deserializing` and `untagged`"
                .to_owned()
        }
        RawDecodeError::Payload(error) => not_read(&error),
    }
        },
    )?;
    let [event] = read.as_slice() else {
        return Err(format!(
            "an upcaster turns it into {} events, since it cannot tell it from one of an older form; raise \
             SCHEMA_VERSION and put the rule into `Upcasters::before`",
            read.len()
        ));
    };
    // Read the payload again, to find out whether the form itself knows every field.
    if let Ok((_, fit)) = measure_event::<E>(event_type, payload)
        && fit.ignored > 0
    {
        return Err(IGNORED.to_owned());
    }
    let again = encode_event(event).map_err(|_| CHANGED.to_owned())?;
    if again.0 == *event_type { check_same(encoded, &again.1) } else { Err(CHANGED.to_owned()) }
}

/// Encodes like [`encode_value`], and checks that the value will be read back as it was written.
pub(crate) fn encode_readable<T>(what: &str, value: &T) -> Result<Payload, EncodeError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let encoded = encode_value(what, value)?;
    check_once::<T>("", encoded.storable, || try_value::<T>(what, &encoded))
        .map_err(|problem| EncodeError::NotReadable { what: what.to_owned(), type_name: type_name::<T>(), problem })?;
    Ok(encoded.payload)
}

fn try_value<T: Serialize + DeserializeOwned>(what: &str, encoded: &Encoded) -> Result<(), String> {
    let json = encoded.payload.as_str();
    let value: T = serde_json::from_str(json).map_err(|error| not_read(&error))?;
    if measure_value::<T>(json).is_ok_and(|fit| fit.ignored > 0) {
        return Err(IGNORED.to_owned());
    }
    let again = encode_value(what, &value).map_err(|_| CHANGED.to_owned())?;
    check_same(encoded, &again)
}

/// Checks that the value that was read back is written in the same way again.
fn check_same(first: &Encoded, again: &Encoded) -> Result<(), String> {
    let is_same = first.storable.null_somes == again.storable.null_somes
        && is_same_but_for_order(first.payload.as_str(), again.payload.as_str());
    if is_same { Ok(()) } else { Err(CHANGED.to_owned()) }
}

const IGNORED: &str = "a field is written that is not read; see to it that each field has one name for writing and \
                       reading, and remove `skip_deserializing`";

const CHANGED: &str = "it is read as another value; `Some(None)` and `Some(())` become `null`, an untagged enum \
                       is read as its first variant that fits, and an upcaster may take it for one of an older form";

fn not_read(error: &serde_json::Error) -> String {
    format!(
        "{}; `skip_serializing_if` needs `default`, and `flatten` and tagged enums do not read integers of more \
         than 64 bits or keys that are numbers",
        without_content(error)
    )
}
