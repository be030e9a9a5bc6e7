//! Avro as content of messages.

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock},
};

use apache_avro::{Schema as Parsed, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use es_messaging::Message;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    avro_bounds,
    error::{RegistryError, SchemaError},
    framing::{frame, unframe},
    limits,
    payload::{PayloadError, PayloadFormat},
    registry::{SchemaId, SchemaRegistry},
    schema::Schema,
};

const AVRO: &str = "application/avro";

/// Avro: written by one schema, and read by it from whatever compatible schema wrote it.
///
/// Which schema wrote a message is told by its `dataschema`, or, if it is [`framed`](Self::framed), by the id in the frame.
/// Content is looked through before it is decoded: it may take [`limits::MAX_AVRO_MEMORY`] in all, nest [`limits::MAX_AVRO_DEPTH`] deep, and
/// have [`limits::MAX_AVRO_EMPTY_ITEMS`] items that take no bytes. One allocation is bounded by [`limits::MAX_AVRO_ALLOCATION`] as well, which
/// the Avro library has once for the whole process: set another bound before the first format is made.
pub struct AvroFormat<T> {
    schema: Arc<Parsed>,
    data_schema: Option<String>,
    id: Option<SchemaId>,
    by_id: RwLock<HashMap<SchemaId, Arc<Parsed>>>,
    by_uri: RwLock<HashMap<String, Arc<Parsed>>>,
    of: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> AvroFormat<T> {
    /// Avro of a schema that messages name by a URI.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for what is no Avro schema.
    pub fn new(schema: &Schema, uri: &str) -> Result<Self, SchemaError> {
        let format = Self::make(schema, Some(uri.to_owned()), None)?;
        let own = format.schema.clone();
        format.by_uri.write().unwrap_or_else(PoisonError::into_inner).insert(uri.to_owned(), own);
        Ok(format)
    }

    /// Avro of a schema that a registry knows by an id, in Confluent's frame.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for what is no Avro schema.
    pub fn framed(schema: &Schema, id: SchemaId) -> Result<Self, SchemaError> {
        let format = Self::make(schema, None, Some(id))?;
        let own = format.schema.clone();
        format.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(id, own);
        Ok(format)
    }

    fn make(schema: &Schema, data_schema: Option<String>, id: Option<SchemaId>) -> Result<Self, SchemaError> {
        apache_avro::util::max_allocation_bytes(limits::MAX_AVRO_ALLOCATION);
        let schema = Arc::new(schema.avro()?);
        Ok(Self { schema, data_schema, id, by_id: RwLock::default(), by_uri: RwLock::default(), of: PhantomData })
    }

    /// The same, knowing another schema that messages were written by.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`].
    pub fn written_by(self, uri: &str, schema: &Schema) -> Result<Self, SchemaError> {
        let parsed = Arc::new(schema.avro()?);
        remember(&self.by_uri, uri.to_owned(), parsed);
        Ok(self)
    }

    /// Learns the schema that a framed message was written by, if it is not known yet. Call it before reading.
    ///
    /// # Errors
    /// [`RegistryError`]; what is no frame is left to be reported by [`read`](PayloadFormat::read).
    pub async fn learn(&self, registry: &dyn SchemaRegistry, message: &Message) -> Result<(), RegistryError> {
        let (true, Ok((id, _))) = (self.id.is_some(), unframe(message.data())) else {
            return Ok(());
        };
        if self.by_id.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id) {
            return Ok(());
        }
        let parsed = registry.schema(id).await?.avro()?;
        remember(&self.by_id, id, Arc::new(parsed));
        Ok(())
    }

    fn written(&self, writer: &Parsed, content: &[u8]) -> Result<T, PayloadError> {
        // What the library says may show a value.
        let failed = |what: &str| PayloadError::Decode { content_type: AVRO, source: what.into() };
        avro_bounds::check(writer, content).map_err(|refused| failed(&refused.to_string()))?;
        let reader = GenericDatumReader::builder(writer).reader_schema(&self.schema).build();
        let reader = reader.map_err(|_| failed("the schemas cannot be resolved"))?;
        let mut rest = content;
        let value = reader.read_value(&mut rest).map_err(|_| failed("it is not what its schema says"))?;
        if !rest.is_empty() {
            return Err(failed("there is something behind it"));
        }
        apache_avro::from_value(&value).map_err(|_| failed("it is not of the type that is read"))
    }
}

impl<T: Serialize + DeserializeOwned> PayloadFormat<T> for AvroFormat<T> {
    fn content_type(&self) -> &'static str {
        AVRO
    }

    fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, PayloadError> {
        // What the library says may show a value.
        let failed = |_: apache_avro::Error| PayloadError::Encode {
            content_type: AVRO,
            source: "the value is not what its schema says".into(),
        };
        let writer = GenericDatumWriter::builder(&self.schema).build().map_err(failed)?;
        let content = writer.write_ser_to_vec(value).map_err(failed)?;
        Ok(match self.id {
            Some(id) => frame(id, &content),
            None => content,
        })
    }

    fn decode(&self, message: &Message) -> Result<T, PayloadError> {
        if self.id.is_some() {
            let (id, content) = unframe(message.data())?;
            let known = self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            return self.written(&*known.ok_or(PayloadError::UnknownSchema { id })?, content);
        }
        let uri = message.data_schema().unwrap_or_default();
        let known = self.by_uri.read().unwrap_or_else(PoisonError::into_inner).get(uri).cloned();
        let known = known.ok_or_else(|| PayloadError::UnknownDataSchema { uri: uri.to_owned() })?;
        self.written(&known, message.data())
    }
}

/// Keeps a schema. Once there are too many, those that were learned are learned again.
fn remember<K: std::hash::Hash + Eq>(known: &RwLock<HashMap<K, Arc<Parsed>>>, key: K, schema: Arc<Parsed>) {
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= limits::MAX_WRITERS {
        known.clear();
    }
    known.insert(key, schema);
}

impl<T> fmt::Debug for AvroFormat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AvroFormat({:?}, {:?})", self.data_schema, self.id)
    }
}
