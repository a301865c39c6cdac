//! The configuration file of nats-server, rendered from the table of rights.

use super::permissions::{Account, Answers, Export, Import, accounts};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use strongroom_domain::NodeId;

/// Where a server listens and keeps its bytes.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name, unique in a cluster.
    pub name: String,
    /// The address that clients connect to.
    pub host: String,
    /// Their port.
    pub port: u16,
    /// The port of `/varz` and `/healthz`, on loopback.
    pub monitor_port: u16,
    /// The folder of JetStream's files; nothing else writes there.
    pub store_dir: PathBuf,
    /// How much JetStream may store, in bytes. Below the disk's size: a full disk freezes the server.
    pub max_store_bytes: u64,
    /// The file that the server logs to, three of 10 MB at most; nothing: its output.
    pub log_file: Option<PathBuf>,
    /// The cluster, for three nodes.
    pub cluster: Option<Cluster>,
}

/// The cluster that a server belongs to.
#[derive(Clone)]
pub struct Cluster {
    /// Its own route port.
    pub port: u16,
    /// The route addresses of all members, `host:port`.
    pub routes: Vec<String>,
    /// What members show each other. Who can open a route can say anything in any account, so it is never without one.
    pub secret: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("port", &self.port)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// Renders the file. `keys` holds the public key of each user; one without a key is left out and cannot connect.
pub fn render(config: &ServerConfig, nodes: &[NodeId], keys: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, so the result is dropped.
    let _ = write_all(&mut out, config, nodes, keys);
    out
}

fn write_all(
    out: &mut String,
    config: &ServerConfig,
    nodes: &[NodeId],
    keys: &BTreeMap<String, String>,
) -> fmt::Result {
    writeln!(out, "# Rendered by strongroom from its table of rights; changes here are lost.")?;
    writeln!(out, "server_name: {}", quoted(&config.name))?;
    writeln!(out, "listen: {}", quoted(&format!("{}:{}", config.host, config.port)))?;
    writeln!(out, "http: {}", quoted(&format!("127.0.0.1:{}", config.monitor_port)))?;
    writeln!(out, "max_payload: 1MB")?;
    writeln!(out, "# A connection that is cut without a word is noticed within half a minute.")?;
    writeln!(out, "ping_interval: \"10s\"")?;
    writeln!(out, "ping_max: 2")?;
    if let Some(file) = &config.log_file {
        writeln!(out, "log_file: {}", quoted(&file.display().to_string()))?;
        writeln!(out, "logfile_size_limit: 10MB")?;
        writeln!(out, "logfile_max_num: 3")?;
    }
    writeln!(out, "# The rights below name the acks' subjects as this form has them.")?;
    writeln!(out, "feature_flags {{ js_ack_fc_v2: false }}")?;
    writeln!(out, "jetstream {{")?;
    writeln!(out, "  store_dir: {}", quoted(&config.store_dir.display().to_string()))?;
    writeln!(
        out,
        "  # An acknowledged event is on disk. The default (2 minutes) lost all of them at a power cut."
    )?;
    writeln!(out, "  sync_interval: always")?;
    writeln!(out, "  max_file_store: {}", config.max_store_bytes)?;
    writeln!(out, "  max_memory_store: 67108864")?;
    writeln!(out, "}}")?;
    if let Some(cluster) = &config.cluster {
        write_cluster(out, &config.host, cluster)?;
    }
    writeln!(out, "accounts {{")?;
    writeln!(out, "  system {{ users: [] }}")?;
    for account in accounts(nodes) {
        write_account(out, &account, keys)?;
    }
    writeln!(out, "}}")?;
    writeln!(out, "system_account: system")
}

fn write_cluster(out: &mut String, host: &str, cluster: &Cluster) -> fmt::Result {
    writeln!(out, "cluster {{")?;
    writeln!(out, "  name: strongroom")?;
    writeln!(out, "  listen: {}", quoted(&format!("{host}:{}", cluster.port)))?;
    writeln!(out, "  authorization {{ user: strongroom, password: {} }}", quoted(&cluster.secret))?;
    writeln!(out, "  routes: [")?;
    for route in &cluster.routes {
        writeln!(out, "    {}", quoted(&format!("nats://strongroom:{}@{route}", cluster.secret)))?;
    }
    writeln!(out, "  ]\n}}")
}

fn write_account(out: &mut String, account: &Account, keys: &BTreeMap<String, String>) -> fmt::Result {
    writeln!(out, "  {} {{", quoted(&account.name))?;
    if account.has_streams() {
        writeln!(out, "    jetstream: enabled")?;
    }
    writeln!(out, "    users: [")?;
    if let Some(key) = keys.get(&account.user) {
        let rights = &account.rights;
        writeln!(out, "      {{ nkey: {key}, permissions: {{")?;
        writeln!(out, "        publish: {{ allow: [{}] }}", list(&rights.publish))?;
        writeln!(out, "        subscribe: {{ allow: [{}] }}", list(&rights.subscribe))?;
        writeln!(out, "      }} }}")?;
    }
    writeln!(out, "    ]")?;
    writeln!(out, "    exports: [")?;
    for export in &account.exports {
        match export {
            Export::Service(subject, answers) => {
                let kind = match answers {
                    Answers::One => "singleton".to_owned(),
                    Answers::Many { within_s } => format!("stream, response_threshold: \"{within_s}s\""),
                };
                writeln!(out, "      {{ service: {}, response_type: {kind} }}", quoted(subject))?;
            }
            Export::Feed(subject) => writeln!(out, "      {{ stream: {} }}", quoted(subject))?,
        }
    }
    writeln!(out, "    ]")?;
    writeln!(out, "    imports: [")?;
    for import in &account.imports {
        let (kind, account, subject) = match import {
            Import::Service { account, subject } => ("service", account, subject),
            Import::Feed { account, subject } => ("stream", account, subject),
        };
        let (account, subject) = (quoted(account), quoted(subject));
        writeln!(out, "      {{ {kind}: {{ account: {account}, subject: {subject} }} }}")?;
    }
    writeln!(out, "    ]\n  }}")
}

fn list(subjects: &[String]) -> String {
    subjects.iter().map(|s| quoted(s)).collect::<Vec<_>>().join(", ")
}

/// A string as nats-server reads it: only these two signs are special, and a path may well hold one.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
