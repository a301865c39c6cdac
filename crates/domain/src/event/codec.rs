//! MessagePack with field names, and nothing after the end.

use serde::{Serialize, de::DeserializeOwned};

/// Why a payload cannot be read (or, never in practice, written).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No type of that name is known: a newer writer, or junk.
    #[error("unknown event type '{0}'")]
    UnknownType(String),
    /// The bytes are not what the type says.
    #[error("payload does not fit its type: {0}")]
    Payload(String),
    /// There are bytes after the end, which a careless reader would accept.
    #[error("{0} bytes after the end of the payload")]
    Trailing(usize),
    /// An upcaster could not read what it should lift.
    #[error("upcast from '{from}': {problem}")]
    Upcast {
        /// The old type.
        from: String,
        /// What is wrong.
        problem: String,
    },
}

/// Writes a value as MessagePack with field names, so that fields can be added.
pub fn encode_payload<T: Serialize>(value: &T) -> Result<Vec<u8>, DecodeError> {
    rmp_serde::to_vec_named(value).map_err(|e| DecodeError::Payload(e.to_string()))
}

/// Reads a value and demands that nothing follows it.
pub fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    let mut cursor = std::io::Cursor::new(payload);
    let mut deserializer = rmp_serde::Deserializer::new(&mut cursor);
    let value = T::deserialize(&mut deserializer).map_err(|e| DecodeError::Payload(e.to_string()))?;
    let rest = payload.len() - usize::try_from(cursor.position()).unwrap_or(payload.len()).min(payload.len());
    if rest == 0 { Ok(value) } else { Err(DecodeError::Trailing(rest)) }
}
