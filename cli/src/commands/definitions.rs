//! What all definitions have in common: list, show, change, delete.

use super::{Outcome, Session};
use crate::client::{Answer, ClientError};
use crate::output::{self, Column};
use serde_json::{Map, Value};

/// A kind of definition: its path in the API and its columns.
pub struct Kind {
    /// `servers`, ...
    pub path: &'static str,
    /// The columns of its list.
    pub columns: &'static [Column],
}

/// A number that can be taken away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// None: as if it never was given.
    None,
    /// This.
    Of(u64),
}

impl std::str::FromStr for Limit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            number => {
                number.parse().map(Self::Of).map_err(|_| "must be a whole number, or 'none'".to_owned())
            }
        }
    }
}

impl serde::Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Of(number) => serializer.serialize_u64(*number),
        }
    }
}

/// What stands in the API's answer beside the spec.
const NOT_SPEC: &[&str] = &[
    "id",
    "version",
    "paused",
    "defined_at",
    "changed_at",
    "next_run_at",
    "init_job",
    "passphrase",
    "secret",
    "has_password",
    "has_secret",
    "has_identity",
    "secret_for_nodes",
    "place",
];

impl Kind {
    /// Prints all.
    pub async fn list(&self, session: &Session) -> Outcome {
        let items = session.client.list(&format!("/{}", self.path), usize::MAX).await?;
        output::list(session.output, &items, self.columns);
        Ok(None)
    }

    /// Prints one.
    pub async fn show(&self, session: &Session, id: &str) -> Outcome {
        let answer = session.client.get(&self.at(id)).await?;
        match session.output {
            crate::args::Output::Json => output::json(&answer.body),
            crate::args::Output::Table => print_fields(&answer.body, ""),
        }
        Ok(None)
    }

    /// Removes one.
    pub async fn delete(&self, session: &Session, id: &str) -> Outcome {
        session.client.delete(&self.at(id), None).await?;
        if session.output == crate::args::Output::Table {
            say!("{} '{id}' is deleted", self.singular());
        }
        Ok(None)
    }

    /// Changes what is given and keeps the rest; defines it when it is not there.
    pub async fn set(&self, session: &Session, id: &str, changes: Map<String, Value>) -> Outcome {
        self.set_with(session, id, changes, "").await
    }

    /// The same for one that must be there: it cannot be defined by what is given here.
    pub async fn change(&self, session: &Session, id: &str, changes: Map<String, Value>) -> Outcome {
        let answer = self.try_change(session, id, changes).await?;
        self.say_defined(session, id, &answer);
        Ok(None)
    }

    /// The same; gives the answer.
    pub async fn try_change(
        &self,
        session: &Session,
        id: &str,
        changes: Map<String, Value>,
    ) -> Result<Answer, ClientError> {
        let there = session.client.get(&self.at(id)).await?;
        let mut spec = spec_of(&there.body);
        merge(&mut spec, changes);
        session.client.put(&self.at(id), &Value::Object(spec), there.etag.as_deref()).await
    }

    /// The same, with a query.
    pub async fn set_with(
        &self,
        session: &Session,
        id: &str,
        changes: Map<String, Value>,
        query: &str,
    ) -> Outcome {
        self.set_checked(session, id, changes, query, |_| Ok(())).await
    }

    /// The same, when nothing speaks against what comes of it.
    pub async fn set_checked(
        &self,
        session: &Session,
        id: &str,
        changes: Map<String, Value>,
        query: &str,
        check: impl Fn(&Map<String, Value>) -> Result<(), ClientError>,
    ) -> Outcome {
        let (mut spec, etag) = match session.client.get(&self.at(id)).await {
            Ok(answer) => (spec_of(&answer.body), answer.etag),
            Err(ClientError::Problem(p)) if p.status == 404 => (Map::new(), None),
            Err(e) => return Err(e),
        };
        merge(&mut spec, changes);
        check(&spec)?;
        let path = format!("{}{query}", self.at(id));
        let answer = session.client.put(&path, &Value::Object(spec), etag.as_deref()).await?;
        self.say_defined(session, id, &answer);
        Ok(None)
    }

    /// Tells that it is defined.
    pub fn say_defined(&self, session: &Session, id: &str, answer: &Answer) {
        match session.output {
            crate::args::Output::Json => output::json(&answer.body),
            crate::args::Output::Table => say!("{} '{id}' is defined", self.singular()),
        }
    }

    fn singular(&self) -> String {
        match self.path.strip_suffix("ies") {
            Some(stem) => format!("{stem}y"),
            None => self.path.trim_end_matches('s').to_owned(),
        }
    }

    /// The path of one.
    pub fn at(&self, id: &str) -> String {
        format!("/{}/{}", self.path, escape(id))
    }
}

