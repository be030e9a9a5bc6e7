//! What decoding Avro may cost, counted before it is decoded.

use std::mem::size_of;

use apache_avro::{
    Schema,
    schema::{InnerDecimalSchema, Name, NamesRef, ResolvedSchema, UuidSchema},
    types::Value,
};

use crate::limits;

/// Why content is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is not what its schema says")]
    Malformed,
    #[error("it nests deeper than {} levels", limits::MAX_AVRO_DEPTH)]
    Depth,
    #[error("it has more than {} items that take no bytes", limits::MAX_AVRO_EMPTY_ITEMS)]
    EmptyItems,
    #[error("it takes more than {} bytes of memory", limits::MAX_AVRO_MEMORY)]
    Memory,
}

/// Checks that content is what its schema says, and that the values in it take no more memory together than is allowed, nest no deeper, and
/// are not made of nothing. The library looks at each allocation alone.
pub(crate) fn check(schema: &Schema, content: &[u8]) -> Result<(), Refused> {
    let resolved = ResolvedSchema::try_from(schema).map_err(|_| Refused::Malformed)?;
    let mut walk = Walk { rest: content, memory: limits::MAX_AVRO_MEMORY, empty: limits::MAX_AVRO_EMPTY_ITEMS };
    walk.value(schema, Place { names: resolved.get_names(), namespace: None, depth: limits::MAX_AVRO_DEPTH })
}

/// Where a schema stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    names: &'a NamesRef<'a>,
    namespace: Option<&'a str>,
    /// How much deeper it may go.
    depth: usize,
}

impl Place<'_> {
    fn deeper(self) -> Result<Self, Refused> {
        let depth = self.depth.checked_sub(1).ok_or(Refused::Depth)?;
        Ok(Self { depth, ..self })
    }
}

struct Walk<'a> {
    rest: &'a [u8],
    /// What is left to be allocated.
    memory: usize,
    /// How many more items may take no bytes.
    empty: usize,
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), Refused> {
        self.rest = self.rest.get(bytes..).ok_or(Refused::Malformed)?;
        Ok(())
    }

    fn allocate(&mut self, bytes: usize) -> Result<(), Refused> {
        self.memory = self.memory.checked_sub(bytes).ok_or(Refused::Memory)?;
        Ok(())
    }

    fn long(&mut self) -> Result<i64, Refused> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Refused::Malformed)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(Refused::Malformed)
    }

    /// Bytes with their length in front of them.
    fn bytes(&mut self) -> Result<(), Refused> {
        let length = usize::try_from(self.long()?).map_err(|_| Refused::Malformed)?;
        self.skip(length)?;
        self.allocate(length)
    }

    fn fixed(&mut self, size: usize) -> Result<(), Refused> {
        self.skip(size)?;
        self.allocate(size)
    }

    /// The blocks of an array or map.
    fn items(&mut self, schema: &Schema, place: Place<'_>, has_keys: bool) -> Result<(), Refused> {
        let place = place.deeper()?;
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                count = count.checked_neg().ok_or(Refused::Malformed)?;
                self.long()?;
            }
            for _ in 0..count {
                let before = self.rest.len();
                if has_keys {
                    self.allocate(2 * size_of::<String>())?;
                    self.bytes()?;
                }
                self.value(schema, place)?;
                if self.rest.len() == before {
                    self.empty = self.empty.checked_sub(1).ok_or(Refused::EmptyItems)?;
                }
            }
        }
    }

    fn value(&mut self, schema: &Schema, place: Place<'_>) -> Result<(), Refused> {
        self.allocate(size_of::<Value>())?;
        match schema {
            Schema::Null => Ok(()),
            Schema::Boolean => self.skip(1),
            Schema::Float => self.skip(4),
            Schema::Double => self.skip(8),
            Schema::Int
            | Schema::Long
            | Schema::Enum(_)
            | Schema::Date
            | Schema::TimeMillis
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.long().map(drop),
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::String | UuidSchema::Bytes) => self.bytes(),
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.fixed(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.bytes(),
                InnerDecimalSchema::Fixed(fixed) => self.fixed(fixed.size),
            },
            Schema::Array(array) => self.items(&array.items, place, false),
            Schema::Map(map) => self.items(&map.types, place, true),
            Schema::Union(union) => {
                let index = usize::try_from(self.long()?).map_err(|_| Refused::Malformed)?;
                self.value(union.variants().get(index).ok_or(Refused::Malformed)?, place.deeper()?)
            }
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(place.namespace);
                let place = Place { namespace: name.namespace(), ..place.deeper()? };
                for field in &record.fields {
                    self.allocate(size_of::<String>() + field.name.len())?;
                    self.value(&field.schema, place)?;
                }
                Ok(())
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(place.namespace);
                let schema = place.names.get::<Name>(&name).copied().ok_or(Refused::Malformed)?;
                let place = Place { namespace: name.namespace(), ..place.deeper()? };
                self.value(schema, place)
            }
        }
    }
}
