//! What the other side's answer means.

use jiff::Timestamp;
use std::time::Duration;

/// How a try to deliver ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The other side has taken it.
    Taken {
        /// Its HTTP status.
        status: u16,
    },
    /// The other side wants no more messages at this address.
    Gone,
    /// It did not work; it may later.
    NotTaken {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// What the other side answered, or why nothing was.
        problem: String,
        /// How long the other side asks us to wait.
        wait: Option<Duration>,
    },
    /// The channel was retired before it came to this.
    Retired,
}

impl Answer {
    /// No answer at all, for this reason.
    pub fn none(problem: impl Into<String>) -> Self {
        Self::NotTaken { status: None, problem: problem.into(), wait: None }
    }

    /// The meaning of an HTTP answer. Only 2xx is a confirmation: a redirect is not followed, because a signed message
    /// is for the address that a person gave and for no other.
    pub fn of_http(status: u16, retry_after: Option<&str>, now: Timestamp) -> Self {
        let problem = match status {
            200..=299 => return Self::Taken { status },
            410 => return Self::Gone,
            300..=399 => {
                format!("it answered {status}, a redirect, which is not followed; give the final address")
            }
            _ => format!("it answered {status}"),
        };
        Self::NotTaken { status: Some(status), problem, wait: retry_after.and_then(|text| wait(text, now)) }
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Duration::try_from(until.duration_since(now)).ok()
}
