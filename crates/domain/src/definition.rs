//! What all things that people define have in common: they are defined, changed by being defined again, and retired.

use crate::{Event, FieldError, Rejection};

/// A definition that knows what is wrong with itself, without looking anything up.
pub trait Validate {
    /// All that is wrong, with the field of each; empty when it is right.
    fn problems(&self) -> Vec<FieldError>;
}

/// The state of something that people define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition<T> {
    /// The present spec; `None` when never defined or retired.
    pub spec: Option<T>,
    /// Whether it is paused (plans).
    pub paused: Option<String>,
    /// The version of the aggregate: 0 when it has no event. This is the ETag.
    pub version: u64,
}

impl<T> Default for Definition<T> {
    fn default() -> Self {
        Self { spec: None, paused: None, version: 0 }
    }
}

/// What the caller knew when it asked for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// It must not exist: `POST`.
    Absent,
    /// It must be at this version: `If-Match`.
    Version(u64),
    /// Whatever it is now: `PUT` without `If-Match`.
    Any,
}

impl<T: Clone + Validate> Definition<T> {
    /// Checks a request to define against the present state. `kind` and `id` are for the text of a rejection.
    pub fn check_define(
        &self,
        spec: &T,
        precondition: Precondition,
        kind: &str,
        id: &str,
    ) -> Result<(), Rejection> {
        let exists = self.spec.is_some();
        match precondition {
            Precondition::Absent if exists => {
                return Err(Rejection::Exists { kind: kind.into(), id: id.into() });
            }
            Precondition::Version(v) if !exists || v != self.version => {
                return Err(Rejection::Changed { current: self.version });
            }
            _ => {}
        }
        let fields = spec.problems();
        if fields.is_empty() { Ok(()) } else { Err(Rejection::Invalid { fields }) }
    }

    /// Checks a request to retire against the present state.
    pub fn check_retire(&self, precondition: Precondition, kind: &str, id: &str) -> Result<(), Rejection> {
        if self.spec.is_none() {
            return Err(Rejection::NotFound { kind: kind.into(), id: id.into() });
        }
        match precondition {
            Precondition::Version(v) if v != self.version => {
                Err(Rejection::Changed { current: self.version })
            }
            _ => Ok(()),
        }
    }
}

impl<T: Clone> Definition<T> {
    /// The state after one more event of this aggregate. `pick` gives the spec when the event defines it.
    pub fn evolve(&mut self, event: &Event, pick: impl Fn(&Event) -> Option<T>) {
        self.version += 1;
        if let Some(spec) = pick(event) {
            self.spec = Some(spec);
        } else if event.retires() {
            self.spec = None;
            self.paused = None;
        } else if let Event::PlanPaused(paused) = event {
            self.paused = Some(paused.reason.clone());
        } else if let Event::PlanResumed(_) = event {
            self.paused = None;
        }
    }
}

/// Problems of a part, named from the whole on.
pub fn within(part: &str, problems: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    problems.into_iter().map(move |mut problem| {
        problem.field = format!("{part}.{}", problem.field);
        problem
    })
}

/// Adds a problem when a text holds control characters or is longer than `max` characters.
pub fn check_text(problems: &mut Vec<FieldError>, field: &str, text: &str, max: usize) {
    if text.chars().count() > max {
        problems.push(FieldError::new(field, format!("must be at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        problems.push(FieldError::new(field, "must not hold control characters"));
    }
}

/// Adds a problem when a path is not one that can be given to borg: absolute, normal, without `..` or NUL.
pub fn check_absolute_path(problems: &mut Vec<FieldError>, field: &str, path: &str) {
    let message = if !path.starts_with('/') {
        "must be an absolute path"
    } else if path.split('/').any(|part| part == "..") {
        "must not hold '..'"
    } else if path.contains('\0') || path.contains('\n') {
        "must not hold a NUL or a line break"
    } else if path.len() > 4096 {
        "must be at most 4096 bytes"
    } else {
        return;
    };
    problems.push(FieldError::new(field, message));
}

/// A retirement, with the reason if one was given.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Retired {
    /// Why, in the words of the person.
    #[serde(default)]
    pub reason: Option<String>,
}
