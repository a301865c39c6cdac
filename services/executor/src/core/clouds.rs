//! What the services of clouds say when they refuse, and in which parts large objects go there.
//!
//! The accident that this file prevents: an error document that repeats a signature or a signed address, and is stored with
//! the job for all to read. Two fields of it are kept, and nothing else.

use serde::{Deserialize, Serialize};
use std::fmt;
use strongroom_domain::FailureCode;

/// Parts are not smaller than this; S3 wants 5 MiB at least.
const LEAST_BYTES: u64 = 8 << 20;
/// The size of parts when nobody knows how large the object will be.
const UNKNOWN_BYTES: u64 = 16 << 20;
/// Into how many parts the expected size is cut, so that there is room for more than was expected.
const AIM_PARTS: u64 = 9_000;
/// The services take no more parts than these.
pub const MOST_PARTS: usize = 10_000;
/// Sizes of parts are multiples of this.
const STEP_BYTES: u64 = 1 << 20;
/// What a message of a service is cut to.
const MESSAGE_CHARS: usize = 300;
/// What the words are found by inside of other words.
const MARK: &str = "service-said:";

/// The size of all parts of an object but the last: Cloudflare's R2 takes only such as are of one size.
pub fn part_bytes(expected_bytes: Option<u64>) -> u64 {
    let Some(expected) = expected_bytes else { return UNKNOWN_BYTES };
    // A third more than was expected.
    let room = expected.saturating_add(expected / 10 * 3);
    room.div_ceil(AIM_PARTS).max(LEAST_BYTES).next_multiple_of(STEP_BYTES)
}

/// What a service said when it refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// Its own code: `AccessDenied`, ...; may be empty.
    pub code: String,
    /// Its words; may be empty.
    pub message: String,
}

impl Said {
    /// Takes from an error document what may be kept: the documents of S3, Google and Azure are told apart by their look.
    pub fn read(status: u16, header: Option<&str>, document: &str) -> Self {
        let json: Option<serde_json::Value> = serde_json::from_str(document).ok();
        let (code, message) = match &json {
            Some(json) => {
                let text = |pointer: &str| json.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
                let code = text("/error/status").or_else(|| text("/error")).or_else(|| text("/code"));
                (
                    code,
                    text("/error/message")
                        .or_else(|| text("/error_description"))
                        .or_else(|| text("/message")),
                )
            }
            None => (element(document, "Code"), element(document, "Message")),
        };
        let code = code.or_else(|| header.map(str::to_owned)).unwrap_or_default();
        // Azure's words go on with the number and time of the request, in lines of their own.
        let message = message.unwrap_or_default();
        let message = message.lines().next().unwrap_or_default();
        Self { status, code: plain(&code), message: plain(message) }
    }

    /// Finds it in the words that were made around it.
    pub fn find(words: &str) -> Option<Self> {
        let (_, rest) = words.split_once(MARK)?;
        serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()
    }

    /// Finds the status in what is said of one object of many, where no document is.
    pub fn find_among_many(words: &str) -> Option<Self> {
        let (words, rest) = words.rsplit_once("(code: ")?;
        let status = rest.split_once(')')?.0.parse().ok()?;
        let message = words.rsplit_once(": ").map_or(words, |(_, reason)| reason);
        Some(Self { status, code: String::new(), message: plain(message) })
    }

    /// What that means.
    pub fn failure_code(&self) -> FailureCode {
        match (self.code.as_str(), self.status) {
            ("NoSuchBucket" | "ContainerNotFound" | "ResourceNotFound" | "AccountNotFound", _) => {
                FailureCode::DestinationMissing
            }
            ("XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage" | "EntityTooLarge", _)
            | (_, 507) => FailureCode::NoSpace,
            // Some say so with the status of a bad request.
            (
                "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId" | "invalid_grant" | "invalid_client",
                _,
            )
            | ("ObjectLocked" | "BlobImmutableDueToPolicy" | "retentionPolicyNotMet", _)
            | (_, 401 | 403) => FailureCode::DestinationDenied,
            (_, 404) => FailureCode::DestinationMissing,
            ("ServerBusy" | "SlowDown" | "ServiceUnavailable", _) | (_, 408 | 429 | 502..=504) => {
                FailureCode::DestinationUnreachable
            }
            _ => FailureCode::DestinationError,
        }
    }

    /// Whether it does not know what was asked of it.
    pub fn is_unknown_to_it(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }
}

impl fmt::Display for Said {
    /// For those who look for it with [`Said::find`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}", serde_json::to_string(self).unwrap_or_default())
    }
}

/// What stands in an element of a document whose elements have no attributes.
fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(text.to_owned(), |text, (entity, sign)| text.replace(entity, sign)))
}

fn plain(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_they_must_be() {
        assert_eq!(part_bytes(None), 16 << 20);
        assert_eq!(part_bytes(Some(0)), 8 << 20);
        assert_eq!(part_bytes(Some(50 << 30)), 8 << 20);
        for expected in [60_u64 << 30, 1 << 40, 3 << 40] {
            let part = part_bytes(Some(expected));
            assert!(
                part.is_multiple_of(STEP_BYTES) && part * MOST_PARTS as u64 > expected / 10 * 14,
                "{expected}"
            );
            assert!(part < expected / 6000, "{expected}");
        }
    }

    #[test]
    fn of_an_error_document_two_fields_are_kept() {
        let document = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The &quot;signature&quot; does\n not match</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId><SignatureProvided>abc</SignatureProvided></Error>";
        let said = Said::read(403, None, document);
        assert_eq!(
            (said.code.as_str(), said.message.as_str()),
            ("SignatureDoesNotMatch", "The \"signature\" does")
        );
        let around = format!("Error performing PUT REDACTED in 3ms - status code: 403: {said}");
        assert_eq!(Said::find(&around), Some(said.clone()));
        assert!(!around.contains("abc") && Said::find("other words").is_none());
        let many =
            Said::find_among_many("Bulk delete request failed for key a/b: Not authorized. (code: 403)")
                .unwrap();
        assert_eq!((many.status, many.message.as_str()), (403, "Not authorized."));
        let google = Said::read(
            400,
            None,
            r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
        );
        assert_eq!(
            (google.code.as_str(), google.message.as_str()),
            ("invalid_grant", "Invalid JWT Signature.")
        );
        let json =
            Said::read(403, None, r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}"#);
        assert_eq!((json.code.as_str(), json.message.as_str()), ("PERMISSION_DENIED", "no"));
        // An answer to HEAD has no document.
        assert_eq!(Said::read(404, Some("ContainerNotFound"), "").code, "ContainerNotFound");
    }

    #[test]
    fn each_refusal_is_told_by_its_kind() {
        let code =
            |status, code: &str| Said { status, code: code.into(), message: String::new() }.failure_code();
        assert_eq!(code(404, "NoSuchBucket"), FailureCode::DestinationMissing);
        assert_eq!(code(403, "AccessDenied"), FailureCode::DestinationDenied);
        assert_eq!(code(400, "ExpiredToken"), FailureCode::DestinationDenied);
        assert_eq!(code(409, "BlobImmutableDueToPolicy"), FailureCode::DestinationDenied);
        assert_eq!(code(507, ""), FailureCode::NoSpace);
        assert_eq!(code(403, "QuotaExceeded"), FailureCode::NoSpace);
        assert_eq!(code(503, "SlowDown"), FailureCode::DestinationUnreachable);
        assert_eq!(code(500, "InternalError"), FailureCode::DestinationError);
    }
}
