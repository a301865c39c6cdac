//! The committed example of nats-server's configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use strongroom_bus::server::binary;
use strongroom_bus::server::config::{ServerConfig, render};
use strongroom_bus::server::permissions::accounts;
use strongroom_domain::NodeId;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nats/nats-server.conf");

/// The variable that holds a user's public key.
fn variable(user: &str) -> String {
    format!("NKEY_{}", user.to_uppercase().replace('-', "_"))
}

fn users(nodes: &[NodeId]) -> Vec<String> {
    accounts(nodes).into_iter().map(|a| a.user).collect()
}

#[test]
fn the_example_is_what_the_table_of_rights_gives() {
    let nodes = ["node1".parse().unwrap()];
    let keys: BTreeMap<String, String> =
        users(&nodes).into_iter().map(|user| (user.clone(), format!("${}", variable(&user)))).collect();
    let config = ServerConfig {
        name: "strongroom".into(),
        host: "0.0.0.0".into(),
        port: 4222,
        monitor_port: 8222,
        store_dir: "/data".into(),
        max_store_bytes: 20 << 30,
        log_file: None,
        cluster: None,
    };
    let rendered = render(&config, &nodes, &keys);
    if std::env::var_os("STRONGROOM_WRITE_EXAMPLES").is_some() {
        std::fs::write(EXAMPLE, &rendered).unwrap();
    }
    let committed = std::fs::read_to_string(EXAMPLE).unwrap_or_default();
    assert!(
        committed == rendered,
        "deploy/nats/nats-server.conf is not what the table of rights gives; write it anew with \
         STRONGROOM_WRITE_EXAMPLES=1 cargo test -p strongroom-bus --test it config::"
    );
}

#[test]
fn the_server_takes_the_example() {
    let folder = tempfile::tempdir().unwrap();
    // The example's folder is a container's; here it would be one of the machine.
    let text = std::fs::read_to_string(EXAMPLE)
        .unwrap()
        .replace("store_dir: \"/data\"", &format!("store_dir: \"{}\"", folder.path().join("data").display()));
    let file = folder.path().join("nats-server.conf");
    std::fs::write(&file, text).unwrap();
    let check = |keys: Vec<(String, String)>| {
        let server = binary::find().expect("the tests need a nats-server; 'cargo xtask test' installs one");
        let output = Command::new(server).arg("-t").arg("-c").arg(&file).envs(keys).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let keys = users(&["node1".parse().unwrap()])
        .iter()
        .map(|user| (variable(user), nkeys::KeyPair::new_user().public_key()))
        .collect();
    let (taken, words) = check(keys);
    assert!(taken, "{words}");
    let (taken, words) = check(vec![]);
    assert!(!taken && words.contains("NKEY_"), "a missing key was not noticed: {words}");
}

#[test]
fn only_loopback_listens_unless_somebody_says_so() {
    let example = std::fs::read_to_string(Path::new(EXAMPLE)).unwrap();
    assert!(example.contains("\nhttp: \"127.0.0.1:8222\"\n"), "the monitoring port is open");
    assert!(!example.contains("no_auth_user") && !example.contains("allow_responses"));
}
