//! The names of consumers and of the generations of their read models.

use std::{fmt, num::NonZeroU32, sync::Arc};

use crate::{
    error::{InvalidName, NameProblem},
    limits,
    name::check_identifier,
    partition::Partition,
};

const WHAT: &str = "consumer name";
/// The separator between the name and the generation.
const MARK: char = '@';
/// The text for the live generation.
const LIVE: &str = "live";
/// The separator before the partition.
const PARTITION_MARK: char = '#';

/// The name of a projection, view, or reactor. It consists of lower-case ASCII letters, digits, and `_`, and starts
/// with a letter. The name identifies the checkpoint and, for a view, the table, so it must not change while the read
/// model exists.
///
/// A read model that was rebuilt side by side has several generations, each with its own checkpoint and tables. The
/// name alone stands for the first generation. [`in_generation`](Self::in_generation) returns the name of a later one
/// (`balance@2`), and [`live`](Self::live) the name of the live one (`balance@live`).
///
/// A consumer that runs as several partitions has a checkpoint for each of them. [`in_partition`](Self::in_partition)
/// returns the name of a partition (`balance@2#3of8`), and [`unpartitioned`](Self::unpartitioned) the name of the
/// generation that it belongs to.
///
/// ```
/// use es_core::{ConsumerName, Generation};
///
/// let balance = ConsumerName::new("balance")?;
/// let second = balance.in_generation(Generation::FIRST.next());
/// assert_eq!(second.as_str(), "balance@2");
/// assert_eq!(second.base(), balance);
/// assert_eq!(second.in_generation(Generation::FIRST), balance);
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName {
    text: Arc<str>,
    base_bytes: u8,
}

impl ConsumerName {
    /// Creates the name of a first generation after checking the text.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for other characters, or over [`limits::MAX_CONSUMER_NAME_BYTES`].
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_identifier(WHAT, name, limits::MAX_CONSUMER_NAME_BYTES)?;
        Ok(Self::of(name.into(), name.len()))
    }

    /// Parses the text that [`as_str`](Self::as_str) returned, including the generation.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let (unpartitioned, partition) = match text.split_once(PARTITION_MARK) {
            Some((unpartitioned, partition)) => (unpartitioned, Partition::parse(partition)),
            None => (text, None),
        };
        let (base, generation) = match unpartitioned.split_once(MARK) {
            Some((base, generation)) => (Self::new(base)?, Some(generation)),
            None => (Self::new(unpartitioned)?, None),
        };
        let mut name = match (generation, generation.and_then(|number| number.parse().ok()).and_then(Generation::new)) {
            (Some(LIVE), _) => base.live(),
            (_, Some(number)) => base.in_generation(number),
            _ => base,
        };
        if let Some(partition) = partition {
            name = name.in_partition(partition);
        }
        if name.as_str() == text {
            return Ok(name);
        }
        let allowed = "'@' and a generation, then '#' and a partition";
        let problem = NameProblem::ForbiddenCharacter { at: name.base_bytes.into(), allowed };
        Err(InvalidName::new(WHAT, text, problem))
    }

    fn of(text: Arc<str>, base_bytes: usize) -> Self {
        // The base was checked to be shorter than 256 bytes.
        Self { text, base_bytes: base_bytes as u8 }
    }

    /// Returns the name of the same consumer in another generation, without a partition.
    #[must_use]
    pub fn in_generation(&self, generation: Generation) -> Self {
        let base = self.base_text();
        match generation {
            Generation::FIRST => Self::of(base.into(), base.len()),
            Generation(number) => Self::of(format!("{base}{MARK}{number}").into(), base.len()),
        }
    }

    /// Returns the name of the live generation, which readers use. It is only for reading and has no checkpoint of its
    /// own.
    #[must_use]
    pub fn live(&self) -> Self {
        let base = self.base_text();
        Self::of(format!("{base}{MARK}{LIVE}").into(), base.len())
    }

    /// Returns the name of one partition of the same generation. If there is only one partition, this is the
    /// unpartitioned consumer. [`live`](Self::live) has no partitions.
    #[must_use]
    pub fn in_partition(&self, partition: Partition) -> Self {
        let unpartitioned = self.unpartitioned();
        if partition.count() == 1 || unpartitioned.generation().is_none() {
            return unpartitioned;
        }
        Self::of(format!("{unpartitioned}{PARTITION_MARK}{partition}").into(), self.base_bytes.into())
    }

    /// Returns the partition, if the consumer has several and this is the name of one of them.
    pub fn partition(&self) -> Option<Partition> {
        Partition::parse(self.text.split_once(PARTITION_MARK)?.1)
    }

    /// Returns the name of the same generation without the partition. It names the tables, which all partitions share.
    #[must_use]
    pub fn unpartitioned(&self) -> Self {
        match self.text.split_once(PARTITION_MARK) {
            Some((unpartitioned, _)) => Self::of(unpartitioned.into(), self.base_bytes.into()),
            None => self.clone(),
        }
    }

    /// Returns the name without the generation and the partition.
    #[must_use]
    pub fn base(&self) -> Self {
        self.in_generation(Generation::FIRST)
    }

    /// Returns the generation, or `None` for [`live`](Self::live).
    pub fn generation(&self) -> Option<Generation> {
        let unpartitioned =
            self.text.split_once(PARTITION_MARK).map_or(&*self.text, |(unpartitioned, _)| unpartitioned);
        match unpartitioned.get(usize::from(self.base_bytes) + 1..) {
            None => Some(Generation::FIRST),
            Some(number) => number.parse().ok().and_then(Generation::new),
        }
    }

    /// Returns the name without the generation and the partition, as text.
    pub fn base_text(&self) -> &str {
        &self.text[..self.base_bytes.into()]
    }

    /// Returns the name as text, including the generation if it is not the first, and the partition if there are
    /// several.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Serialized as text.
