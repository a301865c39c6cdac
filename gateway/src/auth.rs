//! Who may come in. A token is `srt_<name>_<secret>`; the log keeps the SHA-256 of the whole.
//!
//! The token's own aggregate is read from the log, so a token works the moment it is issued and ends the moment it is
//! revoked, whatever the catalog is doing. What was read is remembered until the log says something new about it.

use crate::problem::Problem;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strongroom_bus::{Bus, Fault};
use strongroom_domain::token::{Issued, Scope};
use strongroom_domain::{Aggregate, Event, Kind, TokenId};
use strongroom_service::clock;
use subtle::ConstantTimeEq;
use tokio::sync::broadcast;
use warp::http::{HeaderMap, StatusCode, header};

/// What a token begins with, so that scanners of secrets find it.
pub const PREFIX: &str = "srt_";
/// For how long something is remembered when nothing new is heard of it.
const REMEMBERED: Duration = Duration::from_secs(15);
/// How many are remembered.
const MOST: usize = 10_000;
/// Changes that a listener may not have taken yet; one that missed some looks for itself.
const CHANGES: usize = 256;

/// How often a history that is behind what was heard of its token is read again, and the pause in between.
const LOOKS: u32 = 25;
/// That pause.
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub token: TokenId,
    /// What it may do.
    pub scope: Scope,
    /// The token as it was shown: another one under the same name is not this caller.
    pub issued: Issued,
}

/// Tokens that were read.
pub struct Tokens {
    memory: Mutex<Memory>,
    changes: broadcast::Sender<TokenId>,
}

/// What is known of tokens.
#[derive(Default)]
struct Memory {
    /// What was read, and when.
    read: HashMap<TokenId, (Instant, Option<Issued>)>,
    /// The newest fact that was heard of.
    heard: HashMap<TokenId, u64>,
}

impl Memory {
    fn recall(&self, name: &TokenId) -> Option<Option<Issued>> {
        self.read.get(name).filter(|(at, _)| at.elapsed() < REMEMBERED).map(|(_, issued)| issued.clone())
    }

    fn hear(&mut self, name: &TokenId, sequence: u64) {
        self.read.remove(name);
        let heard = self.heard.entry(name.clone()).or_default();
        *heard = sequence.max(*heard);
    }

    /// Takes in what was read up to `sequence`; refuses what is older than what was heard of. A replica that lags, or a
    /// revocation while the history was on its way, must not let anybody in again.
    fn take_in(&mut self, name: &TokenId, sequence: u64, issued: Option<Issued>, at: Instant) -> bool {
        if self.heard.get(name).is_some_and(|heard| sequence < *heard) {
            return false;
        }
        if self.read.len() >= MOST {
            // Names that somebody tries out must not fill the memory.
            self.read.clear();
        }
        self.read.insert(name.clone(), (at, issued));
        true
    }
}

impl Tokens {
    /// None yet.
    pub fn new() -> Self {
        Self { memory: Mutex::default(), changes: broadcast::Sender::new(CHANGES) }
    }

    /// Lets a request in, or says why not.
    pub async fn admit(&self, bus: &Bus, headers: &HeaderMap) -> Result<Caller, Problem> {
        let shown = shown(headers).ok_or_else(|| refused("no token was shown"))?;
        let unknown = || refused("the token is not known, was revoked, or has ended");
        let name = name_of(shown).ok_or_else(unknown)?;
        let issued = self.issued(bus, &name).await?.ok_or_else(unknown)?;
        if fits(shown, &issued, clock::now()) {
            Ok(Caller { token: name, scope: issued.scope, issued })
        } else {
            Err(unknown())
        }
    }

    /// A fact about a token stands at this sequence.
    pub fn hear(&self, name: &TokenId, sequence: u64) {
        self.memory().hear(name, sequence);
        // Nobody may be listening.
        let _ = self.changes.send(name.clone());
    }

    /// Whether the caller is let in still, as far as the log answers.
    pub async fn is_let_in(&self, bus: &Bus, caller: &Caller) -> bool {
        let issued = self.issued(bus, &caller.token).await;
        issued.is_ok_and(|issued| issued.as_ref() == Some(&caller.issued))
    }

    /// Returns when the caller is not let in any more.
    pub async fn until_ended(&self, bus: &Bus, caller: &Caller) {
        let mut changes = self.changes.subscribe();
        loop {
            let now = clock::now();
            let left = caller
                .issued
                .expires_at
                .map_or(REMEMBERED, |end| Duration::try_from(end.duration_since(now)).unwrap_or_default());
            if left.is_zero() {
                return;
            }
            // A log that does not answer says nothing about anybody.
            if let Ok(issued) = self.issued(bus, &caller.token).await
                && issued.as_ref() != Some(&caller.issued)
            {
                return;
            }
            let look_again = tokio::time::sleep(left.min(REMEMBERED));
            tokio::pin!(look_again);
            loop {
                tokio::select! {
                    () = &mut look_again => break,
                    changed = changes.recv() => match changed {
                        Ok(name) if name != caller.token => {}
                        Ok(_) | Err(_) => break,
                    },
                }
            }
        }
    }

    async fn issued(&self, bus: &Bus, name: &TokenId) -> Result<Option<Issued>, Problem> {
        if let Some(issued) = self.memory().recall(name) {
            return Ok(issued);
        }
        for _ in 0..LOOKS {
            let at = Instant::now();
            let history = bus.journal().load(&Aggregate::new(Kind::Token, name)).await?;
            let issued = history.events.iter().fold(None, |issued, recorded| match &recorded.event {
                Event::TokenIssued(new) => Some(new.clone()),
                Event::TokenRevoked(_) => None,
                _ => issued,
            });
            if self.memory().take_in(name, history.head.sequence, issued.clone(), at) {
                return Ok(issued);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(Fault::Transient(format!("no replica shows what was heard of token '{name}'")).into())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn issued(sha256: &str) -> Issued {
        Issued { sha256: sha256.into(), scope: Scope::Read, description: String::new(), expires_at: None }
    }

    #[test]
    fn what_was_read_before_a_revocation_lets_nobody_in_after_it() {
        let (mut memory, name) = (Memory::default(), "ci".parse().unwrap());
        assert!(memory.take_in(&name, 5, Some(issued("a")), Instant::now()));
        assert_eq!(memory.recall(&name), Some(Some(issued("a"))));
        // It is revoked while another request reads its history.
        memory.hear(&name, 9);
        assert_eq!(memory.recall(&name), None);
        assert!(!memory.take_in(&name, 5, Some(issued("a")), Instant::now()));
        assert_eq!(memory.recall(&name), None);
        assert!(memory.take_in(&name, 9, None, Instant::now()));
        assert_eq!(memory.recall(&name), Some(None));
        // Word of something older comes late.
        memory.hear(&name, 5);
        assert!(!memory.take_in(&name, 5, Some(issued("a")), Instant::now()));
    }

    #[test]
    fn memory_is_bounded_and_short() {
        let mut memory = Memory::default();
        for n in 0..=MOST {
            assert!(memory.take_in(&format!("t{n}").parse().unwrap(), 0, None, Instant::now()));
        }
        assert!(memory.read.len() <= MOST);
        let (name, long_ago) = ("old".parse().unwrap(), Instant::now().checked_sub(REMEMBERED));
        if let Some(long_ago) = long_ago {
            assert!(memory.take_in(&name, 1, Some(issued("a")), long_ago));
            assert_eq!(memory.recall(&name), None);
        }
    }

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
