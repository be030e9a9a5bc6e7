//! Messages as HTTP carries them: the HTTP binding of CloudEvents.

use es_messaging::{ContentMode, HeaderBinding, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, percent_encode};
use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) const PREFIX: &str = "ce-";
const BINDING: HeaderBinding = HeaderBinding::new(&[PREFIX]).escaped();

/// The headers and the body of a message.
pub(crate) fn to_http(message: &Message, mode: ContentMode) -> Result<(HeaderMap, Vec<u8>), MalformedMessage> {
    let mut headers = HeaderMap::new();
    match mode.suited_to(message) {
        ContentMode::Structured => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STRUCTURED_CONTENT_TYPE));
            Ok((headers, message.to_structured()?))
        }
        ContentMode::Binary => {
            for (name, value) in message.attributes() {
                let name = HeaderName::from_bytes(format!("{PREFIX}{name}").as_bytes());
                let value = HeaderValue::from_str(&percent_encode(&value));
                if let (Ok(name), Ok(value)) = (name, value) {
                    headers.insert(name, value);
                }
            }
            if let Some(content_type) = message.declared_content_type() {
                let value = Some(content_type).filter(|value| value.is_ascii());
                let value = value.and_then(|value| HeaderValue::from_str(value).ok());
                let value = value.ok_or_else(|| MalformedMessage::Attribute {
                    attribute: "datacontenttype".to_owned(),
                    reason: "it holds what no header may".to_owned(),
                })?;
                headers.insert(header::CONTENT_TYPE, value);
            }
            Ok((headers, message.data().to_vec()))
        }
    }
}

/// A message of a request in binary mode: headers by their lower-case names.
pub(crate) fn from_binary(
    headers: &[(String, String)],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Message, MalformedMessage> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    BINDING.read_text(content_type, headers, Some(body))
}

#[cfg(test)]
mod tests {
    use es_testkit::sdk_messages;

    use super::*;

    fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_sdk_writes_is_read() {
        for sdk in sdk_messages("http") {
            sdk.check(&from_binary(&owned(&sdk.texts()), sdk.content_type.as_deref(), &sdk.body()).unwrap());
        }
    }

    #[test]
    fn quoted_values_are_understood() {
        let mut headers = owned(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")]);
        headers.push(("ce-subject".to_owned(), r#""a \"b\" %C3%BC""#.to_owned()));
        assert_eq!(from_binary(&headers, None, b"").unwrap().subject(), Some("a \"b\" ü"));
    }

    #[test]
    fn a_message_survives_both_modes() {
        let builder = || Message::builder("t", "/s").id("a\"b %41").subject(" größe ");
        for message in [
            builder().json(&()).unwrap().build().unwrap(),
            builder().data("text/xml", "").extension("dataref", "elsewhere").without_data().build().unwrap(),
            builder().data("Application/CloudEvents+JSON", "{}").build().unwrap(),
            builder().build().unwrap(),
        ] {
            for mode in [ContentMode::Binary, ContentMode::Structured] {
                let (headers, body) = to_http(&message, mode).unwrap();
                let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
                let content_type = headers.get(header::CONTENT_TYPE).map(text);
                let headers: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                assert_eq!(from_binary(&headers, content_type.as_deref(), &body).unwrap(), message);
            }
        }
    }
}