impl serde::Serialize for ConsumerName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The number of a generation of a read model: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU32);

impl Generation {
    /// The generation of a read model that was never rebuilt side by side.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Creates a generation from its number. Returns `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Returns the number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// Returns the generation that is built after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_with_its_generation_and_nothing_else_is() {
        let balance = ConsumerName::new("balance").unwrap();
        for (name, text, generation) in [
            (balance.clone(), "balance", Some(1)),
            (balance.in_generation(Generation::FIRST.next()), "balance@2", Some(2)),
            (balance.in_generation(Generation::new(40).unwrap()), "balance@40", Some(40)),
            (balance.live(), "balance@live", None),
        ] {
            assert_eq!(name.as_str(), text);
            assert_eq!(ConsumerName::parse(text).unwrap(), name);
            assert_eq!(name.generation().map(Generation::get), generation);
            assert_eq!((name.base(), name.live(), name.base_text()), (balance.clone(), balance.live(), "balance"));
        }
        for text in
            ["balance@", "balance@1", "balance@0", "balance@02", "balance@+2", "balance@x", "@2", "a@2@3", "A@2"]
        {
            assert!(ConsumerName::parse(text).is_err(), "{text}");
        }
        assert!(ConsumerName::new("balance@2").is_err());
    }

    #[test]
    fn a_partition_has_a_name_of_its_own_in_the_same_generation() {
        let balance = ConsumerName::new("balance").unwrap();
        let second = balance.in_generation(Generation::FIRST.next());
        let third_of_eight = Partition::new(3, 8).unwrap();
        for (unpartitioned, text) in [(&balance, "balance#3of8"), (&second, "balance@2#3of8")] {
            let name = unpartitioned.in_partition(third_of_eight);
            assert_eq!(name.as_str(), text);
            assert_eq!(ConsumerName::parse(text).unwrap(), name);
            assert_eq!((name.partition(), &name.unpartitioned()), (Some(third_of_eight), unpartitioned));
            assert_eq!(
                (name.generation(), name.base(), name.live()),
                (unpartitioned.generation(), balance.clone(), balance.live())
            );
            assert_eq!((name.base_text(), &name.in_partition(third_of_eight)), ("balance", &name));
            assert_eq!(unpartitioned.partition(), None);
        }
        assert_eq!(second.in_partition(Partition::UNPARTITIONED), second);
        assert_eq!(balance.live().in_partition(third_of_eight), balance.live());
        for text in [
            "a#",
            "a#1",
            "a#1of",
            "a#0of1",
            "a#8of8",
            "a#01of8",
            "a#+1of8",
            "a#1of65",
            "a#1of8#1of8",
            "a@live#1of8",
            "a#1of8@2",
        ] {
            assert!(ConsumerName::parse(text).is_err(), "{text}");
        }
    }
}
