//! Names of databases as names of files.

/// A name as a file's: what could be a folder, hidden, or no text is written as `%` and hex digits.
pub fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (n, c) in name.chars().enumerate() {
        let leads_elsewhere = matches!(c, '/' | '%' | '\\') || (n == 0 && c == '.');
        if !leads_elsewhere && !c.is_control() {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_lead_elsewhere_is_written_otherwise() {
        assert_eq!(file_name("a/b %\n.é"), "a%2Fb %25%0A.é");
        assert_eq!(file_name(".."), "%2E.");
    }

    proptest! {
        #[test]
        fn no_two_names_share_a_file_and_none_leads_elsewhere(a in "\\PC{1,20}|[./%\\n]{1,4}", b in "\\PC{1,20}|[./%\\n]{1,4}") {
            prop_assert_eq!(a == b, file_name(&a) == file_name(&b));
            let name = file_name(&a);
            prop_assert!(!name.contains('/') && name != "." && name != "..");
        }
    }
}
