#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use serde_json::{Value, json};

fn spec(location: Value) -> Spec {
    serde_json::from_value(json!({ "location": location })).unwrap()
}

fn fields(location: Value) -> Vec<String> {
    spec(location).problems().into_iter().map(|p| p.field).collect()
}

#[test]
fn each_place_is_said_with_little() {
    for (location, place, path) in [
        (json!({ "type": "local", "path": "/srv/b/" }), "/srv/b", "/srv/b/s/r"),
        (json!({ "type": "sftp", "host": "h", "port": 2222, "path": "/b" }), "sftp://h:2222/b", "/b/s/r"),
        (json!({ "type": "s3", "bucket": "bbb" }), "s3://bbb", "s/r"),
        (
            json!({ "type": "s3", "bucket": "bbb", "prefix": "x/y", "endpoint": "https://e/" }),
            "s3://bbb/x/y at https://e",
            "x/y/s/r",
        ),
        (json!({ "type": "gcs", "bucket": "bbb", "prefix": "x" }), "gs://bbb/x", "x/s/r"),
        (json!({ "type": "azure", "account": "acc", "container": "ccc" }), "azure://acc/ccc", "s/r"),
    ] {
        let spec = spec(location.clone());
        assert_eq!(spec.problems(), [], "{location}");
        assert_eq!(spec.location.place(), place);
        assert_eq!(spec.location.repository_path(&"s".parse().unwrap(), &"r".parse().unwrap()), path);
        let text = serde_json::to_value(&spec.location).unwrap();
        assert_eq!(text["type"], location["type"]);
    }
}

#[test]
fn what_would_be_misread_is_refused_by_field() {
    let s3 = |key: &str, value: Value| {
        let mut s3 = json!({ "type": "s3", "bucket": "bbb" });
        s3[key] = value;
        fields(s3)
    };
    assert_eq!(s3("bucket", json!("B/b")), ["location.bucket"]);
    for (days, wrong) in [(0, true), (1, false), (36_500, false), (36_501, true)] {
        let found = s3("object_lock", json!({ "mode": "compliance", "days": days }));
        assert_eq!(found == ["location.object_lock.days"], wrong, "{days}: {found:?}");
    }
    for odd in ["/x", "x/", "x//y", "../x", "x y", "é"] {
        assert_eq!(s3("prefix", json!(odd)), ["location.prefix"], "{odd}");
    }
    for odd in ["ftp://h", "https://", "https://user@h", "h:9000", "https://h?x", "https:///x"] {
        assert_eq!(s3("endpoint", json!(odd)), ["location.endpoint"], "{odd}");
    }
    assert_eq!(s3("storage_class", json!("A\r\nx: y")), ["location.storage_class"]);
    let secret = json!({ "reference": "r", "version": 1 });
    assert_eq!(s3("secret_access_key", secret), ["location.access_key_id"]);
    let sftp = |key: &str, value: Value| {
        let mut sftp = json!({ "type": "sftp", "host": "h", "path": "/b" });
        sftp[key] = value;
        fields(sftp)
    };
    // An option of ssh is no host.
    assert_eq!(sftp("host", json!("-oProxyCommand=x")), ["location.host"]);
    assert_eq!(sftp("user", json!("a b")), ["location.user"]);
    assert_eq!(sftp("path", json!("b")), ["location.path"]);
    assert_eq!(sftp("host_keys", json!(["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"])), Vec::<String>::new());
    for odd in ["* ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n*", "ssh-ed25519"] {
        assert_eq!(sftp("host_keys", json!([odd])), ["location.host_keys[0]"], "{odd}");
    }
    assert_eq!(fields(json!({ "type": "azure", "account": "A", "container": "ccc" })), ["location.account"]);
    assert_eq!(fields(json!({ "type": "local", "path": "/" })), ["location.path"]);
}
