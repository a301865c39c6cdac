//! Facts that follow from other facts and from the clock.

use crate::core::cause::Cause;
use crate::core::due::Due;
use crate::core::triggers::due;
use crate::core::upkeep::upkeep as upkeep_of;
use crate::core::{copying, indexing, inventory, lateness, retention};
use crate::desk::Desk;
use jiff::Timestamp;
use strongroom_bus::{AppendError, Context, Head, NewEvent};
use strongroom_domain::archive::Deleted;
use strongroom_domain::job::Requested;
use strongroom_domain::{Aggregate, Event, EventId, JobId, Kind};
use strongroom_service::clock;

/// The actor of what a scheduler does by itself.
pub const ACTOR: &str = "service:scheduler";

/// Appends; a lost race and a log that gives no answer are the same here: the world is looked at again.
pub async fn append(
    desk: &Desk,
    aggregate: &Aggregate,
    head: &Head,
    new: &NewEvent,
    context: &Context,
) -> bool {
    match desk.bus.journal().append(aggregate, head, new, context).await {
        Ok(_) => true,
        Err(AppendError::Conflict) => {
            tracing::debug!(%aggregate, "another writer was first");
            true
        }
        Err(AppendError::Fault(fault)) => {
            tracing::warn!(%aggregate, error = %fault, "a fact could not be written; it is tried again");
            false
        }
    }
}

/// Asks for the jobs of triggers that fired.
pub async fn requests_of_triggers(desk: &Desk) -> bool {
    let fired: Vec<_> = {
        let world = desk.world();
        let fired = world.fired.iter().filter(|(job, _)| !world.is_halted(Kind::Job, job));
        fired.map(|(job, fired)| (*job, fired.clone())).collect()
    };
    let mut wrote = false;
    for (job, fired) in fired {
        match fired.request {
            Ok(requested) => {
                let new = NewEvent {
                    id: EventId::of_command(&format!("request/{job}"), 0),
                    at: clock::now(),
                    event: Event::JobRequested(requested),
                };
                let mut context = fired.cause.context(ACTOR.to_owned(), None);
                context.correlation = Some(job.to_string());
                // It must be the job's first event: who comes second finds it there.
                wrote |= append(desk, &job_aggregate(job), &Head::default(), &new, &context).await;
            }
            // The gateway deletes nothing that a plan uses, so this is a damaged log and worth a loud word.
            Err(reason) => tracing::error!(%job, reason, "a trigger fired whose job cannot be said"),
        }
    }
    wrote
}

/// Asks for looks into repositories that nobody has looked into for too long.
pub async fn inventories(desk: &Desk) -> bool {
    let now = clock::now();
    let due = inventory::due(&desk.world(), now);
    let mut wrote = false;
    for (job, requested) in due {
        let id = EventId::of_command(&format!("request/{job}"), 0);
        let new = NewEvent { id, at: now, event: Event::JobRequested(requested) };
        let context = Context { correlation: Some(job.to_string()), ..Context::service("scheduler") };
        wrote |= append(desk, &job_aggregate(job), &Head::default(), &new, &context).await;
    }
    wrote
}

/// Asks for indexes of the files in new archives.
pub async fn indexes(desk: &Desk) -> bool {
    let due = indexing::due(&desk.world());
    ask_for(desk, due.into_iter().map(|(job, requested, backup)| (job, requested, backup.cause))).await
}

/// Asks for copies of new archives into other repositories.
pub async fn copies(desk: &Desk) -> bool {
    let due = copying::due(&desk.world());
    ask_for(desk, due.into_iter().map(|(job, requested, copy)| (job, requested, copy.cause))).await
}

/// Asks for jobs that follow from other facts.
async fn ask_for(desk: &Desk, due: impl Iterator<Item = (JobId, Requested, Cause)>) -> bool {
    let mut wrote = false;
    for (job, requested, cause) in due {
        let id = EventId::of_command(&format!("request/{job}"), 0);
        let new = NewEvent { id, at: clock::now(), event: Event::JobRequested(requested) };
        let context = cause.context(ACTOR.to_owned(), None);
        wrote |= append(desk, &job_aggregate(job), &Head::default(), &new, &context).await;
    }
    wrote
}

