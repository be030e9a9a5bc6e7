//! Rules for names that are used in databases, topics, and logs.

use crate::error::{InvalidName, NameProblem};

/// Checks a text that may contain any printable characters.
pub(crate) fn check_text(what: &'static str, text: &str, max_bytes: usize) -> Result<(), InvalidName> {
    let problem = if text.is_empty() {
        NameProblem::Empty
    } else if text.len() > max_bytes {
        NameProblem::TooLong { bytes: text.len(), max_bytes }
    } else if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        // A fast path for nearly every name, because stores check one for each event that they read.
        return Ok(());
    } else if let Some(at) = text.find(char::is_control) {
        NameProblem::ControlCharacter { at }
    } else {
        return Ok(());
    };
    Err(InvalidName::new(what, text, problem))
}

/// Checks a text of letters, digits, `_`, `-`, and `.`.
pub(crate) fn check_word(what: &'static str, text: &str, max_bytes: usize) -> Result<(), InvalidName> {
    check_text(what, text, max_bytes)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    match text.bytes().position(|byte| !allowed(byte)) {
        None => Ok(()),
        Some(at) => Err(InvalidName::new(
            what,
            text,
            NameProblem::ForbiddenCharacter { at, allowed: "ASCII letters, digits, '_', '-' and '.'" },
        )),
    }
}

/// Checks a text that can be part of a table's name: lower-case letters, digits, and `_`, starting with a letter.
pub(crate) fn check_identifier(what: &'static str, text: &str, max_bytes: usize) -> Result<(), InvalidName> {
    check_text(what, text, max_bytes)?;
    let allowed = |(at, c): (usize, char)| c.is_ascii_lowercase() || (at > 0 && (c.is_ascii_digit() || c == '_'));
    match text.char_indices().find(|&c| !allowed(c)) {
        None => Ok(()),
        Some((at, _)) => Err(InvalidName::new(
            what,
            text,
            NameProblem::ForbiddenCharacter {
                at,
                allowed: "a lower-case ASCII letter, then such letters, digits and '_'",
            },
        )),
    }
}
