//! `strongroom.json`: the last file of an archive of databases, or the last object of one in a dump store, which says what
//! is in it.

use super::census::Lists;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_domain::JobId;
use strongroom_domain::archive::Dump;
use strongroom_domain::job::BackupSpec;

/// Where it is in the archive.
pub const PATH: &str = "strongroom.json";

/// In a dump store, the part that says what each database was made with, in the words of its system.
pub const PROPERTIES: &str = "properties.json";

/// In a dump store, the part that lists the tables of each database, with their rows.
pub const TABLES: &str = "tables.json";

/// Its version; readers take no newer one.
const VERSION: u32 = 1;

/// What it says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub strongroom: u32,
    /// When the last part had been dumped.
    pub dumped_at: Timestamp,
    /// What was dumped, whole.
    pub dump: Dump,
    /// What each database was made with, in the words of its system; in a dump store it is a part of its own.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub properties: Value,
    /// The tables of each database with their rows, by the path of its dump; in a dump store it is a part of its own.
    #[serde(default, skip_serializing_if = "Lists::is_empty")]
    pub tables: Lists,
    /// What it is a manifest of, in a dump store; borg's archives say that themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<About>,
}

/// What borg writes into an archive beside what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The archive's name.
    pub name: String,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Which plan and job have made it, as [`comment`] says it.
    pub comment: String,
    /// The machine.
    pub hostname: String,
    /// Bytes of the whole store after it, when what it has added says nothing about that: it is deduplicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_bytes: Option<u64>,
}

/// What is written into each archive of ours, by which a scan knows where it belongs.
pub fn comment(spec: &BackupSpec, job: JobId, server: &str) -> String {
    serde_json::json!({ "strongroom": 1, "plan": spec.plan, "job": job, "server": server }).to_string()
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the list of what was dumped cannot be read: {0}")]
pub struct Unreadable(String);

impl Unreadable {
    /// For this reason.
    pub fn because(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// Writes it.
pub fn write(
    dump: &Dump,
    properties: &Value,
    tables: Lists,
    archive: Option<About>,
    now: Timestamp,
) -> serde_json::Result<Vec<u8>> {
    let (dump, properties) = (dump.clone(), properties.clone());
    let manifest = Manifest { strongroom: VERSION, dumped_at: now, dump, properties, tables, archive };
    serde_json::to_vec_pretty(&manifest)
}

/// Reads it. One that was cut off is no JSON, and one that lists less than it counts is not whole.
pub fn read(bytes: &[u8]) -> Result<Manifest, Unreadable> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| Unreadable(e.to_string()))?;
    if manifest.strongroom > VERSION {
        return Err(Unreadable(format!(
            "it has version {}, which is newer than this node",
            manifest.strongroom
        )));
    }
    if manifest.dump.artefacts.len() as u64 != manifest.dump.artefacts_total {
        return Err(Unreadable("it does not list all that it counts".into()));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn half_of_it_is_none() {
        let dump = Dump {
            source: "postgresql".into(),
            server_version: "15.18".into(),
            tool: "pg_dump 15".into(),
            artefacts: Vec::new(),
            artefacts_total: 0,
            paths: Vec::new(),
            physical: None,
        };
        let text =
            write(&dump, &json!({ "shop": { "owner": "o" } }), Lists::new(), None, Timestamp::UNIX_EPOCH)
                .unwrap();
        let manifest = read(&text).unwrap();
        assert_eq!(
            (manifest.dump.clone(), &manifest.properties["shop"]["owner"]),
            (dump.clone(), &json!("o"))
        );
        for cut in 0..text.len() {
            assert!(read(text.get(..cut).unwrap()).is_err());
        }
        let more = Dump { artefacts_total: 1, ..dump };
        assert!(read(&write(&more, &json!({}), Lists::new(), None, Timestamp::UNIX_EPOCH).unwrap()).is_err());
    }
}