/// An id as a part of a path; what is no id stays one part and is then not found.
pub fn escape(id: &str) -> String {
    let mut out = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn spec_of(body: &Value) -> Map<String, Value> {
    let mut spec = body.as_object().cloned().unwrap_or_default();
    for field in NOT_SPEC {
        spec.remove(*field);
    }
    spec
}

/// Objects are merged field by field, unless they are of another type by then; anything else takes the place of what was
/// there. Null removes; where nothing is shown, it is sent: there may be something that is never shown.
fn merge(into: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (field, change) in changes {
        match (into.get_mut(&field), change) {
            (Some(Value::Object(there)), Value::Object(change)) if is_alike(there, &change) => {
                merge(there, change)
            }
            (Some(_), Value::Null) => {
                into.remove(&field);
            }
            (_, change) => {
                into.insert(field, change);
            }
        }
    }
}

/// What an object of one type has means nothing in one of another.
fn is_alike(there: &Map<String, Value>, change: &Map<String, Value>) -> bool {
    change.get("type").is_none_or(|kind| there.get("type") == Some(kind))
}

fn print_fields(value: &Value, prefix: &str) {
    let Some(fields) = value.as_object() else { return };
    for (name, value) in fields {
        match value {
            Value::Object(_) => print_fields(value, &format!("{prefix}{name}.")),
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            _ => {
                let text = output::cell(value, "", output::Format::Plain);
                say!("{:<32}  {text}", format!("{prefix}{name}"));
            }
        }
    }
}

/// Collects options that were given into an object.
#[derive(Default)]
pub struct Changes(Map<String, Value>);

impl Changes {
    /// Sets a field, as a path of names, when there is a value.
    pub fn with<T: serde::Serialize>(mut self, path: &[&str], value: Option<T>) -> Self {
        if let Some(value) = value.and_then(|v| serde_json::to_value(v).ok())
            && let Some((last, parents)) = path.split_last()
        {
            let mut at = &mut self.0;
            for parent in parents {
                let entry = at.entry((*parent).to_owned()).or_insert_with(|| Value::Object(Map::new()));
                match entry {
                    Value::Object(inner) => at = inner,
                    _ => return self,
                }
            }
            at.insert((*last).to_owned(), value);
        }
        self
    }

    /// The same for a list: an empty one was not given.
    pub fn with_list(self, path: &[&str], values: &[String]) -> Self {
        self.with(path, (!values.is_empty()).then_some(values))
    }

    /// The same for a list that can be emptied, which an option without values cannot say.
    pub fn with_list_or_none(self, path: &[&str], values: &[String], none: bool) -> Self {
        let given = none || !values.is_empty();
        self.with(path, given.then_some(values))
    }

    /// The object.
    pub fn done(self) -> Map<String, Value> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let mut spec = spec_of(&json!({
            "id": "web", "version": 3, "server": "a",
            "source": { "type": "files", "paths": ["/x"], "excludes": ["*.o"] }
        }));
        merge(
            &mut spec,
            Changes::default()
                .with(&["server"], Some("b"))
                .with::<&str>(&["description"], None)
                .with_list(&["source", "paths"], &["/y".to_owned()])
                .done(),
        );
        assert_eq!(
            Value::Object(spec),
            json!({ "server": "b", "source": { "type": "files", "paths": ["/y"], "excludes": ["*.o"] } })
        );
    }

    #[test]
    fn a_source_of_another_type_begins_anew_and_what_is_never_shown_can_be_taken_away() {
        let mut spec = spec_of(&json!({ "source": { "type": "sqlite", "paths": ["/x"], "check": true } }));
        let changes = Changes::default()
            .with(&["source", "type"], Some("files"))
            .with_list(&["source", "paths"], &["/y".to_owned()])
            .with(&["password"], Some(Value::Null));
        merge(&mut spec, changes.done());
        assert_eq!(
            Value::Object(spec),
            json!({ "source": { "type": "files", "paths": ["/y"] }, "password": null })
        );
    }

    #[test]
    fn what_was_given_can_be_taken_away_again() {
        let mut spec = spec_of(&json!({
            "limits": { "max_duration_s": 9, "lock_wait_s": 5 }, "source": { "paths": ["/x"], "excludes": ["*.o"] }
        }));
        merge(
            &mut spec,
            Changes::default()
                .with(&["limits", "max_duration_s"], "none".parse::<Limit>().ok())
                .with(&["limits", "lock_wait_s"], "0".parse::<Limit>().ok())
                .with_list_or_none(&["source", "excludes"], &[], true)
                .with_list_or_none(&["source", "paths"], &[], false)
                .done(),
        );
        assert_eq!(
            Value::Object(spec),
            json!({ "limits": { "lock_wait_s": 0 }, "source": { "paths": ["/x"], "excludes": [] } })
        );
        assert!("-1".parse::<Limit>().is_err() && "".parse::<Limit>().is_err());
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_a_path() {
        assert_eq!(escape("web-1"), "web-1");
        assert_eq!(escape("a/../b?x#y"), "a%2F..%2Fb%3Fx%23y");
    }
}
