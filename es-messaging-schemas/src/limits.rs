//! Bounds of this crate, in one place.

/// Largest schema, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 1_024 * 1_024;
/// Longest name of a subject, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 200;
/// Most subjects of a registry in files.
pub const MAX_SUBJECTS: usize = 10_000;
/// Most versions of a subject in files.
pub const MAX_VERSIONS: usize = 1_000;
/// Schemas that a client of a registry remembers.
pub const CACHED_SCHEMAS: usize = 10_000;
/// Longest answer of a registry that an error repeats, in characters.
pub const MAX_REGISTRY_WORDS: usize = 500;
/// Comparisons that one check of two schemas may take.
pub const MAX_COMPARISONS: usize = 20_000;
/// How deep schemas may refer and nest.
pub const MAX_DEPTH: usize = 64;
/// Alternatives of one place in a schema, multiplied out.
pub const MAX_ALTERNATIVES: usize = 256;
/// Findings of one check that are reported.
pub const MAX_FINDINGS: usize = 100;
/// Violations of one message that are reported.
pub const MAX_VIOLATIONS: usize = 8;
/// How deep messages of Protobuf may nest in their file, in a frame.
pub const MAX_MESSAGE_INDEXES: usize = 32;
/// Most bytes that decoding Avro may ask for at once.
pub const MAX_AVRO_ALLOCATION: usize = 16 * 1_024 * 1_024;
/// Most bytes that the values of one Avro content may take together, about.
pub const MAX_AVRO_MEMORY: usize = 64 * 1_024 * 1_024;
/// Most items of the arrays and maps of one Avro content that take no bytes, such as nulls.
pub const MAX_AVRO_EMPTY_ITEMS: usize = 1_000;
/// How deep records, unions, arrays and maps of an Avro content may nest, a name that refers to one of them counted too.
pub const MAX_AVRO_DEPTH: usize = 64;
/// Largest content that is read as Protobuf, in bytes. A value takes a bounded multiple of it.
pub const MAX_PROTOBUF_BYTES: usize = 16 * 1_024 * 1_024;
/// Writers' schemas that an Avro format knows.
pub const MAX_WRITERS: usize = 1_000;
/// Largest index of a registry in files, in bytes.
pub const MAX_INDEX_BYTES: usize = 64 * 1_024 * 1_024;
