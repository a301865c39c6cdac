//! Errors as RFC 9457 problems: a status, a stable code, what happened and what to do.

use serde_json::{Value, json};
use strongroom_bus::{AppendError, AskError, DecideError, Fault};
use strongroom_domain::{FieldError, Rejection};
use warp::http::{HeaderValue, Response, StatusCode, header};

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code: programs rely on it.
    pub code: String,
    /// What happened and what to do.
    pub detail: String,
    /// The fields that are wrong.
    pub errors: Vec<FieldError>,
    /// A header that belongs to it.
    pub header: Option<(header::HeaderName, String)>,
}

impl Problem {
    /// A problem.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), detail: detail.into(), errors: Vec::new(), header: None }
    }

    /// With a header.
    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// One wrong field.
    pub fn field(field: &str, message: impl Into<String>) -> Self {
        Rejection::field(field, message).into()
    }

    /// A thing that is not there.
    pub fn not_found(kind: &str, id: &str) -> Self {
        Rejection::NotFound { kind: kind.to_owned(), id: id.to_owned() }.into()
    }

    /// Something stands against it.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// As the response that it is.
    pub fn response(&self) -> Response<Vec<u8>> {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": format!("urn:strongroom:problem:{}", self.code), "title": title, "status": self.status.as_u16(),
            "code": self.code, "detail": self.detail,
        });
        if let (false, Value::Object(body)) = (self.errors.is_empty(), &mut body) {
            body.insert("errors".into(), json!(self.errors));
        }
        let mut response = Response::new(body.to_string().into_bytes());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = &self.header
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let status = match &rejection {
            Rejection::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Rejection::NotFound { .. } => StatusCode::NOT_FOUND,
            Rejection::Exists { .. } | Rejection::Conflict { .. } => StatusCode::CONFLICT,
            Rejection::Changed { .. } => StatusCode::PRECONDITION_FAILED,
        };
        let mut problem = Self::new(status, rejection.code(), rejection.to_string());
        if let Rejection::Invalid { fields } = rejection {
            problem.errors = fields;
        }
        problem
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        tracing::warn!(error = %fault, "a request cannot be answered");
        match &fault {
            Fault::Transient(_) => {
                let detail = "the log or a service does not answer at the moment; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
                    .with(header::RETRY_AFTER, "1")
            }
            // A full log is the one permanent fault that people can do something about.
            Fault::Permanent(text) if text.contains("maximum bytes exceeded") => {
                let detail =
                    "the log is full, and nothing was written; give it more room (docs/operations.md)";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "log_full", detail)
            }
            Fault::Permanent(_) => {
                let detail = "this cannot be done; the log of the gateway says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
            }
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Fault(fault) => fault.into(),
            AskError::Rejected(rejection) => rejection.into(),
            AskError::Behind(position) => {
                let detail = format!("the views are at {position}, behind the position asked for; try again");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "behind", detail).with(header::RETRY_AFTER, "1")
            }
            AskError::OtherLog(position) => {
                let detail =
                    format!("that position belongs to another log; the present one is at {position}");
                Self::conflict("other_log", detail)
            }
        }
    }
}

impl From<DecideError<Rejection>> for Problem {
    fn from(error: DecideError<Rejection>) -> Self {
        match error {
            DecideError::Rejected(rejection) => rejection.into(),
            DecideError::Fault(fault) => fault.into(),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Fault(fault) => fault.into(),
            AppendError::Conflict => Self::conflict("changed", "somebody else was first; read it again"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_problem_says_all_that_the_standard_asks_for() {
        let response = Problem::field("schedule.cron", "is no cron expression").response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((&body["status"], &body["code"]), (&json!(422), &json!("invalid")));
        assert_eq!(body["errors"][0]["field"], "schedule.cron");
        assert!(body["type"].is_string() && body["title"].is_string() && body["detail"].is_string());
    }

    #[test]
    fn what_passes_says_when_to_try_again() {
        let problem = Problem::from(Fault::Transient("x".into()));
        assert_eq!(
            (problem.status.as_u16(), problem.response().headers()["retry-after"].to_str().unwrap()),
            (503, "1")
        );
        assert_eq!(Problem::from(Fault::Permanent("maximum bytes exceeded".into())).code, "log_full");
    }
}
