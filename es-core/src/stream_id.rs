//! The name of a stream.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    error::{InvalidName, NameProblem},
    limits,
    name::{check_text, check_word},
};

/// The name of a stream: a category ("account"), an ID within the category ("ann"), and, in a store that serves several
/// tenants, a tenant ("acme").
///
/// The text form is `category/id` or `tenant@category/id`, and parses back to the same value. The ID may contain any
/// character except control characters. Cloning is cheap.
///
/// ```
/// use es_core::StreamId;
/// let stream = StreamId::new("account", "ann")?;
/// assert_eq!(stream.to_string(), "account/ann");
/// assert_eq!("acme@account/a/b".parse::<StreamId>()?.id(), "a/b");
/// assert!(StreamId::new("account", "").is_err());
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    text: Arc<str>,
    /// The number of bytes of the tenant; 0 means that there is none.
    tenant_bytes: u8,
    category_bytes: u8,
}

impl StreamId {
    /// Creates the name of the stream `id` in `category`.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if a part is empty, too long ([`limits::MAX_CATEGORY_BYTES`], [`limits::MAX_ID_BYTES`]),
    /// or contains a control character, or if the category contains anything except ASCII letters, digits, `_`, `-`,
    /// and `.`.
    pub fn new(category: &str, id: &str) -> Result<Self, InvalidName> {
        check_word("category", category, limits::MAX_CATEGORY_BYTES)?;
        check_text("stream id", id, limits::MAX_ID_BYTES)?;
        Ok(Self { text: format!("{category}/{id}").into(), tenant_bytes: 0, category_bytes: category.len() as u8 })
    }

    /// Returns the name of the same stream for one tenant.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for a tenant that would not be a valid category.
    pub fn with_tenant(&self, tenant: &str) -> Result<Self, InvalidName> {
        check_word("tenant", tenant, limits::MAX_TENANT_BYTES)?;
        Ok(Self {
            text: format!("{tenant}@{}/{}", self.category(), self.id()).into(),
            tenant_bytes: tenant.len() as u8,
            category_bytes: self.category_bytes,
        })
    }

    /// Returns the tenant, if the stream has one.
    pub fn tenant(&self) -> Option<&str> {
        (self.tenant_bytes > 0).then(|| &self.text[..usize::from(self.tenant_bytes)])
    }

    /// Returns the category: the kind of aggregate that the stream belongs to.
    pub fn category(&self) -> &str {
        let start = self.category_start();
        &self.text[start..start + usize::from(self.category_bytes)]
    }

    /// Returns the ID within the category.
    pub fn id(&self) -> &str {
        &self.text[self.category_start() + usize::from(self.category_bytes) + 1..]
    }

    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn category_start(&self) -> usize {
        match usize::from(self.tenant_bytes) {
            0 => 0,
            bytes => bytes + 1,
        }
    }
}

impl FromStr for StreamId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (head, id) =
            text.split_once('/').ok_or_else(|| InvalidName::new("stream", text, NameProblem::NoSeparator))?;
        let (tenant, category) = head.split_once('@').unwrap_or(("", head));
        check_word("category", category, limits::MAX_CATEGORY_BYTES)?;
        check_text("stream id", id, limits::MAX_ID_BYTES)?;
        if head.len() > category.len() {
            check_word("tenant", tenant, limits::MAX_TENANT_BYTES)?;
        }
        // The parts are joined in the same way as in the text, so the text itself can be kept.
        Ok(Self { text: text.into(), tenant_bytes: tenant.len() as u8, category_bytes: category.len() as u8 })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_valid_stream_id_round_trips_through_its_text() {
        for (tenant, category, id) in [
            (None, "account", "ann"),
            (None, "a-b.c_9", "x/y@z é"),
            (Some("acme"), "account", "1"),
            (Some("t"), "c", "@/@"),
        ] {
            let mut stream = StreamId::new(category, id).unwrap();
            if let Some(tenant) = tenant {
                stream = stream.with_tenant(tenant).unwrap();
            }
            let parsed: StreamId = stream.to_string().parse().unwrap();
            assert_eq!(parsed, stream);
            assert_eq!((parsed.tenant(), parsed.category(), parsed.id()), (tenant, category, id));
        }
    }

    #[test]
    fn bad_parts_are_refused_with_the_part_and_the_reason() {
        let problem = |category: &str, id: &str| {
            let error = StreamId::new(category, id).unwrap_err();
            (error.what(), error.problem().clone())
        };
        let long = "x".repeat(limits::MAX_ID_BYTES + 1);
        assert_eq!(problem("", "1"), ("category", NameProblem::Empty));
        assert_eq!(problem("account", ""), ("stream id", NameProblem::Empty));
        assert_eq!(problem("account", "a\0b"), ("stream id", NameProblem::ControlCharacter { at: 1 }));
        assert_eq!(problem("account", "a\n"), ("stream id", NameProblem::ControlCharacter { at: 1 }));
        assert_eq!(problem("account", &long), ("stream id", NameProblem::TooLong { bytes: 201, max_bytes: 200 }));
        assert!(matches!(problem("acc/ount", "1").1, NameProblem::ForbiddenCharacter { at: 3, .. }));
        assert!(matches!("account".parse::<StreamId>().unwrap_err().problem(), NameProblem::NoSeparator));
        assert!(StreamId::new("account", &"x".repeat(limits::MAX_ID_BYTES)).is_ok());
    }
}
