//! S3, with the server of `s3s-fs`.

use super::{Node, fails_in_time, fetched, keeps_to_the_rules, leaves_nothing, listed, noise, store};
use bytes::Bytes;
use serde_json::{Value, json};
use strongroom_domain::{Failure, FailureCode};
use strongroom_testkit::{S3, S3_ACCESS_KEY_ID, S3_SECRET, Wire};

fn place(port: u16) -> Value {
    json!({
        "type": "s3", "bucket": "bucket", "prefix": "some/where", "endpoint": format!("http://127.0.0.1:{port}"),
        "access_key_id": S3_ACCESS_KEY_ID,
    })
}

fn says(failure: &Failure, code: FailureCode, words: &str) {
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(
        failure.message.contains(words) && failure.message.contains("s3://bucket/some/where"),
        "{failure:?}"
    );
    assert!(!failure.message.contains(S3_SECRET) && !failure.message.contains("Signature="), "{failure:?}");
}

#[tokio::test]
async fn it_keeps_to_the_rules() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let store = node.open(place(server.port()), Some(S3_SECRET)).await;
    keeps_to_the_rules(&*store).await;
    assert!(server.bucket().join("some/where/db1/dumps/archives2").is_file());
    leaves_nothing(&*store, || server.parts()).await;
    assert_eq!(node.notes(), 0);
}

#[tokio::test]
async fn what_a_killed_executor_has_left_is_given_up_by_the_next() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let open = async || node.open(place(server.port()), Some(S3_SECRET)).await;
    let dead = open().await;
    let mut upload = dead.upload("archives/a/data", None).await.unwrap();
    let mut living = dead.upload("archives/b/data", None).await.unwrap();
    for piece in noise(1, 40 << 20).chunks(1 << 20) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        living.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop((upload, dead));
    assert_eq!(node.notes(), 2);
    let next = open().await;
    assert_eq!(listed(&*next, "archives").await, []);
    assert_eq!(node.notes(), 2, "who only reads needs no right to clean");
    next.create("x", b"x".to_vec()).await.unwrap();
    assert_eq!(node.notes(), 1, "and what lives is let be");
    living.finish().await.unwrap();
    assert_eq!((node.notes(), server.parts()), (0, Vec::new()));
    assert_eq!(listed(&*next, "archives").await, [("archives/b/data".to_owned(), 40 << 20)]);
}

#[tokio::test]
async fn refusals_are_told_by_their_kind_and_without_secrets() {
    let (node, mut server) = (Node::new(), S3::start().await.unwrap());
    let with = |key: &str, value: Value| {
        let mut place = place(server.port());
        place[key] = value;
        place
    };
    let wrong_secret = node.open(place(server.port()), Some("not the right secret")).await;
    let failure = wrong_secret.list("archives").await.unwrap_err();
    says(&failure, FailureCode::DestinationDenied, "SignatureDoesNotMatch");
    assert!(!failure.message.contains("not the right secret"));
    says(&wrong_secret.create("x", vec![1]).await.unwrap_err(), FailureCode::DestinationDenied, "403");
    let no_upload = wrong_secret.upload("x", None).await.err().unwrap();
    says(&no_upload, FailureCode::DestinationDenied, "403");
    let wrong_id = node.open(with("access_key_id", json!("SOMEBODY")), Some(S3_SECRET)).await;
    assert_eq!(wrong_id.read("x", 9).await.unwrap_err().code, FailureCode::DestinationDenied);

    let no_bucket = node.open(with("bucket", json!("nothing")), Some(S3_SECRET)).await;
    for failure in [
        no_bucket.list("archives").await.unwrap_err(),
        no_bucket.create("x", vec![1]).await.unwrap_err(),
        store(&*no_bucket, "x", &noise(1, 20 << 20)).await.unwrap_err(),
    ] {
        assert_eq!(failure.code, FailureCode::DestinationMissing, "{failure:?}");
    }

    let right = node.open(place(server.port()), Some(S3_SECRET)).await;
    assert!(right.create("kept", vec![1]).await.unwrap());
    server.keeps_all(true);
    says(&right.delete("kept").await.unwrap_err(), FailureCode::DestinationDenied, "object lock");
    server.keeps_all(false);

    // A service that passes over conditions would let two in.
    server.knows_conditions(false);
    let old = node.open(place(server.port()), Some(S3_SECRET)).await;
    says(&old.create("twice", vec![1]).await.unwrap_err(), FailureCode::DestinationError, "If-None-Match");
    assert_eq!(old.read("twice", 9).await.unwrap(), None);
    server.knows_conditions(true);

    server.stop().await;
    says(&right.read("kept", 9).await.unwrap_err(), FailureCode::DestinationUnreachable, "refused");
}

