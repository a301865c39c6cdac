//! The archives that a server is put together from: all of them, each fitting the one below.

use crate::control::NoOutcome;
use crate::dump_store::Opened;
use crate::jobs::Bench;
use crate::jobs::restore_database::origin::Origin;
use serde_json::Value;
use strongroom_domain::archive::{Artefact, Dump, Target};
use strongroom_domain::chain::{Physical, Position, Until};
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
    pub position: Position,
    /// What was written down besides.
    pub properties: Value,
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
        let (dump, properties) = (manifest.dump, manifest.properties);
        let Some(Physical { position, base, .. }) = dump.physical.as_deref().cloned() else {
            let message =
                format!("{} holds no whole server; what it holds is restored by itself", target.name);
            return Err(Failure::new(FailureCode::PathNotInArchive, message).into());
        };
        Ok(Self { name: target.name.clone(), origin, dump, position, properties, base })
    }

    /// What holds the server, or what has changed in it.
    pub fn main(&self) -> Result<&Artefact, Failure> {
        self.part(match (&self.base, &self.position) {
            (None, _) => "base",
            (Some(_), Position::Postgresql(position)) if position.blocks.is_none() => "wal",
            (Some(_), Position::Postgresql(_) | Position::Mysql(_)) => "changes",
        })
    }

    /// Its part of this kind.
    fn part(&self, kind: &str) -> Result<&Artefact, Failure> {
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
        chain.full.main()?;
        chain.more.iter().try_for_each(|link| link.main().map(|_| ()))?;
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

    /// Whether what is on top of the full one are changed blocks of a PostgreSQL server's files.
    pub fn is_of_blocks(&self) -> bool {
        matches!(&self.full.position, Position::Postgresql(position) if position.blocks.is_some())
    }

    /// From where on it can be restored, and up to where.
    pub fn ends(&self) -> (&Position, &Position) {
        let last = &self.last().position;
        if self.holds_moments() { (&self.full.position, last) } else { (last, last) }
    }

    /// Whether moments between the ends of archives are held as well.
    fn holds_moments(&self) -> bool {
        matches!(&self.full.position, Position::Postgresql(_)) && !self.is_of_blocks()
    }

    /// The last one.
    pub fn last(&self) -> &Link<'a> {
        self.more.last().unwrap_or(&self.full)
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        std::iter::once(&self.full).chain(&self.more).map(|link| link.name.clone()).collect()
    }

    /// Bytes of what is taken out of them.
    pub fn size_bytes(&self) -> u64 {
        let links = std::iter::once(&self.full).chain(&self.more);
        let parts = links.filter_map(|link| link.main().ok());
        parts.map(|part| part.size_bytes).sum()
    }

    /// Whether a moment is in what they hold.
    pub fn holds(&self, until: Option<Until>) -> Result<(), Failure> {
        let Some(until) = until else { return Ok(()) };
        let one_moment_each = || {
            let message = "these archives hold one moment each: restore the last one before that, and leave the moment out";
            Failure::new(FailureCode::UntilNotHeld, message)
        };
        if !self.holds_moments() {
            return Err(one_moment_each());
        }
        let (Position::Postgresql(first), Position::Postgresql(last)) = self.ends() else {
            return Err(one_moment_each());
        };
        let held = match until {
            _ if self.more.is_empty() => {
                let message = format!(
                    "{} holds the server as it was at {} and no changes; leave the moment out",
                    self.full.name, first.stopped_at
                );
                return Err(Failure::new(FailureCode::UntilNotHeld, message));
            }
            Until::Time(at) => first.stopped_at <= at && at <= last.stopped_at,
            Until::Lsn(lsn) => first.stop_lsn <= lsn && lsn <= last.stop_lsn,
        };
        if held {
            return Ok(());
        }
        let message = format!(
            "{until} is not in what the archives hold: that begins at {} ({}) and ends at {} ({})",
            first.stopped_at, first.stop_lsn, last.stopped_at, last.stop_lsn
        );
        Err(Failure::new(FailureCode::UntilNotHeld, message))
    }
}

/// Whether one goes on where the other ends.
fn fits(below: &Link<'_>, above: &Link<'_>) -> Result<(), Failure> {
    let fits = match (&below.position, &above.position) {
        (Position::Postgresql(below), Position::Postgresql(above)) => {
            below.system_identifier == above.system_identifier
                && below.timeline == above.timeline
                && below.segment_bytes == above.segment_bytes
                && match (&below.blocks, &above.blocks) {
                    (None, None) => below.stop_lsn == above.start_lsn,
                    (Some(_), Some(blocks)) => blocks.since_lsn == Some(below.start_lsn),
                    _ => false,
                }
        }
        (Position::Mysql(below), Position::Mysql(above)) => {
            below.data_id == above.data_id && below.series == above.series && below.to_lsn == above.from_lsn
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let message = format!("{} does not go on where {} ends", above.name, below.name);
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
