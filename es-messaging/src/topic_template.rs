//! Topics built from the attributes of an event.

use std::fmt;

use es_core::{Envelope, limits as core_limits};

/// A template for the topic of each message, filled in from its event. It is text with the placeholders `{category}`,
/// `{type}` (the event's type), `{stream}` (the stream's ID without its category), `{tenant}` (empty if there is none),
/// and `{messagetype}` (the message type that the mapper sets).
///
/// A value cannot introduce levels or wildcards: every character other than ASCII letters, digits, `_`, and `-` becomes
/// `-`. Only `{messagetype}` keeps its dots.
///
/// ```
/// use es_messaging::TopicTemplate;
/// assert!(TopicTemplate::new("shop.{category}.{type}").is_ok());
/// let error = TopicTemplate::new("{categroy}.{type}").unwrap_err();
/// assert!(error.to_string().contains("{categroy}"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Category,
    Type,
    Stream,
    Tenant,
    MessageType,
}

const WORDS: [(&str, Part); 5] = [
    ("category", Part::Category),
    ("type", Part::Type),
    ("stream", Part::Stream),
    ("tenant", Part::Tenant),
    ("messagetype", Part::MessageType),
];

/// The error for a text that is not a valid topic template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic {template:?} cannot be used: {reason}")]
pub struct InvalidTopic {
    /// The invalid text.
    pub template: String,
    /// What is wrong with it, and what would be valid.
    pub reason: String,
}

impl TopicTemplate {
    /// Parses and checks a template.
    ///
    /// # Errors
    /// Returns [`InvalidTopic`] if the template is empty or longer than the maximum topic length, or if it contains an
    /// unknown placeholder, an unclosed brace, an empty level (`a..b`), a wildcard, or a character other than printable
    /// ASCII without spaces.
    pub fn new(template: &str) -> Result<Self, InvalidTopic> {
        let invalid = |reason: String| InvalidTopic { template: template.to_owned(), reason };
        if template.len() > core_limits::MAX_TOPIC_BYTES {
            return Err(invalid(format!("{} bytes, at most {}", template.len(), core_limits::MAX_TOPIC_BYTES)));
        }
        if template.split('.').any(str::is_empty) {
            return Err(invalid("it is empty, or has an empty level between dots".to_owned()));
        }
        let forbidden = |c: char| !c.is_ascii_graphic() || matches!(c, '*' | '#' | '>');
        if let Some(c) = template.chars().find(|&c| forbidden(c)) {
            return Err(invalid(format!("{c:?} is a wildcard, a space or no printable ASCII")));
        }
        let (mut parts, mut rest) = (Vec::new(), template);
        while !rest.is_empty() {
            let Some(open) = rest.find(['{', '}']) else {
                parts.push(Part::Text(rest.to_owned()));
                break;
            };
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let word = rest[open..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((word, after)) = word else {
                return Err(invalid("a brace is not closed, or closed without being opened".to_owned()));
            };
            let Some((_, part)) = WORDS.iter().find(|(name, _)| *name == word) else {
                let known: Vec<String> = WORDS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                return Err(invalid(format!("{{{word}}} is no word of it; there are {}", known.join(", "))));
            };
            parts.push(part.clone());
            rest = after;
        }
        Ok(Self { text: template.to_owned(), parts })
    }

    /// Returns the topic for a message of an event.
    pub fn topic(&self, event: &Envelope, message_type: &str) -> String {
        let mut topic = String::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Category => push_word(&mut topic, event.stream().category(), false),
                Part::Type => push_word(&mut topic, event.event_type(), false),
                Part::Stream => push_word(&mut topic, event.stream().id(), false),
                Part::Tenant => push_word(&mut topic, event.stream().tenant().unwrap_or_default(), false),
                Part::MessageType => push_word(&mut topic, message_type, true),
            }
        }
        topic
    }
}

fn push_word(topic: &mut String, word: &str, has_levels: bool) {
    topic.extend(word.chars().map(|c| match c {
        '.' if has_levels => '.',
        '_' | '-' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '-',
    }));
}

impl Default for TopicTemplate {
    /// Returns the template `{category}.{type}`.
    fn default() -> Self {
        let parts = vec![Part::Category, Part::Text(".".to_owned()), Part::Type];
        Self { text: "{category}.{type}".to_owned(), parts }
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use es_core::{EventType, NewEvent, Payload, Position, StreamId, Version};
    use time::OffsetDateTime;

    use super::*;

    fn topic(template: &str, stream: StreamId) -> String {
        let event = NewEvent::new(EventType::new("Order Placed").unwrap(), Payload::trusted("{}"));
        let event = event.recorded(stream, Version::new(1), Position::new(1), OffsetDateTime::UNIX_EPOCH);
        TopicTemplate::new(template).unwrap().topic(event.envelope(), "com.shop.placed!")
    }

    #[test]
    fn a_topic_is_made_of_the_events_words_and_none_brings_in_a_level() {
        let stream = StreamId::new("order", "17.a/#").unwrap();
        assert_eq!(topic("{category}.{type}", stream.clone()), "order.Order-Placed");
        assert_eq!(topic("shop.{stream}.x", stream.clone()), "shop.17-a--.x");
        assert_eq!(topic("{messagetype}", stream.clone()), "com.shop.placed-");
        assert_eq!(topic("t{tenant}.{category}", stream.with_tenant("acme").unwrap()), "tacme.order");
        assert_eq!(TopicTemplate::default(), TopicTemplate::new("{category}.{type}").unwrap());
    }

    #[test]
    fn a_template_that_makes_no_topic_says_why() {
        for (template, why) in [
            ("", "empty"),
            ("a..b", "empty level"),
            (".a", "empty level"),
            ("a.{type", "not closed"),
            ("a}.b", "not closed"),
            ("{kind}", "{category}, {type}, {stream}, {tenant}, {messagetype}"),
            ("a.*", "wildcard"),
            ("a b", "space"),
            ("\u{e9}", "ASCII"),
        ] {
            let error = TopicTemplate::new(template).unwrap_err().to_string();
            assert!(error.contains(why), "{template:?}: {error}");
        }
        assert!(TopicTemplate::new(&"a".repeat(core_limits::MAX_TOPIC_BYTES + 1)).is_err());
    }
}