#[tokio::test]
async fn how_objects_are_stored_is_asked_for() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let mut place = place(server.port());
    place["storage_class"] = json!("REDUCED_REDUNDANCY");
    place["server_side_encryption"] = json!({ "type": "kms", "key_id": "key-1" });
    let dumps = node.open(place.clone(), Some(S3_SECRET)).await;
    store(&*dumps, "small", b"1").await.unwrap();
    store(&*dumps, "large", &noise(1, 9 << 20)).await.unwrap();
    dumps.create("manifest", vec![1]).await.unwrap();
    let lines = |header: &str, value: &str| -> Vec<String> {
        let seen = server.seen(header).into_iter().filter(|(_, seen)| seen == value);
        seen.map(|(line, _)| line.replace("/bucket/some/where/db1/dumps/", "")).collect()
    };
    // What is read often stays in the class of the bucket.
    assert_eq!(lines("x-amz-storage-class", "REDUCED_REDUNDANCY"), ["PUT small", "POST large?uploads="]);
    let encrypted = lines("x-amz-server-side-encryption-aws-kms-key-id", "key-1");
    assert_eq!(encrypted[..3], ["PUT small", "POST large?uploads=", "PUT manifest"]);
    place["server_side_encryption"] = json!({ "type": "s3" });
    let dumps = node.open(place, Some(S3_SECRET)).await;
    store(&*dumps, "other", b"1").await.unwrap();
    assert_eq!(lines("x-amz-server-side-encryption", "AES256"), ["PUT other"]);
    // No payload goes without its digest in the signature.
    assert!(server.seen("x-amz-content-sha256").iter().all(|(_, digest)| digest.len() == 64));
}

#[tokio::test]
async fn what_is_written_is_locked_and_says_until_when() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let mut place = place(server.port());
    place["object_lock"] = json!({ "mode": "governance", "days": 30 });
    let dumps = node.open(place.clone(), Some(S3_SECRET)).await;
    store(&*dumps, "small", b"1").await.unwrap();
    store(&*dumps, "large", &noise(1, 9 << 20)).await.unwrap();
    assert!(dumps.create("manifest", vec![1]).await.unwrap());
    assert!(!dumps.create("manifest", vec![2]).await.unwrap());
    assert!(fetched(&*dumps, "large").await.unwrap() == noise(1, 9 << 20));
    // Whatever is no writing asks for no lock: services refuse it there.
    let seen = server.seen("x-amz-object-lock-mode").into_iter().map(|(line, mode)| {
        assert_eq!(mode, "GOVERNANCE");
        line.replace("/bucket/some/where/db1/dumps/", "")
    });
    let mut lines: Vec<String> = seen.collect();
    lines.dedup();
    assert_eq!(lines, ["PUT small", "POST large?uploads=", "PUT manifest"]);
    assert_eq!(server.parts(), Vec::<String>::new());
    for name in ["small", "large", "manifest"] {
        says(
            &dumps.locked(name).await.unwrap().unwrap(),
            FailureCode::DestinationDenied,
            "is locked until 20",
        );
    }
    assert_eq!(dumps.locked("nothing").await.unwrap(), None);
    // A service that refuses a deletion says why, and the object until when.
    server.keeps_all(true);
    let refused = dumps.delete("small").await.unwrap_err();
    says(&refused, FailureCode::DestinationDenied, "object lock");
    says(&refused, FailureCode::DestinationDenied, "is locked until 20");
    assert!(refused.advice.contains("BypassGovernanceRetention"), "{refused:?}");
    server.keeps_all(false);
    place["object_lock"] = Value::Null;
    let free = node.open(place, Some(S3_SECRET)).await;
    store(&*free, "free", b"1").await.unwrap();
    assert_eq!(free.locked("free").await.unwrap(), None);
}

