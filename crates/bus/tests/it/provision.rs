//! Making streams: once, again, with other settings, and where something else is in the way.

use crate::{paused, some_plan};
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_bus::nats::Connection;
use strongroom_bus::server::monitor;
use strongroom_bus::server::provision::{Provision, ProvisionError};
use strongroom_bus::{Context, Head};
use strongroom_testkit::{Nats, wait_until};

async fn config(nats: &Nats, stream: &str) -> Value {
    let provisioner = Connection::open(&nats.settings("provisioner")).await.unwrap();
    let info = provisioner.api(&format!("STREAM.INFO.{stream}"), &json!({})).await.unwrap();
    info["config"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_made_for_ever_on_one_server_and_on_three() {
    for members in [1, 3] {
        let nats = Nats::start(members, &["a"], Duration::from_secs(60)).await.unwrap();
        let log = config(&nats, "STRONGROOM").await;
        for (key, value) in [
            ("num_replicas", json!(members)),
            ("storage", json!("file")),
            ("retention", json!("limits")),
            ("discard", json!("new")),
            ("deny_delete", json!(true)),
            ("deny_purge", json!(true)),
            ("allow_direct", json!(true)),
            ("max_age", json!(0)),
            ("max_msgs", json!(-1)),
            ("max_msgs_per_subject", json!(-1)),
            ("max_msg_size", json!(262_144)),
            ("max_bytes", json!(1 << 30)),
            ("subjects", json!(["strongroom.evt.>"])),
        ] {
            assert_eq!(log[key], value, "{key}");
        }
        for off in ["allow_rollup_hdrs", "allow_msg_ttl", "sealed", "no_ack"] {
            assert!(!log[off].as_bool().unwrap_or(false), "{off} is on");
        }
        assert_eq!(log["metadata"]["generation"], nats.provision().generation);
        for i in 0..members {
            monitor::check(&nats.monitor(i).unwrap()).await.unwrap();
        }
        nats.wait_until_healthy().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn making_it_again_changes_what_may_change_and_keeps_the_rest() {
    let nats = Nats::one(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    bus.journal().append(&some_plan(), &Head::default(), &paused("x"), &Context::default()).await.unwrap();
    let again = Provision {
        generation: "another".into(),
        nodes: vec!["a".parse().unwrap(), "b".parse().unwrap()],
        log_max_bytes: 1 << 20,
        work_ack_wait: Duration::from_secs(77),
        ..nats.provision().clone()
    };
    for _ in 0..2 {
        again.apply(&nats.settings("provisioner")).await.unwrap();
    }
    let log = config(&nats, "STRONGROOM").await;
    assert_eq!(log["metadata"]["generation"], nats.provision().generation, "the log lost its identity");
    assert_eq!(log["max_bytes"], json!(1 << 30), "a log that may be larger was made smaller");
    assert_eq!(bus.log_state().await.unwrap(), (nats.provision().generation.clone(), 1));
    let provisioner = Connection::open(&nats.settings("provisioner")).await.unwrap();
    for node in ["a", "b"] {
        let consumer =
            provisioner.api(&format!("CONSUMER.INFO.STRONGROOM_WORK.{node}"), &json!({})).await.unwrap();
        assert_eq!(consumer["config"]["ack_wait"], json!(77_000_000_000_u64));
        assert_eq!(consumer["config"]["max_deliver"], json!(-1));
        assert_eq!(consumer["config"].get("backoff"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lacks_its_protection_gets_it() {
    let nats = Nats::start_empty(1, &["a"], Duration::from_secs(60)).unwrap();
    let provisioner = Connection::open(&nats.settings("provisioner")).await.unwrap();
    let lax = json!({
        "name": "STRONGROOM", "subjects": ["strongroom.evt.>"], "storage": "file", "max_age": 3_600_000_000_000_u64,
        "metadata": { "generation": "first" },
    });
    provisioner.api("STREAM.CREATE.STRONGROOM", &lax).await.unwrap();
    nats.provision().apply(&nats.settings("provisioner")).await.unwrap();
    let log = config(&nats, "STRONGROOM").await;
    assert_eq!(log["deny_purge"], json!(true));
    assert_eq!(log["max_age"], json!(0));
    assert_eq!(log["metadata"]["generation"], "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_with_what_differs_and_left_as_it_is() {
    let nats = Nats::start_empty(1, &["a"], Duration::from_secs(60)).unwrap();
    let provisioner = Connection::open(&nats.settings("provisioner")).await.unwrap();
    let wrong = json!({ "name": "STRONGROOM", "subjects": ["strongroom.evt.>"], "storage": "memory" });
    provisioner.api("STREAM.CREATE.STRONGROOM", &wrong).await.unwrap();
    let refused = nats.provision().apply(&nats.settings("provisioner")).await.unwrap_err();
    assert!(matches!(refused, ProvisionError::Unchangeable { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(
        text.contains("stream STRONGROOM") && text.contains(r#"storage is "memory" and must be "file""#),
        "{text}"
    );
    assert_eq!(config(&nats, "STRONGROOM").await["storage"], "memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_on_with_two_of_three_and_heals() {
    let mut nats = Nats::three(&["a"]).await.unwrap();
    let bus = nats.bus("gateway").await.unwrap();
    let pid = nats.pid(0).unwrap();
    nats.kill(0).unwrap();
    assert_eq!(nats.pid(0), None);
    wait_until("an append with two of three", Duration::from_secs(60), async || {
        let (plan, head) = (some_plan(), Head::default());
        bus.journal().append(&plan, &head, &paused("x"), &Context::default()).await.ok()
    })
    .await
    .unwrap();
    nats.start_member(0).unwrap();
    assert_ne!(nats.pid(0), Some(pid));
    nats.wait_until_healthy().await.unwrap();
}
