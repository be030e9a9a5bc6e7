//! Checks JSON text that does not come from a value of the program: raw payloads.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::limits::MAX_JSON_DEPTH;

/// Checks that a text is JSON that every store can keep and every reader can read.
///
/// # Errors
/// Returns serde_json's error for text that is not JSON, for half of a surrogate pair, and for a number beyond `f64`.
/// Also returns such an error for a NUL character, and for more than [`MAX_JSON_DEPTH`] levels.
pub(crate) fn check_json(text: &str) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Check { depth: 0 }.deserialize(&mut reader)?;
    reader.end()
}

/// A value that is nested in this number of arrays and objects.
#[derive(Clone, Copy)]
struct Check {
    depth: usize,
}

impl Check {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(E::custom(format_args!("more than {MAX_JSON_DEPTH} levels of arrays and objects")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

fn check_text<E: de::Error>(text: &str) -> Result<(), E> {
    if text.as_bytes().contains(&0) { Err(E::custom("a text with a NUL character")) } else { Ok(()) }
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        check_text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while elements.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while fields.next_key_seed(inside)?.is_some() {
            fields.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_not_every_store_and_reader_takes_is_refused() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for refused in [
            "{\"a\":1",
            "1 2",
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"["\ud800"]"#,
            r#"["\udc00\ud800"]"#,
            "[1e999]",
            &nested(MAX_JSON_DEPTH + 1),
            &nested(100_000),
        ] {
            assert!(check_json(refused).is_err(), "{:.40}", refused);
        }
        for accepted in [
            "null",
            "-0.0",
            "18446744073709551616",
            r#"{"a":[1,true,"\ud83d\ude00",{"b":null}],"b":{"a":1e308}}"#,
            &nested(MAX_JSON_DEPTH),
        ] {
            check_json(accepted).unwrap();
        }
    }
}
