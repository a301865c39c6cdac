//! Names that are no UTF-8, in borg's JSON.
//!
//! The accident that this file prevents is P2: names are bytes, and borg writes those that are no UTF-8 as lone
//! surrogates (`\udce9`), which no reader of JSON takes. The warning about such a file could not be read, and a backup
//! without it was complete.

use std::borrow::Cow;

/// The same JSON, with U+FFFD for each lone surrogate.
pub fn without_lone(json: &str) -> Cow<'_, str> {
    // Most lines have none.
    if !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            // The backslash and what it escapes, which may be another one.
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(whole);
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The number of a `\uXXXX` at the beginning.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, expected) in [
            (r#""caf\udce9""#, "caf\u{fffd}"),
            (r#""\udce9\udce8 \ud83d\ude00 \ud83d""#, "\u{fffd}\u{fffd} \u{1f600} \u{fffd}"),
            (r#""\\udce9""#, "\\udce9"),
            (r#""\\\udce9\n\u00e9""#, "\\\u{fffd}\n\u{e9}"),
        ] {
            assert_eq!(serde_json::from_str::<String>(&without_lone(json)).unwrap(), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_has_none_is_left_alone(text in ".*") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(without_lone(&json), json.as_str());
        }

        /// As Python writes it: ASCII, with whatever surrogates the name has.
        #[test]
        fn whatever_units_come_it_can_be_read(units in proptest::collection::vec(any::<u16>(), 0..40)) {
            let json = format!("\"{}\"", units.iter().map(|u| format!("\\u{u:04x}")).collect::<String>());
            let read: String = serde_json::from_str(&without_lone(&json)).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn nothing_breaks_it(text in "(\\\\|u|d|8|é|\"){0,30}") {
            let _ = without_lone(&text);
        }
    }
}
