//! Errors of serde_json without the content that was read.

use serde::de::Error as _;
use serde_json::error::Category;

/// Returns the error without content: `invalid type: string, expected i64 at line 1 column 20`. serde_json quotes the
/// value that does not match, and a type's own `Deserialize` may include any text. Both can be private, and errors are
/// written to logs and dead letters.
///
/// To see the content, decode the payload with the type itself.
pub fn without_content(error: &serde_json::Error) -> serde_json::Error {
    let message = error.to_string();
    if error.classify() != Category::Data {
        // Problems of the JSON itself are reported in fixed words.
        return serde_json::Error::custom(message);
    }
    let place = match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    };
    let message = message.strip_suffix(&place).unwrap_or(&message);
    serde_json::Error::custom(format!("{}{place}", fixed_part(message)))
}

/// The words that serde writes before a value of the content.
const PROBLEMS: [&str; 5] =
    ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `", "unknown field `"];
/// The names of serde's kinds of values, which precede the value itself.
const KINDS: [&str; 17] = [
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
    "null",
];

/// Returns a text without the value that serde quotes in it. What remains is the problem, the kind of the value, and
/// what was expected. Use it for texts of errors that repeat an error of serde.
///
/// ```
/// let text = r#"not an order: invalid type: string "secret", expected u64 at line 1 column 9"#;
/// assert_eq!(es_core::text_without_content(text), "not an order: invalid type: string, expected u64 at line 1 column 9");
/// ```
pub fn text_without_content(text: &str) -> String {
    let first = PROBLEMS.iter().filter_map(|problem| text.find(problem).map(|at| (at, problem))).min();
    let Some((at, problem)) = first else { return text.to_owned() };
    let rest = &text[at + problem.len()..];
    let kind = KINDS.iter().find(|kind| rest.starts_with(**kind));
    // The last occurrence, because an earlier one may belong to the value.
    let expected = rest.rfind(", expected ").map_or("", |at| &rest[at..]);
    let problem = problem.trim_end_matches([' ', ':', '`']);
    let kind = kind.map_or(String::new(), |kind| format!(": {kind}"));
    format!("{}{problem}{kind}{expected}", &text[..at])
}

/// Returns the part of a message that comes from the code, not from the content.
fn fixed_part(message: &str) -> String {
    let is_field_name = |name: &str| name.strip_suffix('`').is_some_and(|name| !name.contains('`'));
    for kind in ["missing field `", "duplicate field `", "data did not match any variant of untagged enum "] {
        if let Some(rest) = message.strip_prefix(kind)
            && (is_field_name(rest) || rest.chars().all(|c| c.is_alphanumeric() || c == '_'))
        {
            return message.to_owned();
        }
    }
    match PROBLEMS.iter().any(|problem| message.starts_with(problem)) {
        true => text_without_content(message),
        false => "the value does not fit".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::Error};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read alone")]
    struct Form {
        number: i64,
        kind: Option<Kind>,
        own: Option<Own>,
        either: Option<Either>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Known,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "read alone")]
    enum Either {
        Number(i64),
        Flag(bool),
    }

    #[derive(Debug)]
    struct Own;

    impl<'de> Deserialize<'de> for Own {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(D::Error::custom(format!("missing field `{text}`, expected secret")))
        }
    }

    #[test]
    fn an_error_says_what_was_expected_and_where_but_not_what_was_found() {
        let message = |json: &str| {
            let error = serde_json::from_str::<Form>(json).unwrap_err();
            let redacted = without_content(&error);
            assert!(!format!("{redacted:?} {redacted}").contains("secret"), "{redacted:?}");
            redacted.to_string()
        };
        let place = "at line 1 column";
        assert_eq!(
            message(r#"{"number":"secret, expected secret"}"#),
            format!("invalid type: string, expected i64 {place} 35")
        );
        assert!(message(r#"{"number":7.5}"#).starts_with("invalid type: floating point, expected i64 at"));
        assert!(message(r#"{"number":18446744073709551615}"#).starts_with("invalid value: integer, expected i64 at"));
        assert!(message(r#"{"secret":1}"#).starts_with("unknown field, expected one of `number`, `kind`, `own`"));
        assert!(message(r#"{"number":1,"kind":"secret"}"#).starts_with("unknown variant, expected `Known` at"));
        assert!(message(r#"{"number":1,"own":"secret"}"#).starts_with("the value does not fit at"));
        assert!(message(r#"{"number":1,"own":"a` secret"}"#).starts_with("the value does not fit at"));
        assert!(message(r#"{"number":1,"either":"secret"}"#).contains("untagged enum Either at"));
        assert_eq!(message("{}"), format!("missing field `number` {place} 2"));
        assert_eq!(message(r#"{"number":1 "secret"}"#), format!("expected `,` or `}}` {place} 13"));
    }
}
