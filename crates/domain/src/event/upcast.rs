//! Lifting old versions to the present ones, before any reader sees them.

use super::codec::{DecodeError, decode_payload, encode_payload};
use std::borrow::Cow;

/// One step from a version to the next.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The old `ce-type`.
    pub from: &'static str,
    /// The new `ce-type`.
    pub to: &'static str,
    /// The pure change of the payload.
    pub lift: fn(rmpv::Value) -> Result<rmpv::Value, String>,
}

/// All steps there are. None yet: every type is at its first version.
pub const UPCASTERS: &[Upcaster] = &[];

/// Applies steps until the type is one that no step lifts.
pub(super) fn upcast<'a>(
    table: &[Upcaster],
    type_name: &'a str,
    payload: &'a [u8],
) -> Result<(Cow<'a, str>, Cow<'a, [u8]>), DecodeError> {
    let Some(mut step) = table.iter().find(|u| u.from == type_name) else {
        return Ok((Cow::Borrowed(type_name), Cow::Borrowed(payload)));
    };
    let mut value: rmpv::Value = decode_payload(payload)?;
    // Each step leads to a later version, so the table's length bounds the walk even if someone wrote a circle.
    for _ in 0..table.len() {
        value = (step.lift)(value)
            .map_err(|problem| DecodeError::Upcast { from: step.from.to_owned(), problem })?;
        match table.iter().find(|u| u.from == step.to) {
            Some(next) => step = next,
            None => break,
        }
    }
    Ok((Cow::Borrowed(step.to), Cow::Owned(encode_payload(&value)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;
    use rmpv::Value;

    const TABLE: &[Upcaster] = &[
        Upcaster { from: "t.v1", to: "t.v2", lift: rename },
        Upcaster { from: "t.v2", to: "t.v3", lift: to_bytes },
    ];

    fn rename(value: Value) -> Result<Value, String> {
        let Value::Map(fields) = value else { return Err("no map".into()) };
        Ok(Value::Map(
            fields
                .into_iter()
                .map(|(k, v)| (if k == "kb".into() { "size_kb".into() } else { k }, v))
                .collect(),
        ))
    }

    fn to_bytes(value: Value) -> Result<Value, String> {
        let kb = value["size_kb"].as_u64().ok_or("size_kb is no number")?;
        Ok(Value::Map(vec![("size_bytes".into(), (kb * 1024).into())]))
    }

    #[test]
    fn the_oldest_version_reaches_the_newest_through_every_step() {
        let old = encode_payload(&Value::Map(vec![("kb".into(), 3.into())])).unwrap();
        let (name, payload) = upcast(TABLE, "t.v1", &old).unwrap();
        assert_eq!(name, "t.v3");
        let value: Value = decode_payload(&payload).unwrap();
        assert_eq!(value["size_bytes"], 3072.into());
    }

    #[test]
    fn a_step_that_cannot_read_its_input_says_which() {
        let old = encode_payload(&Value::Map(vec![])).unwrap();
        let error = upcast(TABLE, "t.v2", &old).unwrap_err();
        assert!(matches!(error, DecodeError::Upcast { from, .. } if from == "t.v2"));
    }
}
