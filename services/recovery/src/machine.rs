//! What the machine can do, looked at now and then.

use crate::{Config, borg, docker, fuse};
use std::sync::{Mutex as Shared, PoisonError};
use std::time::Duration;
use strongroom_domain::view::Capabilities;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old an answer to a question may be.
const FRESH: Duration = Duration::from_secs(10);

/// The machine.
pub struct Machine {
    config: Config,
    /// Held while looking, so that many who ask at once look once.
    looked_at: Mutex<Option<Instant>>,
    known: Shared<Option<Capabilities>>,
}

impl Machine {
    /// One that was not looked at yet.
    pub fn new(config: Config) -> Self {
        Self { config, looked_at: Mutex::default(), known: Shared::default() }
    }

    /// Looks at the start and again and again, for ever.
    pub async fn keep_looking(&self) {
        loop {
            self.look(self.config.check_every).await;
            tokio::time::sleep(self.config.check_every).await;
        }
    }

    /// What it can do, at most ten seconds ago.
    pub async fn now(&self) -> Capabilities {
        self.look(FRESH).await
    }

    /// What was last seen, without looking; `None` before the first look has ended.
    pub fn last_seen(&self) -> Option<Capabilities> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn look(&self, max_age: Duration) -> Capabilities {
        let mut looked_at = self.looked_at.lock().await;
        let known = self.last_seen();
        if let Some(known) = known.clone().filter(|_| looked_at.is_some_and(|at| at.elapsed() < max_age)) {
            return known;
        }
        let Config { docker_socket, fuse_device, fusermount, borg, .. } = &self.config;
        let (docker, fuse, borg) =
            tokio::join!(docker::look(docker_socket), fuse::look(fuse_device, fusermount), borg::look(borg));
        let seen = Capabilities { docker, fuse, borg };
        if known.as_ref() != Some(&seen) {
            tell(&seen);
        }
        *looked_at = Some(Instant::now());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
        seen
    }
}

/// Told once, and again when it changes.
fn tell(seen: &Capabilities) {
    for (name, part) in [("docker", &seen.docker), ("fuse", &seen.fuse), ("borg", &seen.borg)] {
        match &part.problem {
            None => tracing::info!(part = name, version = part.version, "usable for instant recovery"),
            Some(problem) => tracing::warn!(part = name, problem, "not usable for instant recovery"),
        }
    }
}
