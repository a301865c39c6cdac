//! The archives that a server is put together from: all of them, each fitting the one below.

use crate::control::NoOutcome;
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::jobs::restore_database::origin::Origin;
use strongroom_domain::archive::{Artefact, Dump, Target};
use strongroom_domain::chain::{Physical, Position, Until, WalPosition};
use strongroom_domain::job::RestoreClusterSpec;
use strongroom_domain::{Failure, FailureCode};

/// More than any plan makes.
const LONGEST: usize = 2000;

/// They, the full one first.
pub struct Chain<'a> {
    full: Link<'a>,
    more: Vec<Link<'a>>,
}

/// One of them.
pub struct Link<'a> {
    /// Its name.
    pub name: String,
    /// Where its parts are.
    pub origin: Origin<'a>,
    /// What was taken.
    pub dump: Dump,
    /// From where to where it goes.
    pub position: WalPosition,
    base: Option<Target>,
}

impl<'a> Link<'a> {
    async fn find(
        bench: &Bench<'_>,
        spec: &'a RestoreClusterSpec,
        target: &Target,
        store: Option<&'a Opened<'a>>,
    ) -> Result<Self, NoOutcome> {
        let (origin, manifest) = Origin::of(bench, &spec.access, target, store).await?;
        let dump = manifest.dump;
        let Some(Physical { position: Position::Postgresql(position), base, .. }) =
            dump.physical.as_deref().cloned()
        else {
            let message =
                format!("{} holds no whole server; what it holds is restored by itself", target.name);
            return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
        };
        Ok(Self { name: target.name.clone(), origin, dump, position, base })
    }

    /// Its part of this kind.
    pub fn part(&self, kind: &str) -> Result<&Artefact, Failure> {
        let part = self.dump.artefacts.iter().find(|a| a.kind == kind);
        part.ok_or_else(|| {
            let message = format!("the archive {} has no part of the kind '{kind}'", self.name);
            Failure::new(FailureCode::PathNotInArchive, message)
        })
    }
}

impl<'a> Chain<'a> {
    /// Follows an archive down to the full one that it needs.
    pub async fn find(
        bench: &Bench<'_>,
        spec: &'a RestoreClusterSpec,
        store: Option<&'a Opened<'a>>,
    ) -> Result<Self, NoOutcome> {
        let mut link = Link::find(bench, spec, &spec.archive, store).await?;
        let mut more = Vec::new();
        while let Some(base) = link.base.clone() {
            let below =
                Link::find(bench, spec, &base, store).await.map_err(|e| needed(&link.name, &base, e))?;
            fits(&below, &link)?;
            more.push(link);
            link = below;
            if more.len() > LONGEST {
                let message = format!("{} needs more than {LONGEST} archives", spec.archive.name);
                return Err(Failure::new(FailureCode::ArchiveDamaged, message).into());
            }
        }
        more.reverse();
        let chain = Self { full: link, more };
        chain.full.part("base")?;
        chain.more.iter().try_for_each(|link| link.part("wal").map(|_| ()))?;
        Ok(chain)
    }

    /// The full one.
    pub fn full(&self) -> &Link<'a> {
        &self.full
    }

    /// Those on top of it, in their order.
    pub fn more(&self) -> &[Link<'a>] {
        &self.more
    }

    /// From where on it can be restored.
    pub fn first(&self) -> &WalPosition {
        &self.full.position
    }

    /// Up to where.
    pub fn last(&self) -> &WalPosition {
        self.more.last().map_or(&self.full.position, |link| &link.position)
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        std::iter::once(&self.full).chain(&self.more).map(|link| link.name.clone()).collect()
    }

    /// Bytes of what is taken out of them.
    pub fn size_bytes(&self) -> u64 {
        let parts =
            self.full.part("base").into_iter().chain(self.more.iter().flat_map(|link| link.part("wal")));
        parts.map(|part| part.size_bytes).sum()
    }

    /// Whether a moment is in what they hold.
    pub fn holds(&self, until: Option<Until>) -> Result<(), Failure> {
        let (first, last) = (self.first(), self.last());
        let held = match until {
            None => return Ok(()),
            Some(_) if self.more.is_empty() => {
                let message = format!(
                    "{} holds the server as it was at {} and no changes; leave the moment out",
                    self.full.name, first.stopped_at
                );
                return Err(Failure::new(FailureCode::UntilNotHeld, message));
            }
            Some(Until::Time(at)) => first.stopped_at <= at && at <= last.stopped_at,
            Some(Until::Lsn(lsn)) => first.stop_lsn <= lsn && lsn <= last.stop_lsn,
        };
        if held {
            return Ok(());
        }
        let message = format!(
            "{} is not in what the archives hold: that begins at {} ({}) and ends at {} ({})",
            until.map(|until| until.to_string()).unwrap_or_default(),
            first.stopped_at,
            first.stop_lsn,
            last.stopped_at,
            last.stop_lsn
        );
        Err(Failure::new(FailureCode::UntilNotHeld, message))
    }
}

/// Whether one goes on where the other ends.
fn fits(below: &Link<'_>, above: &Link<'_>) -> Result<(), Failure> {
    let place = |position: &WalPosition| {
        (position.system_identifier.clone(), position.timeline, position.segment_bytes)
    };
    if place(&below.position) == place(&above.position) && below.position.stop_lsn == above.position.start_lsn
    {
        return Ok(());
    }
    let message = format!(
        "{} does not go on where {} ends: that is {} on timeline {}, and it begins at {} on timeline {}",
        above.name,
        below.name,
        below.position.stop_lsn,
        below.position.timeline,
        above.position.start_lsn,
        above.position.timeline
    );
    Err(Failure::new(FailureCode::ArchiveDamaged, message))
}

fn needed(by: &str, base: &Target, why: NoOutcome) -> NoOutcome {
    match why {
        NoOutcome::Failed(failure) => {
            let message = format!("{by} needs {}: {}", base.name, failure.message);
            Failure { message, ..failure }.into()
        }
        stopped => stopped,
    }
}
