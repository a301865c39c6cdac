//! Waking nodes for what was admitted to them. A wake-up that was lost is sent again; one that comes twice is harmless.

use crate::core::chains::as_given;
use crate::desk::Desk;
use std::collections::HashMap;
use std::time::Duration;
use strongroom_bus::Fault;
use strongroom_domain::job::{JobSpec, Phase};
use strongroom_domain::queue::Admitted;
use strongroom_domain::wire::{SealedSecret, WorkItem};
use strongroom_domain::{JobId, Kind};
use strongroom_service::clock;
use tokio::time::Instant;

/// The longest time between two wake-ups for the same admission: a node that is busy for days needs no more.
const SELDOM: Duration = Duration::from_secs(3600);

/// How long it may take until an admission was read back.
const FOLDED_WITHIN: Duration = Duration::from_secs(2);

/// Who was woken for what, by this scheduler, since its start.
#[derive(Debug, Default)]
pub struct Wakes(HashMap<(JobId, u64), Woken>);

#[derive(Debug, Clone, Copy)]
struct Woken {
    at: Instant,
    pause: Duration,
}

impl Wakes {
    /// Wakes a node for what was just admitted. When that fails, the reconciler does it.
    pub async fn wake(
        &mut self,
        desk: &Desk,
        admitted: &Admitted,
        epoch: u64,
        spec: &JobSpec,
        traceparent: Option<String>,
    ) {
        match emit(desk, admitted, epoch, spec, traceparent.as_deref()).await {
            Ok(()) => self.woken(admitted.job, epoch, desk.config.reconcile_every),
            Err(fault) => {
                tracing::warn!(job = %admitted.job, error = %fault, "its node was not woken; it is tried again");
            }
        }
    }

    /// Compares the log with who was woken, and wakes for every admission that was not begun.
    pub async fn reconcile(&mut self, desk: &Desk) {
        let pending: Vec<_> = {
            let world = desk.world();
            self.0.retain(|(job, epoch), _| {
                world.jobs.get(job).and_then(|j| j.admission.as_ref()).is_some_and(|a| a.epoch == *epoch)
            });
            let admitted = world
                .jobs
                .iter()
                .filter(|(id, job)| job.state.phase == Phase::Waiting && !world.is_halted(Kind::Job, id));
            let admitted = admitted.filter_map(|(id, job)| {
                let admission = job.admission.clone()?;
                Some((*id, admission, job.state.requested.spec.clone(), job.cause.traceparent.clone()))
            });
            admitted.collect()
        };
        for (job, admission, spec, traceparent) in pending {
            let before = self.0.get(&(job, admission.epoch)).copied();
            if before.is_some_and(|woken| woken.at.elapsed() < woken.pause) {
                continue;
            }
            let admitted = Admitted { job, node: admission.node, attempt: admission.attempt };
            match emit(desk, &admitted, admission.epoch, &spec, traceparent.as_deref()).await {
                Ok(()) => {
                    let pause =
                        before.map_or(desk.config.reconcile_every, |woken| (woken.pause * 2).min(SELDOM));
                    self.woken(job, admission.epoch, pause);
                }
                Err(fault) => {
                    tracing::warn!(%job, error = %fault, "its node was not woken; it is tried again")
                }
            }
        }
    }

    fn woken(&mut self, job: JobId, epoch: u64, pause: Duration) {
        self.0.insert((job, epoch), Woken { at: Instant::now(), pause });
    }
}

async fn emit(
    desk: &Desk,
    admitted: &Admitted,
    epoch: u64,
    spec: &JobSpec,
    traceparent: Option<&str>,
) -> Result<(), Fault> {
    let mut secrets = Vec::new();
    for reference in spec.secrets() {
        // One that is not there is the node's to tell: it knows what the job needed it for.
        if let Some(ciphertext) = desk.bus.get_secret(reference).await? {
            secrets.push(SealedSecret { reference: reference.clone(), ciphertext });
        }
    }
    let borg_repository_id = spec.repository().and_then(|id| desk.world().borg_ids.get(id).cloned());
    let expected_bytes = spec.plan().and_then(|plan| desk.world().sizes.get(plan).copied());
    // What is removed is looked at once more, by all that was known when it was admitted.
    if !spec.removed().is_empty() && !desk.reaches(epoch, FOLDED_WITHIN).await {
        return Err(Fault::transient("wake", "what was written up to its admission is not read yet"));
    }
    let (job, attempt) = (admitted.job, admitted.attempt);
    let spec = as_given(&desk.world(), spec, clock::now());
    let item = WorkItem { job, epoch, attempt, spec, borg_repository_id, expected_bytes, secrets };
    desk.bus.emit_work(&admitted.node, &item, traceparent).await
}
