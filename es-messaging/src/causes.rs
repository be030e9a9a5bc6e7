//! Error messages with their causes, without the content of messages.

use std::{any::Any, error::Error};

use es_core::{text_without_content, without_content};

/// Returns an error and its causes in one line, without the content of messages. The text is used in dead letters,
/// statuses, logs, and the reasons that brokers store. A cause that the error's own message already contains is not
/// repeated.
///
/// Errors of `serde` quote the value that does not fit. Their description remains ("invalid type: string, expected u64
/// at line 1 column 7"), but the value is removed, even if an application's error repeats it. Authorized users can find
/// the message itself in the dead letter.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = told(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = told(error);
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text_without_content(&text)
}

/// Returns an error's own message. What a type reports through `serde_json` about an invalid value may contain
/// anything, and is removed.
fn told(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<serde_json::Error>() {
        Some(error) => json_words(error),
        None => error.to_string(),
    }
}

/// Returns what is wrong with JSON and where, without any value of it.
pub(crate) fn json_words(error: &serde_json::Error) -> String {
    without_content(error).to_string()
}

/// Returns a panic message if it is a constant of the code. A formatted message may contain content; it appears in the
/// standard error of the process, unless a panic hook prevents that.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("(the message is not repeated: it may hold content)")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::Error as _};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Failure {
        says: &'static str,
        source: Option<Box<Failure>>,
    }

    #[test]
    fn causes_are_told_once() {
        let cause = |says, source: Option<Failure>| Failure { says, source: source.map(Box::new) };
        let refused = cause("connection refused", None);
        let error = cause("no answer", Some(cause("I/O: connection refused", Some(refused))));
        assert_eq!(with_causes(&error), "no answer: I/O: connection refused");
    }

    /// A text type that accepts no value and quotes the value in its error.
    #[derive(Debug)]
    struct Iban;

    impl<'de> Deserialize<'de> for Iban {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Err(D::Error::custom(format!("{} is not a valid IBAN", String::deserialize(deserializer)?)))
        }
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        A,
        B,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read alone")]
    struct Order {
        cents: Option<u64>,
        kind: Option<Kind>,
        iban: Option<Iban>,
    }

    /// The ways in which applications wrap errors: the cause is indistinguishable from the error, or is part of its
    /// text.
    #[derive(Debug, thiserror::Error)]
    enum Wrapped {
        #[error(transparent)]
        Transparent(serde_json::Error),
        #[error("the order cannot be read: {0}")]
        Told(serde_json::Error),
        #[error("the order cannot be read")]
        Caused(#[source] serde_json::Error),
        #[error("{0}")]
        Text(String),
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where_and_never_the_value() {
        for (json, says) in [
            (
                r#"{"cents":"a secret, expected `secret`, expected \"secret\""}"#,
                "invalid type: string, expected u64 at line 1",
            ),
            (r#"{"cents":"secret"}"#, "invalid type: string, expected u64 at line 1 column 17"),
            (r#"{"cents":-7654321}"#, "invalid value: integer, expected u64 at line 1"),
            (r#"{"cents":76543.21}"#, "invalid type: floating point, expected u64 at line 1"),
            (r#"{"kind":"secret"}"#, "unknown variant, expected `A` or `B` at line 1"),
            (r#"{"secret":1}"#, "unknown field, expected one of `cents`, `kind`, `iban` at line 1"),
            (r#"{"cents":1,"cents":2}"#, "duplicate field `cents` at line 1"),
            (r#"{"cents":1 "secret"}"#, "expected `,` or `}` at line 1"),
            ("[]", "invalid length, expected struct Order with 3 elements at line 1"),
        ] {
            let error = || serde_json::from_str::<Order>(json).unwrap_err();
            let debug = Wrapped::Text(format!("called `Result::unwrap()` on an `Err` value: {:?}", error()));
            for wrapped in [
                Wrapped::Transparent(error()),
                Wrapped::Told(error()),
                Wrapped::Caused(error()),
                Wrapped::Text(error().to_string()),
            ] {
                let words = with_causes(&wrapped);
                assert!(words.contains(says), "{wrapped:?}: {words}");
                assert!(!words.contains("secret") && !words.contains("76543"), "{words}");
            }
            let words = with_causes(&debug);
            assert!(!words.contains("secret") && !words.contains("76543"), "{words}");
        }
    }

    #[test]
    fn what_a_type_says_of_a_value_is_left_out() {
        let error = serde_json::from_str::<Order>(r#"{"iban":"secret"}"#).unwrap_err();
        assert_eq!(json_words(&error), "the value does not fit at line 1 column 17");
        assert_eq!(
            with_causes(&Wrapped::Caused(error)),
            "the order cannot be read: the value does not fit at line 1 column 17"
        );
    }

    #[test]
    fn a_panic_is_repeated_if_it_is_a_text_of_the_code() {
        let words = |panic: fn()| panic_words(&*std::panic::catch_unwind(panic).unwrap_err());
        assert_eq!(words(|| panic!("no such parcel")), "no such parcel");
        assert!(!words(|| panic!("no such parcel: {}", std::hint::black_box("secret"))).contains("secret"));
        assert!(!words(|| assert_eq!("secret", "other")).contains("secret"));
    }
}
