//! A place in the log, together with the event at that place.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{append::Appended, event::RecordedEvent, position::Position};

/// A position, together with the ID of the event at that position.
///
/// A position alone does not identify a place in the log. After a database was restored from a backup, or a standby
/// without the last events was promoted, there are other events at the same positions. Positions have no gaps and
/// events never change, so the ID of the event at one position identifies every event up to it. Keep a bookmark
/// wherever you store a position outside the database, and [verify](crate::EventStore::verify) it before you act on it.
///
/// As text and in JSON, a bookmark is `position@event id`, or only the position if the ID is not known.
///
/// ```
/// use es_core::{Bookmark, Position};
///
/// let bookmark: Bookmark = "42@01890a5d-ac96-774b-bcce-b302099a8057".parse()?;
/// assert_eq!(bookmark.position(), Position::new(42));
/// assert_eq!(bookmark.to_string().parse(), Ok(bookmark));
/// # Ok::<(), es_core::InvalidBookmark>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bookmark {
    position: Position,
    event_id: Option<Uuid>,
}

impl Bookmark {
    /// The bookmark before the first event of any log.
    pub const START: Self = Self { position: Position::ZERO, event_id: None };

    /// Creates the bookmark of an event.
    pub const fn new(position: Position, event_id: Uuid) -> Self {
        Self { position, event_id: Some(event_id) }
    }

    /// Creates a bookmark for a position whose event is not known. Verifying it only checks the length of the log.
    pub const fn unverified(position: Position) -> Self {
        Self { position, event_id: None }
    }

    /// Creates a bookmark from a position, and the event ID if it is known.
    pub const fn from_parts(position: Position, event_id: Option<Uuid>) -> Self {
        Self { position, event_id }
    }

    /// Returns the bookmark of a stored event.
    pub fn of(event: &RecordedEvent) -> Self {
        Self::new(event.position(), event.id())
    }

    /// Returns the position.
    pub const fn position(self) -> Position {
        self.position
    }

    /// Returns the ID of the event at the position. It is `None` at the start of the log, and where the event is not
    /// known.
    pub const fn event_id(self) -> Option<Uuid> {
        self.event_id
    }

    /// Returns whether the bookmark identifies the event at its position. The start of the log needs no event.
    pub fn is_verifiable(self) -> bool {
        self.event_id.is_some() || self.position == Position::ZERO
    }
}

impl From<Position> for Bookmark {
    fn from(position: Position) -> Self {
        Self::unverified(position)
    }
}

/// The bookmark of the last event of an append: what a reader must have seen to see the append.
impl From<&Appended> for Bookmark {
    fn from(appended: &Appended) -> Self {
        appended.bookmark()
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event_id {
            Some(id) => write!(f, "{}@{id}", self.position),
            None => self.position.fmt(f),
        }
    }
}

/// A text that is not a valid [`Bookmark`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bookmark is a position, or `position@event id`")]
pub struct InvalidBookmark;

impl FromStr for Bookmark {
    type Err = InvalidBookmark;

    fn from_str(text: &str) -> Result<Self, InvalidBookmark> {
        let (position, event_id) = match text.split_once('@') {
            Some((position, id)) => (position, Some(id.parse().map_err(|_| InvalidBookmark)?)),
            None => (text, None),
        };
        let position = position.parse().map_err(|_| InvalidBookmark)?;
        Ok(Self { position: Position::new(position), event_id })
    }
}

impl From<Bookmark> for String {
    fn from(bookmark: Bookmark) -> Self {
        bookmark.to_string()
    }
}

impl TryFrom<String> for Bookmark {
    type Error = InvalidBookmark;

    fn try_from(text: String) -> Result<Self, InvalidBookmark> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_read_back_from_its_text_and_nothing_else_is() {
        let id = Uuid::from_u128(7);
        for bookmark in [Bookmark::START, Position::new(7).into(), Bookmark::new(Position::new(7), id)] {
            assert_eq!(bookmark.to_string().parse(), Ok(bookmark));
            let json = serde_json::to_string(&bookmark).unwrap();
            assert_eq!(serde_json::from_str::<Bookmark>(&json).unwrap(), bookmark);
        }
        for text in ["", "@", "7@", "-1", "7@x", "x@00000000-0000-0000-0000-000000000007", "7@7@7"] {
            assert_eq!(text.parse::<Bookmark>(), Err(InvalidBookmark), "{text}");
        }
    }
}
