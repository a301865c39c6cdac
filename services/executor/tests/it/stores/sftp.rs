//! SFTP, with the SSH server of OpenSSH.

use super::{Node, fails_in_time, fetched, keeps_to_the_rules, leaves_nothing, listed, noise, store};
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use strongroom_domain::{Failure, FailureCode};
use strongroom_testkit::{Sshd, Wire};

fn place(sshd: &Sshd, port: u16) -> Value {
    json!({
        "type": "sftp", "host": "127.0.0.1", "port": port, "user": sshd.user().unwrap(), "path": sshd.root(),
        "host_keys": [sshd.host_key().unwrap()],
    })
}

/// All files below a folder, also those that are not whole.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

fn says(failure: &Failure, code: FailureCode, words: &str) {
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(failure.message.contains(words) && failure.message.contains("sftp://127.0.0.1:"), "{failure:?}");
}

#[tokio::test]
async fn it_keeps_to_the_rules() {
    let (node, sshd) = (Node::new(), Sshd::start().await.unwrap());
    let store = node.open(place(&sshd, sshd.port()), Some(&sshd.private_key().unwrap())).await;
    keeps_to_the_rules(&*store).await;
    let left = || files(&sshd.root().join("db1/dumps/archives"));
    leaves_nothing(&*store, left).await;
    // A key is nobody else's, and what is stored is for nobody else.
    let folder = sshd.root().join("db1/dumps");
    for (path, mode) in [(folder.clone(), 0o700), (folder.join("archives2"), 0o600)] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    // What is none of ours is not followed and not listed, and goes with its folder.
    std::os::unix::fs::symlink("/etc", folder.join("archives2-link")).unwrap();
    std::fs::create_dir_all(folder.join("odd/folder")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.join("odd/link")).unwrap();
    assert_eq!(listed(&*store, "odd").await, []);
    store.clear("odd").await.unwrap();
    assert!(!folder.join("odd").exists() && Path::new("/etc/passwd").exists());
}

#[tokio::test]
async fn two_nodes_that_create_one_name_are_told_who_did() {
    let sshd = Sshd::start().await.unwrap();
    let key = sshd.private_key().unwrap();
    let (one, other) = (Node::new(), Node::new());
    let one = one.open(place(&sshd, sshd.port()), Some(&key)).await;
    let other = other.open(place(&sshd, sshd.port()), Some(&key)).await;
    for round in 0..10 {
        let name = format!("locks/{round}");
        let (a, b) = tokio::join!(one.create(&name, b"a".to_vec()), other.create(&name, b"b".to_vec()));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a != b, "{a} {b}");
        let expected: &[u8] = if a { b"a" } else { b"b" };
        assert_eq!(one.read(&name, 9).await.unwrap().unwrap(), expected);
    }
    assert_eq!(files(&sshd.root()).len(), 10, "nothing is left of those who were late");
}

#[tokio::test]
async fn refusals_are_told_by_their_kind() {
    let (node, mut sshd) = (Node::new(), Sshd::start().await.unwrap());
    let key = sshd.private_key().unwrap();
    let place = place(&sshd, sshd.port());
    let with = |name: &str, value: Value| {
        let mut place = place.clone();
        place[name] = value;
        place
    };
    let list =
        async |place: Value, key: &str| node.open(place, Some(key)).await.list("archives").await.unwrap_err();
    let stranger = list(place.clone(), &sshd.stranger().unwrap()).await;
    says(&stranger, FailureCode::DestinationDenied, "does not let this user in");
    let no_key = list(place.clone(), "no key at all").await;
    says(&no_key, FailureCode::DestinationDenied, "private key");
    assert!(!format!("{no_key:?}").contains("no key at all"));
    let unknown = list(with("host_keys", json!([])), &key).await;
    says(&unknown, FailureCode::DestinationDenied, "not known to this node");
    let missing = list(with("path", json!(sshd.root().join("missing"))), &key).await;
    says(&missing, FailureCode::DestinationMissing, "mounted");
    std::fs::write(sshd.root().join("file"), "").unwrap();
    let file = list(with("path", json!(sshd.root().join("file"))), &key).await;
    says(&file, FailureCode::DestinationMissing, "no folder");
    let nowhere = list(with("host", json!("nowhere.invalid")), &key).await;
    assert_eq!(nowhere.code, FailureCode::DestinationUnreachable, "{nowhere:?}");

    let known = node.open(place.clone(), Some(&key)).await;
    assert!(known.create("x", vec![1]).await.unwrap());
    sshd.kill().unwrap();
    says(&known.read("x", 9).await.unwrap_err(), FailureCode::DestinationUnreachable, "");
    says(&known.read("x", 9).await.unwrap_err(), FailureCode::DestinationUnreachable, "no SSH server");
    // The same machine, or another one in its place.
    sshd.new_host_key().unwrap();
    sshd.run().await.unwrap();
    says(&known.read("x", 9).await.unwrap_err(), FailureCode::DestinationDenied, "another key");
}

/// A small file system. Dropped, it is unmounted.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(folder: &Path) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(folder).status();
        assert!(status.unwrap().success(), "this test mounts a small file system and needs root for it");
        Self(folder.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_there_is_told_as_one() {
    let (node, sshd) = (Node::new(), Sshd::start().await.unwrap());
    let _small = Small::mount(&sshd.root());
    let dumps = node.open(place(&sshd, sshd.port()), Some(&sshd.private_key().unwrap())).await;
    let failure = store(&*dumps, "archives/a/data", &noise(1, 20 << 20)).await.unwrap_err();
    says(&failure, FailureCode::NoSpace, "no space");
    assert_eq!(files(&sshd.root()), Vec::<String>::new(), "what was half written is gone");
    store(&*dumps, "archives/a/data", &noise(1, 2 << 20)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_in_mid_upload_is_a_failure_and_a_retry_is_clean() {
    let (node, mut sshd) = (Node::new(), Sshd::start().await.unwrap());
    let dumps = node.open(place(&sshd, sshd.port()), Some(&sshd.private_key().unwrap())).await;
    fails_in_time(&*dumps, "archives/a/data", async |n| {
        if n == 20 {
            sshd.kill().unwrap();
        }
    })
    .await;
    sshd.run().await.unwrap();
    assert_eq!(listed(&*dumps, "archives").await, []);
    assert_eq!(files(&sshd.root()), ["data.partial"]);
    dumps.clear("archives/a").await.unwrap();
    store(&*dumps, "archives/a/data", &noise(9, 20 << 20)).await.unwrap();
    assert_eq!(fetched(&*dumps, "archives/a/data").await.unwrap(), noise(9, 20 << 20));
}

#[tokio::test]
async fn a_wire_that_is_cut_is_a_failure_in_time() {
    let (node, sshd) = (Node::new(), Sshd::start().await.unwrap());
    let wire = Wire::to(sshd.port()).await.unwrap();
    let dumps = node.open(place(&sshd, wire.port()), Some(&sshd.private_key().unwrap())).await;
    wire.cut_after(15 << 20);
    fails_in_time(&*dumps, "archives/a/data", async |_| {}).await;
    wire.heal();
    dumps.clear("archives/a").await.unwrap();
    assert_eq!(files(&sshd.root()), Vec::<String>::new());
    let mut upload = dumps.upload("archives/a/data", None).await.unwrap();
    upload.write(Bytes::from_static(b"again")).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(fetched(&*dumps, "archives/a/data").await.unwrap(), b"again");
}
