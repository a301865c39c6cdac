//! Conditions of a request (RFC 9110, 13.1): `If-Match` and `If-None-Match`.
//!
//! A condition that cannot be read is refused. Passed over in silence, it would be a change over somebody else's, made by a
//! client that had asked for the opposite.

use crate::http::Good;
use crate::problem::Problem;
use crate::resources::definition::etag;
use serde_json::Value;
use strongroom_domain::Rejection;
use warp::http::{HeaderMap, StatusCode, header};

/// What a request makes its being done depend on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    text: String,
}

impl Conditions {
    /// Those of a request; refused when one of them cannot be read.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: tags(headers, &header::IF_MATCH)?,
            if_none_match: tags(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Looks at them before a change: `exists` at this version, or at none.
    pub fn check(&self, exists: bool, version: u64) -> Result<(), Rejection> {
        let unmatched = self.if_match.as_ref().is_some_and(|tags| !tags.match_strongly(exists, version));
        let matched = self.if_none_match.as_ref().is_some_and(|tags| tags.match_weakly(exists, version));
        if unmatched || matched { Err(Rejection::Changed { current: version }) } else { Ok(()) }
    }

    /// Looks at them before something that is there is shown: 304 when the reader has it already.
    pub fn check_read(&self, version: u64) -> Result<Option<Good>, Problem> {
        if self.if_none_match.as_ref().is_some_and(|tags| tags.match_weakly(true, version)) {
            let mut same = Good::new(StatusCode::NOT_MODIFIED, Value::Null).with(header::ETAG, etag(version));
            same.body = None;
            return Ok(Some(same));
        }
        self.check(true, version)?;
        Ok(None)
    }
}

impl Tags {
    fn match_strongly(&self, exists: bool, version: u64) -> bool {
        self.any(exists, version, |tag| !tag.weak)
    }

    fn match_weakly(&self, exists: bool, version: u64) -> bool {
        self.any(exists, version, |_| true)
    }

    fn any(&self, exists: bool, version: u64, counts: impl Fn(&Tag) -> bool) -> bool {
        exists
            && match self {
                Self::Any => true,
                Self::These(tags) => {
                    let text = version.to_string();
                    tags.iter().any(|tag| counts(tag) && tag.text == text)
                }
            }
    }
}

/// All lines of a header are one list.
fn tags(headers: &HeaderMap, name: &header::HeaderName) -> Result<Option<Tags>, Problem> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let text: Option<Vec<&str>> = lines.into_iter().map(|line| line.to_str().ok()).collect();
    text.and_then(|lines| read(&lines.join(","))).map(Some).ok_or_else(|| {
        let detail = format!("{name} must be '*', or ETags as answers gave them: \"3\", or \"3\", \"4\"");
        Problem::new(StatusCode::BAD_REQUEST, "malformed_condition", detail)
    })
}

/// `*`, or a list of at least one tag; empty places in a list are passed over (RFC 9110, 5.6.1.2).
fn read(text: &str) -> Option<Tags> {
    if text.trim_matches(BLANK) == "*" {
        return Some(Tags::Any);
    }
    let (mut tags, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return (!tags.is_empty()).then_some(Tags::These(tags));
        }
        let (weak, opaque) = rest.strip_prefix("W/").map_or((false, rest), |opaque| (true, opaque));
        // What stands between the quotes may be a comma as well.
        let (tag, after) = opaque.strip_prefix('"')?.split_once('"')?;
        if tag.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return None;
        }
        tags.push(Tag { weak, text: tag.to_owned() });
        rest = after.trim_start_matches(BLANK);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use warp::http::HeaderValue;

    fn with(name: &'static str, lines: &[&str]) -> Result<Conditions, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Conditions::of(&headers)
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_refused_and_never_passed_over() {
        for bad in [
            "",
            " ",
            ",",
            "3",
            "'3'",
            "\"3",
            "3\"",
            "\"3\" \"4\"",
            "\"3\"x",
            "*, \"3\"",
            "w/\"3\"",
            "\"a b\"",
            "\"\u{e9}\"",
        ] {
            for name in ["if-match", "if-none-match"] {
                assert_eq!(with(name, &[bad]).unwrap_err().status, StatusCode::BAD_REQUEST, "{name}: {bad}");
            }
        }
        assert!(with("if-match", &["\"3\"", "*"]).is_err());
        assert!(with("if-match", &[]).unwrap().is_empty());
    }

    #[test]
    fn one_of_many_tags_is_enough_and_a_weak_one_is_none() {
        let fits =
            |lines: &[&str], exists, version| with("if-match", lines).unwrap().check(exists, version).is_ok();
        assert!(fits(&["\"3\""], true, 3) && !fits(&["\"3\""], true, 4) && !fits(&["\"3\""], false, 3));
        assert!(fits(&["\"1\", \"3\""], true, 3) && fits(&[" ,\"1\",\t,\"3\" ,"], true, 3));
        assert!(fits(&["\"1\"", "\"3\""], true, 3), "two lines are one list");
        assert!(!fits(&["\"1,3\""], true, 3) && !fits(&["\"03\""], true, 3) && !fits(&["\"\""], true, 0));
        assert!(!fits(&["W/\"3\""], true, 3) && fits(&["W/\"3\", \"3\""], true, 3));
        assert!(fits(&["*"], true, 9) && !fits(&["*"], false, 9));
    }

    #[test]
    fn what_a_reader_has_already_is_not_shown_again() {
        let read = |line: &str| with("if-none-match", &[line]).unwrap().check_read(3).unwrap();
        for known in ["\"3\"", "W/\"3\"", "\"1\", \"3\"", "*"] {
            assert_eq!(read(known).unwrap().status, StatusCode::NOT_MODIFIED, "{known}");
        }
        assert!(read("\"2\"").is_none());
        let change = |line: &str, exists| with("if-none-match", &[line]).unwrap().check(exists, 3);
        assert!(change("\"3\"", true).is_err() && change("\"2\"", true).is_ok());
        assert!(change("*", true).is_err() && change("*", false).is_ok());
    }
}
