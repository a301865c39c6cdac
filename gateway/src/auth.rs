//! Who may come in. A token is `srt_<name>_<secret>`; the log keeps the SHA-256 of the whole.
//!
//! The token's own aggregate is read from the log, so a token works the moment it is issued and ends the moment it is
//! revoked, whatever the catalog is doing. What was read is remembered until the log says something new about it.

use crate::problem::Problem;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use strongroom_bus::Bus;
use strongroom_domain::token::{Issued, Scope};
use strongroom_domain::{Aggregate, Event, Kind, TokenId};
use strongroom_service::clock;
use subtle::ConstantTimeEq;
use warp::http::{HeaderMap, StatusCode, header};

/// What a token begins with, so that scanners of secrets find it.
pub const PREFIX: &str = "srt_";
/// For how long something is remembered when nothing new is heard of it.
const REMEMBERED: Duration = Duration::from_secs(15);
/// How many are remembered.
const MOST: usize = 10_000;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub token: TokenId,
    /// What it may do.
    pub scope: Scope,
}

/// Tokens that were read.
pub struct Tokens(Mutex<HashMap<TokenId, (Instant, Option<Issued>)>>);

impl Tokens {
    /// None yet.
    pub fn new() -> Self {
        Self(Mutex::default())
    }

    /// Lets a request in, or says why not.
    pub async fn admit(&self, bus: &Bus, headers: &HeaderMap) -> Result<Caller, Problem> {
        let shown = shown(headers).ok_or_else(|| refused("no token was shown"))?;
        let unknown = || refused("the token is not known, was revoked, or has ended");
        let name = name_of(shown).ok_or_else(unknown)?;
        let issued = self.issued(bus, &name).await?.ok_or_else(unknown)?;
        if fits(shown, &issued, clock::now()) {
            Ok(Caller { token: name, scope: issued.scope })
        } else {
            Err(unknown())
        }
    }

    /// Something new was written about a token.
    pub fn forget(&self, name: &str) {
        if let Ok(name) = name.parse::<TokenId>() {
            self.remembered().remove(&name);
        }
    }

    async fn issued(&self, bus: &Bus, name: &TokenId) -> Result<Option<Issued>, Problem> {
        let known = self.remembered().get(name).filter(|(at, _)| at.elapsed() < REMEMBERED).cloned();
        if let Some((_, issued)) = known {
            return Ok(issued);
        }
        let read_at = Instant::now();
        let history = bus.journal().load(&Aggregate::new(Kind::Token, name)).await?;
        let issued = history.events.iter().fold(None, |issued, recorded| match &recorded.event {
            Event::TokenIssued(new) => Some(new.clone()),
            Event::TokenRevoked(_) => None,
            _ => issued,
        });
        let mut remembered = self.remembered();
        if remembered.len() >= MOST {
            // Names that somebody tries out must not fill the memory.
            remembered.clear();
        }
        remembered.insert(name.clone(), (read_at, issued.clone()));
        Ok(issued)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<TokenId, (Instant, Option<Issued>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new token's text.
pub fn draw(name: &TokenId) -> String {
    let secret: [u8; 32] = rand::random();
    use base64::Engine;
    format!("{PREFIX}{name}_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret))
}

/// The SHA-256 of a token's text, hex.
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let bearer = text("authorization").and_then(|v| v.split_once(' '));
    let bearer =
        bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    bearer.or_else(|| text("x-api-token"))
}

fn name_of(shown: &str) -> Option<TokenId> {
    // A name holds no underscore, and the secret may.
    let (name, secret) = shown.strip_prefix(PREFIX)?.split_once('_')?;
    (!secret.is_empty()).then(|| name.parse().ok())?
}

fn fits(shown: &str, issued: &Issued, now: Timestamp) -> bool {
    let same = bool::from(digest(shown).as_bytes().ct_eq(issued.sha256.as_bytes()));
    same && issued.expires_at.is_none_or(|end| now < end)
}

fn refused(detail: &str) -> Problem {
    let how = "send 'Authorization: Bearer <token>'";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", format!("{detail}; {how}"))
        .with(header::WWW_AUTHENTICATE, "Bearer realm=\"strongroom\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_token_fits_only_itself_and_only_until_it_ends() {
        let name: TokenId = "ci-1".parse().unwrap();
        let text = draw(&name);
        assert_eq!(name_of(&text), Some(name.clone()));
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut issued = Issued {
            sha256: digest(&text),
            scope: Scope::Read,
            description: String::new(),
            expires_at: None,
        };
        assert!(fits(&text, &issued, now));
        assert!(!fits(&draw(&name), &issued, now));
        issued.expires_at = Some(now);
        assert!(!fits(&text, &issued, now));
        for bad in ["", "srt_", "srt_ci-1_", "srt_A_x", "other", "srt_ci-1"] {
            assert_eq!(name_of(bad), None, "{bad}");
        }
    }
}
