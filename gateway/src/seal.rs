//! Encrypting a secret to who needs it. The gateway can write secrets and never read them again.

use crate::app::App;
use crate::problem::Problem;
use base64::Engine;
use strongroom_bus::Bus;
use strongroom_domain::{Aggregate, Event, Kind, SecretRef, server};
use warp::http::StatusCode;

/// Encrypts a secret and stores it under a new reference, which it gives back.
///
/// The reference is drawn: two people who define the same thing at the same moment must not write over each other's
/// secret, of which one would then be lost while the log believes in it.
pub async fn store(bus: &Bus, name: &str, secret: &str, recipient: &str) -> Result<SecretRef, Problem> {
    let recipient: age::x25519::Recipient = recipient.parse().map_err(|_| {
        let detail = "the key to encrypt the secret to cannot be read";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail)
    })?;
    let ciphertext = age::encrypt(&recipient, secret.as_bytes()).map_err(|e| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "fault",
            format!("the secret cannot be encrypted: {e}"),
        )
    })?;
    let reference = SecretRef { reference: format!("{name}-{}", uuid::Uuid::now_v7().simple()), version: 1 };
    bus.put_secret(&reference, ciphertext).await?;
    Ok(reference)
}

/// The same, to the node that works for a server. `what` is the word for people.
pub async fn store_for_node(
    app: &App,
    name: &str,
    what: &str,
    secret: &str,
    server: &server::Spec,
) -> Result<SecretRef, Problem> {
    let history = app.bus.journal().load(&Aggregate::new(Kind::Node, &server.node)).await?;
    let joined = history.events.iter().rev().find_map(|e| match &e.event {
        Event::NodeJoined(joined) => Some(joined.age_recipient.clone()),
        _ => None,
    });
    let recipient = joined.ok_or_else(|| {
        let detail = format!(
            "node '{}' has never come up, so there is no key to encrypt the {what} to; start its executor first",
            server.node
        );
        Problem::conflict("node_unknown", detail)
    })?;
    store(&app.bus, name, secret, &recipient).await
}

/// A passphrase of 256 bits, of letters and digits that survive being copied.
pub fn draw_passphrase() -> String {
    let bytes: [u8; 32] = rand::random();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A signing secret as Standard Webhooks writes it.
pub fn draw_signing_secret() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Whether a signing secret is one that the standard allows: 24 to 64 bytes.
pub fn is_signing_secret(text: &str) -> bool {
    let bytes =
        text.strip_prefix("whsec_").and_then(|b| base64::engine::general_purpose::STANDARD.decode(b).ok());
    bytes.is_some_and(|b| (24..=64).contains(&b.len()))
}
