//! Confluent's framing: a zero, the id of the schema, and the content.

use crate::{limits, registry::SchemaId};

const MAGIC: u8 = 0;
const HEAD: usize = 5;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There is too little of it.
    #[error("a frame has at least {HEAD} bytes, this has {actual}")]
    Short {
        /// How many bytes there are.
        actual: usize,
    },
    /// It does not begin with a zero.
    #[error("a frame begins with 0, this with {first}; it may not be framed at all")]
    Magic {
        /// What it begins with.
        first: u8,
    },
    /// What says which message of Protobuf it is cannot be read.
    #[error("the frame does not say which message of its file it is: {reason}")]
    MessageIndexes {
        /// What is wrong.
        reason: &'static str,
    },
}

/// Puts content into a frame.
pub fn frame(id: SchemaId, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + content.len());
    out.push(MAGIC);
    out.extend_from_slice(&id.0.to_be_bytes());
    out.extend_from_slice(content);
    out
}

/// Takes content out of a frame.
///
/// # Errors
/// [`FrameError`].
pub fn unframe(bytes: &[u8]) -> Result<(SchemaId, &[u8]), FrameError> {
    match bytes {
        [MAGIC, a, b, c, d, content @ ..] => Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), content)),
        [first, ..] if *first != MAGIC => Err(FrameError::Magic { first: *first }),
        _ => Err(FrameError::Short { actual: bytes.len() }),
    }
}

/// Puts a message of Protobuf into a frame. The indexes say which message of the schema's file it is: `[0]` the first one, `[2, 1]` the
/// second one inside the third.
///
/// # Errors
/// [`FrameError::MessageIndexes`] for none, or more than [`limits::MAX_MESSAGE_INDEXES`].
pub fn frame_protobuf(id: SchemaId, indexes: &[u32], content: &[u8]) -> Result<Vec<u8>, FrameError> {
    check_count(indexes.len())?;
    let mut head = Vec::new();
    if indexes == [0] {
        // What almost every message is has a shorter form.
        head.push(0);
    } else {
        write_varint(indexes.len() as u64, &mut head);
        indexes.iter().for_each(|index| write_varint(u64::from(*index), &mut head));
    }
    head.extend_from_slice(content);
    Ok(frame(id, &head))
}

/// Takes a message of Protobuf out of a frame, with the indexes of its message.
///
/// # Errors
/// [`FrameError`].
pub fn unframe_protobuf(bytes: &[u8]) -> Result<(SchemaId, Vec<u32>, &[u8]), FrameError> {
    let (id, mut rest) = unframe(bytes)?;
    let count = read_varint(&mut rest)?;
    if count == 0 {
        return Ok((id, vec![0], rest));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    check_count(count)?;
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let index = u32::try_from(read_varint(&mut rest)?);
        indexes.push(index.map_err(|_| FrameError::MessageIndexes { reason: "an index is too large" })?);
    }
    Ok((id, indexes, rest))
}

fn check_count(count: usize) -> Result<(), FrameError> {
    if (1..=limits::MAX_MESSAGE_INDEXES).contains(&count) {
        return Ok(());
    }
    Err(FrameError::MessageIndexes { reason: "there are none, or too many" })
}

/// Numbers are written in zigzag form, also those that cannot be negative.
fn write_varint(number: u64, out: &mut Vec<u8>) {
    let mut rest = number << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, FrameError> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err(FrameError::MessageIndexes { reason: "it ends too early" });
        };
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if number & 1 == 1 {
                return Err(FrameError::MessageIndexes { reason: "an index is negative" });
            }
            return Ok(number >> 1);
        }
    }
    Err(FrameError::MessageIndexes { reason: "an index is too large" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_documented() {
        assert_eq!(frame(SchemaId(0x0102_0304), b"xy"), [0, 1, 2, 3, 4, b'x', b'y']);
        assert_eq!(frame_protobuf(SchemaId(1), &[0], b"x").unwrap(), [0, 0, 0, 0, 1, 0, b'x']);
        // Two indexes, 1 and 0, each in zigzag form.
        assert_eq!(frame_protobuf(SchemaId(1), &[1, 0], b"x").unwrap(), [0, 0, 0, 0, 1, 4, 2, 0, b'x']);
        assert_eq!(unframe_protobuf(&[0, 0, 0, 0, 1, 2, 0, 7]).unwrap(), (SchemaId(1), vec![0], [7].as_slice()));
    }

    #[test]
    fn what_is_framed_is_taken_out_again() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..5_000 {
            let id = SchemaId(random() as u32);
            let content: Vec<u8> = (0..random() % 20).map(|_| random() as u8).collect();
            assert_eq!(unframe(&frame(id, &content)).unwrap(), (id, content.as_slice()));
            let indexes: Vec<u32> = (0..1 + random() % 32).map(|_| random() as u32 >> (random() % 32)).collect();
            let framed = frame_protobuf(id, &indexes, &content).unwrap();
            assert_eq!(unframe_protobuf(&framed).unwrap(), (id, indexes, content.as_slice()));
            // Whatever is cut off or made up is an error or something else, and never a panic.
            let cut = random() as usize % (framed.len() + 1);
            let _ = unframe_protobuf(&framed[..cut]);
            let noise: Vec<u8> = (0..random() % 60).map(|_| random() as u8).collect();
            let _ = unframe_protobuf(&noise);
        }
    }

    #[test]
    fn what_is_no_frame_says_why() {
        assert_eq!(unframe(b""), Err(FrameError::Short { actual: 0 }));
        assert_eq!(unframe(&[0, 0, 0, 0]), Err(FrameError::Short { actual: 4 }));
        assert_eq!(unframe(b"{\"a\":1}"), Err(FrameError::Magic { first: b'{' }));
        let indexes = |rest: &[u8]| unframe_protobuf(&frame(SchemaId(1), rest)).unwrap_err().to_string();
        assert!(indexes(&[]).contains("too early"));
        assert!(indexes(&[2]).contains("too early"));
        assert!(indexes(&[66]).contains("too many"));
        assert!(indexes(&[1]).contains("negative"));
        assert!(indexes(&[0xff; 9]).contains("too large"));
        assert!(frame_protobuf(SchemaId(1), &[], b"").is_err());
        assert!(frame_protobuf(SchemaId(1), &[0; 33], b"").is_err());
    }
}
