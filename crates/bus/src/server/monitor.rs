//! What nats-server says about itself on its monitoring port, and whether that is safe for the log.
//!
//! The accident that this file prevents: with its default settings the server acknowledges events that are not on disk,
//! and a power cut lost all of them; and below 2.15.1 even the right setting was not always followed.

use super::binary::{MINIMUM, parse_version};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why the server is not fit to keep the log.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It does not answer.
    #[error("nats-server does not answer on its monitoring port {address}: {problem}")]
    Silent {
        /// Where it was asked.
        address: String,
        /// What went wrong.
        problem: String,
    },
    /// It is too old.
    #[error(
        "nats-server {found} is running, but at least 2.15.1 is needed; install a newer one and restart it"
    )]
    TooOld {
        /// Its version.
        found: String,
    },
    /// It acknowledges what is not on disk.
    #[error(
        "nats-server runs without 'sync_interval: always', so acknowledged events can be lost at a power cut; \
         set it in its 'jetstream' block and restart it"
    )]
    NotSynced,
    /// It keeps no streams.
    #[error("nats-server runs without JetStream; use the configuration that 'strongroom provision' writes")]
    NoJetStream,
}

/// The most that an answer may have, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Checks version and settings of the server whose monitoring port is at `address`, `host:port`.
pub async fn check(address: &str) -> Result<(), Unfit> {
    check_settings(&varz(address).await?)
}

/// What `/varz` must say for the log to be safe.
pub fn check_settings(varz: &Value) -> Result<(), Unfit> {
    let version = varz.get("version").and_then(Value::as_str).unwrap_or_default();
    if parse_version(version).is_none_or(|v| v < MINIMUM) {
        return Err(Unfit::TooOld { found: version.to_owned() });
    }
    let Some(config) = varz.pointer("/jetstream/config") else { return Err(Unfit::NoJetStream) };
    match config.get("sync_always").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => Err(Unfit::NotSynced),
    }
}

/// The server's general state.
pub async fn varz(address: &str) -> Result<Value, Unfit> {
    let silent = |problem: String| Unfit::Silent { address: address.to_owned(), problem };
    let (status, body) = get(address, "/varz").await.map_err(|e| silent(e.to_string()))?;
    if status != 200 {
        return Err(silent(format!("it answered with status {status}")));
    }
    serde_json::from_slice(&body).map_err(|e| silent(e.to_string()))
}

/// Whether the server has its streams together and serves them.
pub async fn is_healthy(address: &str) -> bool {
    matches!(get(address, "/healthz").await, Ok((200, _)))
}

/// One GET. HTTP/1.0, so that the answer is plain and ends with the connection.
async fn get(address: &str, path: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(3), exchange)
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))
        .flatten()?;
    split(&answer).ok_or_else(|| std::io::Error::other("it does not speak HTTP"))
}

fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.get(end + 4..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_new_server_that_syncs_always_is_fit() {
        let varz =
            |version: &str, config: Value| json!({ "version": version, "jetstream": { "config": config } });
        let synced = json!({ "sync_always": true });
        assert!(check_settings(&varz("2.15.1", synced.clone())).is_ok());
        assert!(check_settings(&varz("2.16.0-RC.1", synced.clone())).is_ok());
        assert!(
            matches!(check_settings(&varz("2.9.22", synced)), Err(Unfit::TooOld { found }) if found == "2.9.22")
        );
        let lax = json!({ "sync_interval": 120_000_000_000_u64 });
        assert!(matches!(check_settings(&varz("2.15.1", lax)), Err(Unfit::NotSynced)));
        assert!(matches!(check_settings(&json!({ "version": "2.15.1" })), Err(Unfit::NoJetStream)));
        assert!(matches!(check_settings(&json!({})), Err(Unfit::TooOld { .. })));
    }

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        assert_eq!(split(b"HTTP/1.0 503 No\r\nA: b\r\n\r\nbody"), Some((503, b"body".to_vec())));
        assert_eq!(split(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(split(b""), None);
    }
}
