//! Reading what people send: malformed is 400, wrong is 422 with the field, unknown fields are wrong fields.
//!
//! A field that is misspelt and passed over in silence is a backup that is not made the way its owner believes.

use crate::http::Request;
use crate::json;
use crate::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use strongroom_bus::Position;
use strongroom_domain::FieldError;
use warp::http::{HeaderValue, StatusCode};

/// The largest body, in bytes.
pub const LIMIT: usize = 1 << 20;

/// The body as an object; an empty body is an empty object.
pub fn object(request: &Request) -> Result<Map<String, Value>, Problem> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = format!("the body must be application/json and not '{kind}'");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let malformed = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail);
    match json::read(&request.body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(malformed("the body must be a JSON object".into())),
        Err(e) => Err(malformed(format!("the body is no JSON: {e}"))),
    }
}

/// A body that has nothing to say: empty, or an object without fields.
pub fn nothing(request: &Request) -> Result<(), Problem> {
    #[derive(Serialize, serde::Deserialize)]
    struct Nothing {}
    read::<Nothing>(request).map(|Nothing {}| ())
}

/// The whole body as one type.
pub fn read<T: DeserializeOwned + Serialize>(request: &Request) -> Result<T, Problem> {
    understand(object(request)?)
}

/// Fields as one type: a wrong one is named, and so is one that the type does not have.
pub fn understand<T: DeserializeOwned + Serialize>(fields: Map<String, Value>) -> Result<T, Problem> {
    let raw = Value::Object(fields);
    let value: T = serde_path_to_error::deserialize(&raw).map_err(|e| wrong(&e))?;
    let known = serde_json::to_value(&value).unwrap_or_default();
    let mut unknown = Vec::new();
    find_unknown(&raw, &known, "", &mut unknown);
    if unknown.is_empty() {
        Ok(value)
    } else {
        Err(strongroom_domain::Rejection::Invalid { fields: unknown }.into())
    }
}

fn wrong(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let text = error.inner().to_string();
    let path = error.path().to_string();
    let path = if path == "." { String::new() } else { path };
    // A field that is missing is named by the text and not by the path.
    let missing = text.strip_prefix("missing field `").and_then(|t| t.split('`').next());
    let field = match (path.is_empty(), missing) {
        (true, Some(name)) => name.to_owned(),
        (false, Some(name)) => format!("{path}.{name}"),
        (_, None) => path,
    };
    let message = if missing.is_some() { "is needed".to_owned() } else { text };
    Problem::field(&field, message)
}

