//! Every fact that there is, by type, with its bytes.
//!
//! A released version of a type never changes: a new meaning is a new type (`...v2`) with an upcaster from the old
//! one, and every version has a golden fixture under `crates/domain/fixtures`. A test holds fixtures and registry
//! against each other, so that no old log can become unreadable without a red build.

mod codec;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_support;
mod upcast;

pub use codec::{DecodeError, decode_payload, encode_payload};
pub use upcast::{UPCASTERS, Upcaster};

use crate::aggregate::Kind;
use crate::definition::Retired;
use crate::{
    archive, channel, destination, job, node, notification, plan, queue, repository, retention, schedule,
    server, settings, token,
};

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($payload:ty) = $kind:ident $name:literal),* $(,)?) => {
        /// One fact. Adding one is a line here, its payload in the module of its aggregate, and a golden fixture.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $variant($payload),)*
        }

        impl Event {
            /// All current types, as (`ce-type`, kind of aggregate).
            pub const TYPES: &'static [(&'static str, Kind)] = &[$(($name, Kind::$kind)),*];

            /// The type as it stands in `ce-type`.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// The kind of aggregate that it belongs to.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$kind,)* }
            }

            /// The payload: MessagePack with field names.
            pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
                match self { $(Self::$variant(payload) => encode_payload(payload),)* }
            }

            /// Reads a payload of this type, after its upcasters have run.
            pub fn decode(type_name: &str, payload: &[u8]) -> Result<Self, DecodeError> {
                let (type_name, payload) = upcast::upcast(UPCASTERS, type_name, payload)?;
                match &*type_name {
                    $($name => decode_payload::<$payload>(&payload).map(Self::$variant),)*
                    _ => Err(DecodeError::UnknownType(type_name.into_owned())),
                }
            }

            /// The payload as JSON, for people, pages and audits.
            pub fn to_json(&self) -> serde_json::Value {
                match self { $(Self::$variant(payload) => serde_json::to_value(payload).unwrap_or_default(),)* }
            }
        }
    };
}

events! {
    /// A server was defined or changed.
    ServerDefined(server::Spec) = Server "strongroom.server.defined.v1",
    /// A server was retired.
    ServerRetired(Retired) = Server "strongroom.server.retired.v1",
    /// A destination was defined or changed.
    DestinationDefined(destination::Spec) = Destination "strongroom.destination.defined.v1",
    /// A destination was retired.
    DestinationRetired(Retired) = Destination "strongroom.destination.retired.v1",
    /// A repository was defined or changed.
    RepositoryDefined(repository::Spec) = Repository "strongroom.repository.defined.v1",
    /// A repository was retired. Its bytes stay where they are.
    RepositoryRetired(Retired) = Repository "strongroom.repository.retired.v1",
    /// A plan was defined or changed.
    PlanDefined(plan::Spec) = Plan "strongroom.plan.defined.v1",
    /// A plan was retired. Its archives stay.
    PlanRetired(Retired) = Plan "strongroom.plan.retired.v1",
    /// A plan was paused.
    PlanPaused(plan::Paused) = Plan "strongroom.plan.paused.v1",
    /// A plan was resumed.
    PlanResumed(plan::Resumed) = Plan "strongroom.plan.resumed.v1",
    /// A channel was defined or changed.
    ChannelDefined(channel::Spec) = Channel "strongroom.channel.defined.v1",
    /// A channel was retired.
    ChannelRetired(Retired) = Channel "strongroom.channel.retired.v1",
    /// A token was issued.
    TokenIssued(token::Issued) = Token "strongroom.token.issued.v1",
    /// A token was revoked.
    TokenRevoked(token::Revoked) = Token "strongroom.token.revoked.v1",
    /// The limits of the whole system were changed.
    SettingsLimitsDefined(settings::LimitsSpec) = Settings "strongroom.settings.limits-defined.v1",
    /// A job was asked for.
    JobRequested(job::Requested) = Job "strongroom.job.requested.v1",
    /// A job is to stop.
    JobCancelRequested(job::CancelRequested) = Job "strongroom.job.cancel-requested.v1",
    /// An attempt began.
    JobStarted(job::Started) = Job "strongroom.job.started.v1",
    /// An attempt ended without an outcome.
    JobInterrupted(job::Interrupted) = Job "strongroom.job.interrupted.v1",
    /// An attempt's node was silent for too long.
    JobLeaseExpired(job::LeaseExpired) = Job "strongroom.job.lease-expired.v1",
    /// A job was done.
    JobSucceeded(job::Succeeded) = Job "strongroom.job.succeeded.v1",
    /// A job failed.
    JobFailed(job::Failed) = Job "strongroom.job.failed.v1",
    /// A job was cancelled.
    JobCancelled(job::Cancelled) = Job "strongroom.job.cancelled.v1",
    /// A job was given up.
    JobAbandoned(job::Abandoned) = Job "strongroom.job.abandoned.v1",
    /// A nominal time came and its job was asked for.
    ScheduleFired(schedule::Fired) = Schedule "strongroom.schedule.fired.v1",
    /// A nominal time came and nothing was run.
    ScheduleSkipped(schedule::Skipped) = Schedule "strongroom.schedule.skipped.v1",
    /// A plan's newest good archive is older than the plan promises.
    ScheduleOverdue(schedule::Overdue) = Schedule "strongroom.schedule.overdue.v1",
    /// It is not any more.
    ScheduleInTime(schedule::InTime) = Schedule "strongroom.schedule.in-time.v1",
    /// A job may run.
    QueueAdmitted(queue::Admitted) = Queue "strongroom.queue.admitted.v1",
    /// An archive that was found in a repository was taken into the catalog.
    ArchiveAdopted(archive::Adopted) = Archive "strongroom.archive.adopted.v1",
    /// An archive was deleted by a job.
    ArchiveDeleted(archive::Deleted) = Archive "strongroom.archive.deleted.v1",
    /// An archive is not where it should be.
    ArchiveMissing(archive::Missing) = Archive "strongroom.archive.missing.v1",
    /// A missing archive is there again.
    ArchiveFound(archive::Found) = Archive "strongroom.archive.found.v1",
    /// An archive must not be removed.
    ArchiveHeld(archive::Held) = Archive "strongroom.archive.held.v1",
    /// A hold of an archive was released.
    ArchiveReleased(archive::Released) = Archive "strongroom.archive.released.v1",
    /// It was decided which archives of a plan are kept no longer.
    RetentionDecided(retention::Decided) = Retention "strongroom.retention.decided.v1",
    /// An executor came up.
    NodeJoined(node::Joined) = Node "strongroom.node.joined.v1",
    /// A delivery was tried without success and will be tried again.
    NotificationAttempted(notification::Attempted) = Notification "strongroom.notification.attempted.v1",
    /// A delivery was confirmed.
    NotificationDelivered(notification::Delivered) = Notification "strongroom.notification.delivered.v1",
    /// A delivery was given up.
    NotificationFailed(notification::Failed) = Notification "strongroom.notification.failed.v1",
}

impl Event {
    /// Whether it retires the thing that people defined.
    pub fn retires(&self) -> bool {
        matches!(
            self,
            Self::ServerRetired(_)
                | Self::DestinationRetired(_)
                | Self::RepositoryRetired(_)
                | Self::PlanRetired(_)
                | Self::ChannelRetired(_)
                | Self::TokenRevoked(_)
        )
    }

    /// Whether it ends a job.
    pub fn ends_job(&self) -> bool {
        matches!(
            self,
            Self::JobSucceeded(_) | Self::JobFailed(_) | Self::JobCancelled(_) | Self::JobAbandoned(_)
        )
    }
}
