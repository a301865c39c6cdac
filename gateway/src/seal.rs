//! Encrypting a secret to who needs it. The gateway can write secrets and never read them again.

use crate::app::App;
use crate::problem::Problem;
use age::x25519::Recipient;
use base64::Engine;
use std::io::Write;
use strongroom_bus::Bus;
use strongroom_domain::view::Node;
use strongroom_domain::{Aggregate, Event, Kind, NodeId, SecretRef, server};
use warp::http::StatusCode;

/// Encrypts a secret and stores it under a new reference, which it gives back.
///
/// The reference is drawn: two people who define the same thing at the same moment must not write over each other's
/// secret, of which one would then be lost while the log believes in it.
pub async fn store(bus: &Bus, name: &str, secret: &str, recipient: &str) -> Result<SecretRef, Problem> {
    store_for(bus, name, secret, &[recipient.to_owned()]).await
}

/// The same, to any of these.
async fn store_for(bus: &Bus, name: &str, secret: &str, recipients: &[String]) -> Result<SecretRef, Problem> {
    let fault = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", detail);
    let recipients = recipients.iter().map(|text| text.parse::<Recipient>()).collect::<Result<Vec<_>, _>>();
    let recipients =
        recipients.map_err(|_| fault("the key to encrypt the secret to cannot be read".into()))?;
    let encrypted = || -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let mut ciphertext = Vec::new();
        let mut writer = age::Encryptor::with_recipients(recipients)?.wrap_output(&mut ciphertext)?;
        writer.write_all(secret.as_bytes())?;
        writer.finish()?;
        Ok(ciphertext)
    };
    let ciphertext = encrypted().map_err(|e| fault(format!("the secret cannot be encrypted: {e}")))?;
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
    let joined = recipient_of(app, &server.node).await?;
    let recipient = joined.ok_or_else(|| {
        let detail = format!(
            "node '{}' has never come up, so there is no key to encrypt the {what} to; start its executor first",
            server.node
        );
        Problem::conflict("node_unknown", detail)
    })?;
    store(&app.bus, name, secret, &recipient).await
}

/// The same, to all nodes that have come up so far: a destination is used by any of them. Says which they are.
pub async fn store_for_all_nodes(
    app: &App,
    name: &str,
    what: &str,
    secret: &str,
) -> Result<(SecretRef, Vec<NodeId>), Problem> {
    let (_, last) = app.bus.log_state().await?;
    let (known, _): (Vec<Node>, _) = app.ask("catalog", "nodes", &(), Some(app.bus.position(last))).await?;
    let (nodes, recipients): (Vec<_>, Vec<_>) =
        known.into_iter().map(|node| (node.id, node.joined.age_recipient)).unzip();
    if nodes.is_empty() {
        let detail = format!(
            "no node has ever come up, so there is no key to encrypt the {what} to; start an executor first"
        );
        return Err(Problem::conflict("node_unknown", detail));
    }
    Ok((store_for(&app.bus, name, secret, &recipients).await?, nodes))
}

/// What secrets for a node are encrypted to, when it has ever come up.
async fn recipient_of(app: &App, node: &NodeId) -> Result<Option<String>, Problem> {
    let history = app.bus.journal().load(&Aggregate::new(Kind::Node, node)).await?;
    Ok(history.events.iter().rev().find_map(|e| match &e.event {
        Event::NodeJoined(joined) => Some(joined.age_recipient.clone()),
        _ => None,
    }))
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