fn find_unknown(raw: &Value, known: &Value, path: &str, unknown: &mut Vec<FieldError>) {
    match (raw, known) {
        (Value::Object(raw), Value::Object(known)) => {
            for (name, value) in raw {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => find_unknown(value, known, &path, unknown),
                    None => unknown.push(FieldError::new(path, "is not known here")),
                }
            }
        }
        (Value::Array(raw), Value::Array(known)) => {
            for (n, (raw, known)) in raw.iter().zip(known).enumerate() {
                find_unknown(raw, known, &format!("{path}[{n}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Takes an optional text out of a body.
pub fn take_text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::field(name, "must be a text")),
    }
}

/// A secret that a program can be given: one line of text.
pub fn one_line(name: &str, text: String) -> Result<String, Problem> {
    if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
        return Err(Problem::field(name, "must be 1 to 1024 bytes without control characters"));
    }
    Ok(text)
}

/// Takes a secret out of a body that may be given, kept, or taken away.
pub fn take_secret(fields: &mut Map<String, Value>, name: &str) -> Result<Secret, Problem> {
    match fields.remove(name) {
        None => Ok(Secret::Kept),
        Some(Value::Null) => Ok(Secret::None),
        Some(Value::String(text)) => one_line(name, text).map(Secret::Given),
        Some(_) => Err(Problem::field(name, "must be a text, or null for none")),
    }
}

/// The same of one that may have many lines, as the keys of ssh and of Google have.
pub fn take_long_secret(fields: &mut Map<String, Value>, name: &str) -> Result<Secret, Problem> {
    match fields.remove(name) {
        None => Ok(Secret::Kept),
        Some(Value::Null) => Ok(Secret::None),
        Some(Value::String(text)) => {
            let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
            if text.trim().is_empty() || text.len() > 32 << 10 || text.chars().any(odd) {
                let message = "must be 1 byte to 32 KiB of text without control characters";
                return Err(Problem::field(name, message));
            }
            Ok(Secret::Given(text))
        }
        Some(_) => Err(Problem::field(name, "must be a text, or null for none")),
    }
}

/// Refuses what is sealed where a reference to it would stand, as JSON pointers; it is given in a field of its own.
pub fn refuse_sealed(fields: &Map<String, Value>, pointers: &[&str], give: &str) -> Result<(), Problem> {
    for pointer in pointers {
        let path = pointer.trim_start_matches('/');
        let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        if fields.get(first).and_then(|field| field.pointer(rest)).is_some() {
            let message = format!("is not known here; give '{give}'");
            return Err(Problem::field(&path.replace('/', "."), message));
        }
    }
    Ok(())
}

/// A secret in a request.
pub enum Secret {
    /// Nothing is said of it: it stays as it is.
    Kept,
    /// There is none, from now on.
    None,
    /// This one.
    Given(String),
}

/// Takes an optional yes or no out of a body.
pub fn take_flag(fields: &mut Map<String, Value>, name: &str) -> Result<bool, Problem> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(Problem::field(name, "must be true or false")),
    }
}

/// A position, as a header has it.
pub fn position(value: &HeaderValue) -> Result<Position, Problem> {
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let detail = "Strongroom-Position must be <generation>:<sequence>, as an answer gave it";
        Problem::new(StatusCode::BAD_REQUEST, "malformed_position", detail)
    })
}

/// How many items a page has, when the query says it.
pub fn limit(request: &Request, most: u32) -> Result<Option<u32>, Problem> {
    let wrong = || Problem::field("limit", format!("must be 1 to {most}"));
    match request.query("limit") {
        None => Ok(None),
        Some(text) => text.parse().ok().filter(|n| (1..=most).contains(n)).map(Some).ok_or_else(wrong),
    }
}

/// A value of the query as a type of ours.
pub fn query<T: std::str::FromStr>(request: &Request, name: &str) -> Result<Option<T>, Problem>
where
    T::Err: std::fmt::Display,
{
    match request.query(name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|e: T::Err| Problem::field(name, e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;
    use strongroom_domain::plan;

    fn fields(value: Value) -> Vec<String> {
        let Value::Object(fields) = value else { return Vec::new() };
        match understand::<plan::Spec>(fields) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors.into_iter().map(|e| e.field).collect(),
        }
    }

    #[test]
    fn a_wrong_field_is_named_wherever_it_is() {
        let good =
            || json!({ "server": "s", "repository": "r", "source": { "type": "files", "paths": ["/x"] } });
        assert_eq!(fields(good()), Vec::<String>::new());
        let with = |name: &str, value: Value| {
            let mut body = good();
            body[name] = value;
            body
        };
        assert_eq!(fields(with("colour", json!(1))), ["colour"]);
        assert_eq!(fields(with("server", json!(7))), ["server"]);
        assert_eq!(fields(with("server", json!("A.b"))), ["server"]);
        assert_eq!(fields(with("limits", json!({ "max_duration_s": -1 }))), ["limits.max_duration_s"]);
        assert_eq!(fields(with("limits", json!({ "speed": 1 }))), ["limits.speed"]);
        let odd = json!({ "type": "files", "paths": ["/x"], "colour": "red" });
        assert_eq!(fields(with("source", odd)), ["source.colour"]);
        assert_eq!(fields(json!({ "server": "s", "repository": "r" })), ["source"]);
    }
}
