//! Messages as HTTP carries them: the HTTP binding of CloudEvents.

use es_messaging::{ContentMode, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, percent_decode, percent_encode};
use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) const PREFIX: &str = "ce-";

/// The headers and the body of a message.
pub(crate) fn to_http(message: &Message, mode: ContentMode) -> Result<(HeaderMap, Vec<u8>), MalformedMessage> {
    let mut headers = HeaderMap::new();
    match mode {
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
            if message.has_data() {
                let value = Some(message.content_type()).filter(|value| value.is_ascii());
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

/// Which mode a request has, by its content type. `None` for a batch.
pub(crate) fn mode_of(content_type: Option<&str>) -> Option<ContentMode> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == STRUCTURED_CONTENT_TYPE {
        Some(ContentMode::Structured)
    } else if media_type.starts_with("application/cloudevents") {
        None
    } else {
        Some(ContentMode::Binary)
    }
}

/// A message of a request in binary mode: headers by their lower-case names.
pub(crate) fn from_binary(
    headers: &[(String, String)],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Message, MalformedMessage> {
    let mut attributes = Vec::new();
    for (name, value) in headers {
        if let Some(name) = name.strip_prefix(PREFIX) {
            let value = percent_decode(value).ok_or_else(|| MalformedMessage::Attribute {
                attribute: name.to_owned(),
                reason: "it is not UTF-8".to_owned(),
            })?;
            attributes.push((name, value));
        }
    }
    let data = (content_type.is_some() || !body.is_empty()).then(|| body.to_vec());
    Message::from_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())), content_type, data)
}