/// Against a service that somebody has started, whose bucket `locked` was made with object lock (moto, MinIO): its port.
#[tokio::test]
#[ignore = "needs a service with locks, by STRONGROOM_TEST_S3_PORT"]
async fn a_service_that_knows_locks_keeps_what_was_written() {
    let port: u16 = std::env::var("STRONGROOM_TEST_S3_PORT").unwrap().parse().unwrap();
    let (node, mut place) = (Node::new(), place(port));
    place["bucket"] = json!("locked");
    place["object_lock"] = json!({ "mode": "governance", "days": 30 });
    let dumps = node.open(place, Some(S3_SECRET)).await;
    store(&*dumps, "small", b"1").await.unwrap();
    store(&*dumps, "large", &noise(1, 20 << 20)).await.unwrap();
    dumps.create("manifest", vec![1]).await.unwrap();
    assert!(fetched(&*dumps, "large").await.unwrap() == noise(1, 20 << 20));
    // Of what came in parts moto 5.2 forgets the lock; Amazon does not.
    for name in ["small", "manifest"] {
        let locked = dumps.locked(name).await.unwrap().unwrap_or_else(|| panic!("{name} is not locked"));
        assert!(locked.message.contains("is locked until 20"), "{locked:?}");
    }
}

#[tokio::test]
async fn a_byte_that_changes_on_the_way_is_noticed_by_the_service_and_sent_again() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let wire = Wire::to(server.port()).await.unwrap();
    let dumps = node.open(place(wire.port()), Some(S3_SECRET)).await;
    wire.flip_after(12 << 20);
    let bytes = noise(1, 30 << 20);
    store(&*dumps, "archives/a/data", &bytes).await.unwrap();
    let mut parts: Vec<String> =
        server.seen("x-amz-content-sha256").into_iter().map(|(line, _)| line).collect();
    parts.retain(|line| line.contains("partNumber"));
    assert_eq!(parts.len(), 5, "one of four was refused: {parts:?}");
    assert!(fetched(&*dumps, "archives/a/data").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_server_that_stops_in_mid_upload_is_a_failure_and_a_retry_is_clean() {
    let (node, mut server) = (Node::new(), S3::start().await.unwrap());
    let dumps = node.open(place(server.port()), Some(S3_SECRET)).await;
    fails_in_time(&*dumps, "archives/a/data", async |n| {
        if n == 20 {
            server.stop().await;
        }
    })
    .await;
    server.run().await.unwrap();
    assert_eq!(listed(&*dumps, "archives").await, []);
    dumps.clear("archives/a").await.unwrap();
    assert_eq!((node.notes(), server.parts()), (0, Vec::new()));
    store(&*dumps, "archives/a/data", &noise(9, 20 << 20)).await.unwrap();
    assert_eq!(fetched(&*dumps, "archives/a/data").await.unwrap(), noise(9, 20 << 20));
}

#[tokio::test]
async fn a_wire_that_is_cut_in_mid_upload_is_a_failure_in_time() {
    let (node, server) = (Node::new(), S3::start().await.unwrap());
    let wire = Wire::to(server.port()).await.unwrap();
    let dumps = node.open(place(wire.port()), Some(S3_SECRET)).await;
    wire.cut_after(21 << 20);
    fails_in_time(&*dumps, "archives/a/data", async |_| {}).await;
    assert!(wire.is_cut());
    wire.heal();
    dumps.clear("archives/a").await.unwrap();
    assert_eq!((node.notes(), server.parts()), (0, Vec::new()));
    assert_eq!(listed(&*dumps, "archives").await, []);
    store(&*dumps, "archives/a/data", &noise(9, 20 << 20)).await.unwrap();
}
