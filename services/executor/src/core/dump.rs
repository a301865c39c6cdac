//! What was dumped.

use strongroom_domain::archive::{ARTEFACTS_KEPT, Artefact, Dump};
use strongroom_domain::failure::{Finding, Severity};

/// As an event holds it.
pub fn bounded(mut dump: Dump) -> Dump {
    dump.artefacts.truncate(ARTEFACTS_KEPT);
    dump
}

/// What is said when a part of a database was not there any more: it was dropped. Of one of which nothing is there, it was
/// said with its first part.
pub fn gone(kind: &str, database: &str, so_far: &[Artefact]) -> Option<Finding> {
    let what = match kind {
        "database" => "it".to_owned(),
        _ if so_far.iter().any(|a| a.database.as_deref() == Some(database)) => format!("its {kind}"),
        _ => return None,
    };
    let message = format!("database '{database}' was dropped before {what} could be dumped");
    Some(Finding { severity: Severity::Benign, path: None, message })
}
