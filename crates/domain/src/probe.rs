//! Probe: what a look at a source or a destination found, before anything depends on it.

use serde::{Deserialize, Serialize};

/// How many parts of a source a probe tells.
pub const PARTS_TOLD: usize = 200;

/// What a backup of a source would find. What it would lack is told as findings of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceProbe {
    /// The kind of source.
    pub source: String,
    /// What the server calls its version; empty where there is no server.
    pub server_version: String,
    /// The program that would read it, with its version.
    pub tool: String,
    /// Of what a backup would consist; the first [`PARTS_TOLD`].
    pub parts: Vec<PartProbe>,
    /// How many parts there are in all.
    pub parts_total: u64,
    /// Bytes of all parts of which they are known.
    pub size_bytes: u64,
    /// Whether there are more: counting files was given up after some time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub size_cut: bool,
    /// The PostgreSQL servers that run on the node, for a source that is one of them, by its socket or by an address of the
    /// node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Cluster>,
}

/// A PostgreSQL server on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its port, by which its socket is called, too.
    pub port: u16,
    /// The folder of its socket; empty when it has none.
    pub socket: String,
    /// Its data folder; empty where the node may not know it.
    pub data_folder: String,
    /// Which it is, where the node may read that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A part of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartProbe {
    /// What it is: `database`, `globals`, `settings`, `path`.
    pub kind: String,
    /// The database or the path.
    pub name: String,
    /// How large it is there, when that is known without reading it.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// What came of writing to a destination, reading back, listing and removing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationProbe {
    /// The place, in words for people.
    pub place: String,
    /// Bytes that were written and read back.
    pub size_bytes: u64,
    /// How long writing took, in milliseconds.
    pub write_ms: u64,
    /// How long reading back took, in milliseconds.
    pub read_ms: u64,
    /// How much room there is, where the destination says it.
    #[serde(default)]
    pub space: Option<Space>,
}

/// The room of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// In all.
    pub total_bytes: u64,
    /// Still free for us.
    pub free_bytes: u64,
}
