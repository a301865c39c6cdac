//! Values in two parts: what lists show, as it is sent, and the rest.
//!
//! A list copies the first part of each record into its answer without reading it, which is what makes lists fast, and
//! the large rest (findings, logs) stays out of lists.

use super::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_domain::event::{decode_payload, encode_payload};

/// Bytes of the length in front.
const LENGTH: usize = 4;

/// Both parts as one value.
pub fn encode<S: Serialize, R: Serialize>(shown: &S, rest: &R) -> Result<Vec<u8>, StoreError> {
    let shown = value(shown)?;
    let rest = value(rest)?;
    let length = u32::try_from(shown.len()).map_err(|e| StoreError::damaged("a record", e))?;
    let mut bytes = Vec::with_capacity(LENGTH + shown.len() + rest.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&shown);
    bytes.extend_from_slice(&rest);
    Ok(bytes)
}

/// Both parts, read.
pub fn decode<S: DeserializeOwned, R: DeserializeOwned>(bytes: &[u8]) -> Result<(S, R), StoreError> {
    let (shown, rest) = split(bytes)?;
    Ok((read(shown)?, read(rest)?))
}

/// The first part, unread.
pub fn shown(bytes: &[u8]) -> Result<&[u8], StoreError> {
    split(bytes).map(|(shown, _)| shown)
}

/// A value in one part.
pub fn value<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_payload(value).map_err(|e| StoreError::damaged("a record cannot be written", e))
}

/// Reads a value in one part.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    decode_payload(bytes).map_err(|e| StoreError::damaged("a record", e))
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), StoreError> {
    let short = || StoreError::Damaged("a record is too short".into());
    let (length, parts) = bytes.split_first_chunk::<LENGTH>().ok_or_else(short)?;
    parts.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
}