/// Writes down archives that were deleted, and drops their indexes.
pub async fn deletions(desk: &Desk) -> bool {
    let deletions: Vec<_> = {
        let world = desk.world();
        let deletions = world.deletions.iter().filter(|(id, _)| !world.is_halted(Kind::Archive, id));
        deletions.map(|(archive, d)| (*archive, d.clone())).collect()
    };
    let mut wrote = false;
    for (archive, deletion) in deletions {
        let job = deletion.job;
        if let Err(fault) = desk.bus.purge_index(&archive.to_string()).await {
            tracing::warn!(%archive, error = %fault, "its index was not dropped; it is tried again");
            continue;
        }
        let id = EventId::of_command(&format!("deleted/{job}/{archive}"), 0);
        let event = Event::ArchiveDeleted(Deleted { job, repository: deletion.repository.clone() });
        let aggregate = Aggregate::new(Kind::Archive, archive);
        let context = deletion.cause.context(ACTOR.to_owned(), None);
        let new = NewEvent { id, at: clock::now(), event };
        let decided = desk
            .bus
            .journal()
            .decide(&aggregate, &context, |_| Ok::<_, std::convert::Infallible>(Some(new.clone())));
        match decided.await {
            Ok(_) => wrote = true,
            Err(e) => {
                tracing::warn!(%aggregate, error = %e, "a deletion could not be written; it is tried again")
            }
        }
    }
    wrote
}

/// Writes down which plans are late, and which are so no longer.
pub async fn lateness(desk: &Desk) -> bool {
    let now = clock::now();
    let facts = {
        let world = desk.world();
        lateness::due(&world, &mut desk.standings(), now)
    };
    let mut wrote = false;
    for fact in facts {
        tracing::info!(plan = %fact.plan, what = fact.event.type_name(), "the archives of a plan and the clock say so");
        wrote |= write_down(desk, Kind::Schedule, fact, now).await;
    }
    wrote
}

/// Writes down what is kept no longer, and asks for its removal.
pub async fn retention(desk: &Desk) -> bool {
    let now = clock::now();
    let facts = {
        let world = desk.world();
        retention::due(&world, &mut desk.looked(), now)
    };
    let mut wrote = false;
    for fact in facts {
        let plan = fact.plan.clone();
        let written = write_down(desk, Kind::Retention, fact, now).await;
        if !written {
            // It was looked at in vain.
            desk.looked().remove(&plan);
        }
        wrote |= written;
    }
    let due = retention::prunes(&desk.world());
    wrote | ask_for(desk, due.into_iter()).await
}

/// Writes what state and clock say about open jobs.
pub async fn upkeep(desk: &Desk) -> bool {
    let now = desk.listens(true);
    let facts = {
        let world = desk.world();
        let facts = upkeep_of(&world, &desk.hearing(), now, desk.config.lease_s);
        let cause = |job: &JobId| world.jobs.get(job).map(|j| j.cause.clone()).unwrap_or_default();
        facts.into_iter().map(|f| (cause(&f.job), f)).collect::<Vec<_>>()
    };
    let mut wrote = false;
    for (cause, fact) in facts {
        tracing::info!(job = %fact.job, what = fact.event.type_name(), "the state of a job and the clock say so");
        let new = NewEvent { id: fact.id, at: clock::now(), event: fact.event };
        let context = cause.context(ACTOR.to_owned(), None);
        wrote |= append(desk, &job_aggregate(fact.job), &fact.head, &new, &context).await;
    }
    wrote
}

/// Writes what became of nominal times that have come.
pub async fn triggers(desk: &Desk) -> bool {
    let now = clock::now();
    let facts = due(&desk.world(), &mut desk.agenda(), now);
    let mut wrote = false;
    for fact in facts {
        wrote |= write_down(desk, Kind::Schedule, fact, now).await;
    }
    wrote
}

/// Writes down a fact about a plan, which belongs to this kind of aggregate.
async fn write_down(desk: &Desk, kind: Kind, fact: Due, now: Timestamp) -> bool {
    let aggregate = Aggregate::new(kind, &fact.plan);
    let new = NewEvent { id: fact.id, at: now, event: fact.event };
    append(desk, &aggregate, &fact.head, &new, &Context::service("scheduler")).await
}

fn job_aggregate(job: JobId) -> Aggregate {
    Aggregate::new(Kind::Job, job)
}
