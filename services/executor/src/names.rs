//! Names that a standing file is kept under.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// `<name><suffix>`, and `<name><suffix>.1` for the next; the name is cut so that the whole is no longer than `longest`
/// bytes, and not within a character.
pub fn kept(name: &OsStr, suffix: &str, number: u32, longest: usize) -> OsString {
    let suffix = if number == 0 { suffix.to_owned() } else { format!("{suffix}.{number}") };
    let bytes = name.as_bytes();
    let mut end = bytes.len().min(longest.saturating_sub(suffix.len()));
    let is_inside = |end: usize| bytes.get(end).is_some_and(|b| (0x80..0xc0).contains(b));
    // A character has at most four bytes; what is no UTF-8 is cut anywhere.
    let whole = (end.saturating_sub(3)..=end).rev().find(|end| !is_inside(*end));
    end = whole.unwrap_or(end);
    let mut out = bytes.get(..end).unwrap_or_default().to_vec();
    out.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_name_stays_as_it_is() {
        assert_eq!(kept(OsStr::new("a.txt"), ".old", 0, 255), "a.txt.old");
        assert_eq!(kept(OsStr::new("a.txt"), ".old", 2, 255), "a.txt.old.2");
        assert_eq!(kept(OsStr::new("ééé"), ".old", 0, 9), "éé.old");
        assert_eq!(kept(OsStr::from_bytes(&[0x80; 20]), ".old", 0, 9).len(), 9);
    }

    proptest! {
        #[test]
        fn no_name_is_too_long_and_none_is_broken(name in "[^/\0]{1,255}", number in 0..1000_u32) {
            let kept = kept(OsStr::new(&name), ".before-restore-01a1fcff-c4b4-713c-811a-6c26c60398a6", number, 255);
            prop_assert!(kept.len() <= 255 && kept.to_str().is_some(), "{:?}", kept);
        }
    }
}
