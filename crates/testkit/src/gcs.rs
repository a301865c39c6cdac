//! What answers as Google Cloud Storage does to its "XML API": the S3 server, whose requests differ in the names of headers
//! and in who is let in. No emulator that is to be had knows uploads in parts and conditions over this API.

use crate::s3::{S3, rename};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode};
use std::process::Command;

/// Whom it lets in.
const ACCOUNT: &str = "backup@example-project.iam.gserviceaccount.com";
const CONDITION: &str = "x-goog-if-generation-match";

/// The server, with one bucket that is called `bucket`.
pub struct Gcs {
    /// What is beneath.
    pub server: S3,
    private_key: String,
}

impl Gcs {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        Ok(Self { server: S3::start_as(None, Some(Box::new(translate))).await?, private_key: key()? })
    }

    /// The key of an account, as Google gives it out.
    pub fn service_account(&self) -> String {
        self.account(ACCOUNT)
    }

    /// The key of an account that is not let in.
    pub fn stranger(&self) -> String {
        self.account("stranger@example-project.iam.gserviceaccount.com")
    }

    fn account(&self, email: &str) -> String {
        let account = serde_json::json!({
            "type": "service_account", "project_id": "example-project", "private_key_id": "0123456789abcdef",
            "private_key": self.private_key, "client_email": email, "client_id": "1",
        });
        account.to_string()
    }
}

fn translate(request: &mut Request<Incoming>) -> Result<(), StatusCode> {
    let bearer = request.headers_mut().remove(AUTHORIZATION);
    let bearer = bearer.as_ref().and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // A token that the client has signed itself: who it is stands in its middle.
    let claims = bearer.and_then(|token| BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok());
    let claims: Option<serde_json::Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    if claims.is_none_or(|claims| claims.get("iss").and_then(|iss| iss.as_str()) != Some(ACCOUNT)) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if request.headers_mut().remove(CONDITION).is_some_and(|generation| generation == "0") {
        request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    rename(request.headers_mut(), "x-goog-", "x-amz-");
    Ok(())
}

/// An RSA key in PKCS#8.
fn key() -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "", "-f"])
        .arg(&file)
        .output()
        .context("ssh-keygen")?;
    ensure!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
    Ok(std::fs::read_to_string(file)?)
}
