//! Count: how many archives a rule keeps.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// How many archives a rule keeps: a number, or `"all"`, which is borg's `-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many; 0 when the rule is not in use.
    Number(u32),
    /// One of each hour, day, ... in which there is any, for ever.
    All,
}

impl Count {
    /// The rule is not in use.
    pub const NONE: Self = Self::Number(0);

    /// Whether the rule is not in use.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrAll)
    }
}

struct NumberOrAll;

impl de::Visitor<'_> for NumberOrAll {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of archives from 0 to 4294967295, or \"all\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
        let wrong = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
        u32::try_from(number).map(Count::Number).map_err(|_| wrong())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
        let wrong = || E::invalid_value(de::Unexpected::Signed(number), &self);
        u32::try_from(number).map(Count::Number).map_err(|_| wrong())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
        if text == "all" { Ok(Count::All) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }
}
