//! The configuration file of nats-server, rendered from the table of rights.

use super::permissions::{NODE_EXPORTS, NODE_PREFIX, Rights, SERVICES, node_rights};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

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
    /// The cluster, for three nodes.
    pub cluster: Option<Cluster>,
}

/// The cluster that a server belongs to.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its own route port.
    pub port: u16,
    /// The route ports of all members, on `host`.
    pub routes: Vec<String>,
}

/// Renders the file. `keys` holds the public key of each user.
pub fn render(config: &ServerConfig, keys: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let nothing = String::new();
    let key = |user: &str| keys.get(user).unwrap_or(&nothing).clone();
    // Writing to a String cannot fail, so the results are dropped.
    let _ = writeln!(out, "# Rendered by strongroom from its table of rights; changes here are lost.");
    let _ = writeln!(out, "server_name: {:?}", config.name);
    let _ = writeln!(out, "listen: \"{}:{}\"", config.host, config.port);
    let _ = writeln!(out, "http: \"127.0.0.1:{}\"", config.monitor_port);
    let _ = writeln!(out, "max_payload: 1MB");
    let _ = writeln!(out, "jetstream {{");
    let _ = writeln!(out, "  store_dir: {:?}", config.store_dir.display().to_string());
    let _ = writeln!(
        out,
        "  # An acknowledged event is on disk. The default (2 minutes) lost all of them at a power cut."
    );
    let _ = writeln!(out, "  sync_interval: always");
    let _ = writeln!(out, "  max_file_store: {}", config.max_store_bytes);
    let _ = writeln!(out, "  max_memory_store: 67108864");
    let _ = writeln!(out, "}}");
    if let Some(cluster) = &config.cluster {
        let routes: Vec<String> = cluster.routes.iter().map(|r| format!("\"nats://{r}\"")).collect();
        let _ = writeln!(
            out,
            "cluster {{ name: strongroom, listen: \"{}:{}\", routes: [{}] }}",
            config.host,
            cluster.port,
            routes.join(", ")
        );
    }
    let _ = writeln!(out, "accounts {{");
    let _ = writeln!(out, "  SYS {{ users: [] }}");
    let _ = writeln!(out, "  CORE {{\n    jetstream: enabled\n    users: [");
    for service in SERVICES {
        let _ = writeln!(out, "      {}", user(&key(service.user), &service.rights()));
    }
    let _ = writeln!(out, "    ]\n    exports: [");
    for (subject, many) in NODE_EXPORTS {
        let kind = if *many { "stream" } else { "singleton" };
        let _ = writeln!(out, "      {{ service: {subject:?}, accounts: [NODES], response_type: {kind} }}");
    }
    let _ = writeln!(out, "    ]\n  }}");
    let _ = writeln!(out, "  NODES {{\n    users: [");
    for node in keys.keys().filter_map(|u| u.strip_prefix(NODE_PREFIX)) {
        let _ = writeln!(out, "      {}", user(&key(&format!("{NODE_PREFIX}{node}")), &node_rights(node)));
    }
    let _ = writeln!(out, "    ]\n    imports: [");
    for (subject, _) in NODE_EXPORTS {
        let _ = writeln!(out, "      {{ service: {{ account: CORE, subject: {subject:?} }} }}");
    }
    let _ = writeln!(out, "    ]\n  }}\n}}\nsystem_account: SYS");
    out
}

fn user(key: &str, rights: &Rights) -> String {
    let list = |subjects: &[String]| subjects.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
    let answers = if rights.answers { ", allow_responses: { max: 1, expires: \"30s\" }" } else { "" };
    format!(
        "{{ nkey: {key}, permissions: {{ publish: {{ allow: [{}] }}, subscribe: {{ allow: [{}] }}{answers} }} }}",
        list(&rights.publish),
        list(&rights.subscribe)
    )
}
