//! Servers, destinations, repositories, plans, channels and tokens, as they are defined now.

use super::{FoldError, View};
use crate::core::overlay::{AnyRecord, Overlay, Record};
use crate::core::store::StoreError;
use crate::core::{framed, key};
use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_bus::Recorded;
use strongroom_domain::view::Definition;
use strongroom_domain::{Event, Kind, channel, destination, plan, repository, server, token};

/// The view.
pub struct Definitions;

impl View for Definitions {
    fn name(&self) -> &'static str {
        "definitions"
    }

    fn apply(&self, views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
        match &event.event {
            Event::ServerDefined(spec) => define(views, event, spec),
            Event::DestinationDefined(spec) => define(views, event, spec),
            Event::RepositoryDefined(spec) => define(views, event, spec),
            Event::PlanDefined(spec) => define(views, event, spec),
            Event::ChannelDefined(spec) => define(views, event, spec),
            Event::TokenIssued(spec) => define(views, event, spec),
            Event::ServerRetired(_) => retire::<server::Spec>(views, event),
            Event::DestinationRetired(_) => retire::<destination::Spec>(views, event),
            Event::RepositoryRetired(_) => retire::<repository::Spec>(views, event),
            Event::PlanRetired(_) => retire::<plan::Spec>(views, event),
            Event::ChannelRetired(_) => retire::<channel::Spec>(views, event),
            Event::TokenRevoked(_) => retire::<token::Issued>(views, event),
            Event::PlanPaused(paused) => pause(views, event, Some(paused.reason.clone())),
            Event::PlanResumed(_) => pause(views, event, None),
            _ => Ok(()),
        }
    }
}

/// A spec that this view keeps.
pub trait Spec: Serialize + DeserializeOwned + Clone + Send + 'static {
    /// The kind of its aggregate.
    const KIND: Kind;
}

macro_rules! specs {
    ($($spec:ty = $kind:ident),* $(,)?) => {$(
        impl Spec for $spec {
            const KIND: Kind = Kind::$kind;
        }
    )*};
}

specs! {
    server::Spec = Server,
    destination::Spec = Destination,
    repository::Spec = Repository,
    plan::Spec = Plan,
    channel::Spec = Channel,
    token::Issued = Token,
}

impl<T: Spec> AnyRecord for Definition<T> {
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        framed::value(self)
    }
}

impl<T: Spec> Record for Definition<T> {
    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        framed::read(bytes)
    }
}

fn key_of<T: Spec>(event: &Recorded) -> Vec<u8> {
    key::definition(T::KIND, &event.aggregate.id)
}

fn define<T: Spec>(views: &mut Overlay<'_>, event: &Recorded, spec: &T) -> Result<(), FoldError> {
    views.edit(key_of::<T>(event), |place: &mut Option<Definition<T>>| {
        let before = place.take().filter(|_| event.version > 1);
        *place = Some(Definition {
            id: event.aggregate.id.clone(),
            version: event.version,
            defined_at: before.as_ref().map_or(event.at, |b| b.defined_at),
            paused: before.and_then(|b| b.paused),
            changed_at: event.at,
            spec: spec.clone(),
        });
    })?;
    Ok(())
}

fn retire<T: Spec>(views: &mut Overlay<'_>, event: &Recorded) -> Result<(), FoldError> {
    views.edit(key_of::<T>(event), |place: &mut Option<Definition<T>>| *place = None)?;
    Ok(())
}

/// Nothing is shown of a plan that is retired, so there is nothing to pause then.
fn pause(views: &mut Overlay<'_>, event: &Recorded, reason: Option<String>) -> Result<(), FoldError> {
    views.edit(key_of::<plan::Spec>(event), |place: &mut Option<Definition<plan::Spec>>| {
        *place = place.take().filter(|_| event.version > 1);
        if let Some(plan) = place {
            plan.paused = reason;
            plan.version = event.version;
            plan.changed_at = event.at;
        }
    })?;
    Ok(())
}
