//! Who asks for an operation, and why.

use crate::{
    error::{InvalidName, StoreError},
    limits,
    name::check_text,
};

/// Who asks for an operation, and why.
///
/// ```
/// use es_core::Order;
/// let order = Order::by("ann")?.because("the mail server is being moved")?;
/// assert_eq!((order.author(), order.reason()), ("ann", Some("the mail server is being moved")));
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    by: String,
    reason: Option<String>,
}

impl Order {
    /// An order without a reason, by somebody as they call themselves: a person, a program.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, over [`limits::MAX_METADATA_TEXT_BYTES`] or holds a control character.
    pub fn by(by: &str) -> Result<Self, InvalidName> {
        check_text("author of an order", by, limits::MAX_METADATA_TEXT_BYTES)?;
        Ok(Self { by: by.to_owned(), reason: None })
    }

    /// The same with a reason.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, over [`limits::MAX_REASON_BYTES`] or holds a control character.
    pub fn because(mut self, reason: &str) -> Result<Self, InvalidName> {
        check_text("reason of an order", reason, limits::MAX_REASON_BYTES)?;
        self.reason = Some(reason.to_owned());
        Ok(self)
    }

    /// Who asks.
    pub fn author(&self) -> &str {
        &self.by
    }

    /// Why, if they said so.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Checks that there is a reason, where one is asked for. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub fn check_reason(&self) -> Result<(), StoreError> {
        match self.reason {
            Some(_) => Ok(()),
            None => Err(StoreError::Refused { reason: "this operation needs a reason: give one with Order::because" }),
        }
    }
}
