//! Compares JSON texts by their values. The order of an object's keys does not matter, and the order of an array's
//! elements does.

use std::borrow::Cow;

use crate::limits::MAX_COMPARED_JSON_DEPTH;

/// Returns whether two JSON texts have the same value. Numbers are only equal if they are written in the same way, so
/// that no digit is lost.
///
/// ```
/// use es_core::is_same_json;
/// assert!(is_same_json(r#"{"a":1,"b":[2,3]}"#, r#"{ "b": [2, 3], "a": 1 }"#));
/// assert!(!is_same_json("[2,3]", "[3,2]"));
/// ```
pub fn is_same_json(one: &str, other: &str) -> bool {
    one == other || canonical_json(one) == canonical_json(other)
}

/// Returns the text in canonical form: sorted keys, no white space. A text that is not JSON, or is nested too deeply,
/// is returned unchanged.
pub fn canonical_json(text: &str) -> Cow<'_, str> {
    canonical(text, Arrays::InOrder).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Compares like [`is_same_json`], except that the order of an array's elements does not matter either: a hash set is
/// written in any order.
pub(crate) fn is_same_but_for_order(one: &str, other: &str) -> bool {
    is_same_json(one, other)
        || canonical(one, Arrays::Sorted).is_some_and(|one| canonical(other, Arrays::Sorted) == Some(one))
}

#[derive(Clone, Copy, PartialEq)]
enum Arrays {
    InOrder,
    Sorted,
}

fn canonical(text: &str, arrays: Arrays) -> Option<String> {
    let mut reader = Reader { text, at: 0, arrays };
    let value = reader.value(0)?;
    reader.peek().is_none().then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    arrays: Arrays,
}

impl Reader<'_> {
    /// Returns the next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<String> {
        if depth > MAX_COMPARED_JSON_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => {
                let mut fields = self.list(b'}', |reader| {
                    let key = reader.string()?;
                    reader.take(b':')?;
                    Some((key, reader.value(depth + 1)?))
                })?;
                fields.sort();
                let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                Some(format!("{{{}}}", fields.join(",")))
            }
            b'[' => {
                let mut elements = self.list(b']', |reader| reader.value(depth + 1))?;
                if self.arrays == Arrays::Sorted {
                    elements.sort();
                }
                Some(format!("[{}]", elements.join(",")))
            }
            b'"' => self.string(),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find(|c: char| ",]}".contains(c) || c.is_ascii_whitespace()).unwrap_or(rest.len());
                self.at += end;
                (end > 0).then(|| rest[..end].to_owned())
            }
        }
    }

    fn list<T>(&mut self, closing: u8, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek()? != closing {
            if !items.is_empty() {
                self.take(b',')?;
            }
            items.push(item(self)?);
        }
        self.at += 1;
        Some(items)
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        let end = rest.bytes().position(|byte| {
            let is_end = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        })?;
        let quoted = &self.text[self.at - 1..=self.at + end];
        self.at += end + 1;
        if !quoted.contains('\\') {
            return Some(quoted.to_owned());
        }
        // The same character can be escaped in several ways.
        let text: String = serde_json::from_str(quoted).ok()?;
        serde_json::to_string(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_hold_the_same_value_are_the_same() {
        for (one, other) in [
            (r#"{"b":[{"y":1,"x":2}],"a":"é\n"}"#, "{ \"a\" : \"\\u00e9\\u000a\", \"b\": [ {\"x\":2,\"y\":1} ] }\n"),
            (r#"{"a":1,"bb":22}"#, r#"{"bb":22,"a":1}"#),
            ("[]", "[ ]"),
            (r#"{"a":"\"}"}"#, r#"{"a":"\u0022}"}"#),
        ] {
            assert!(is_same_json(one, other), "{one} {other}");
        }
        let deep = |space: &str| format!("{}{space}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(is_same_json(&deep(""), &deep("")) && !is_same_json(&deep(""), &deep(" ")));
    }

    #[test]
    fn texts_that_hold_other_values_are_not() {
        for (one, other) in [
            ("[1,2]", "[2,1]"),
            ("1", "1.0"),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#),
            ("340282366920938463463374607431768211455", "340282366920938463463374607431768211454"),
            ("not JSON", "not  JSON"),
        ] {
            assert!(!is_same_json(one, other), "{one} {other}");
        }
        assert!(is_same_but_for_order(r#"{"a":[3,1,2],"b":0}"#, r#"{"b":0,"a":[1,2,3]}"#));
        assert!(!is_same_but_for_order("[1,2,2]", "[1,1,2]"));
    }
}
