//! The way out: signed HTTP POSTs, as Standard Webhooks 1.0.0 describes them.

use crate::core::answer::Answer;
use crate::core::signature::SigningKey;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use std::error::Error;
use std::time::Duration;

/// How long the other side may take for everything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The client. Redirects are not followed, and of an answer only status and headers are read, so that no other side can
/// send us elsewhere or fill our memory.
pub struct Webhook {
    client: Result<reqwest::Client, String>,
    /// What is limited about it, for people.
    pub problem: Option<String>,
}

/// A message, ready to be sent.
pub struct Message<'a> {
    /// Where to.
    pub url: &'a str,
    /// The same for every attempt.
    pub id: &'a str,
    /// What signs it.
    pub key: &'a SigningKey,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Webhook {
    /// A client with the machine's certificates. Without any it still serves addresses without TLS, and says so.
    pub fn new() -> Self {
        // The first provider in a process stays; it is the same for all of our services.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match builder().build() {
            Ok(client) => Self { client: Ok(client), problem: None },
            Err(e) => {
                let cause = root_cause(&e);
                let problem = format!(
                    "Webhooks to https addresses fail: {cause}. Install the certificates of your system (package 'ca-certificates') and restart."
                );
                let client = builder().tls_certs_only([]).build().map_err(|e| root_cause(&e));
                Self { client, problem: Some(problem) }
            }
        }
    }

    /// Sends a message once.
    pub async fn send(&self, message: Message<'_>, now: Timestamp) -> Answer {
        let client = match &self.client {
            Ok(client) => client,
            Err(problem) => return Answer::none(format!("webhooks cannot be sent: {problem}")),
        };
        let timestamp_s = now.as_second();
        let signature = message.key.sign(message.id, timestamp_s, &message.body);
        let sent = client
            .post(message.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", timestamp_s.to_string())
            .header("webhook-signature", signature)
            .body(message.body)
            .send()
            .await;
        match sent {
            Ok(response) => {
                let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
                Answer::of_http(response.status().as_u16(), retry_after, now)
            }
            Err(e) if e.is_timeout() => Answer::none(format!("no answer within {} s", TIMEOUT.as_secs())),
            Err(e) => Answer::none(root_cause(&e)),
        }
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
}

/// The innermost cause. The outer ones quote the address, which can hold a token and must not come into the log.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::eq(cause, error) { "the request could not be made".into() } else { cause.to_string() }
}
