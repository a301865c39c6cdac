//! Destinations: where bytes go.

use super::definition::{Prepared, Resource, all, immutable};
use super::repositories::Repositories;
use crate::app::App;
use crate::body;
use crate::http::Request;
use crate::problem::Problem;
use serde_json::{Map, Value};
use strongroom_bus::Position;
use strongroom_domain::definition::Retired;
use strongroom_domain::{Event, Kind, destination};

/// The kind.
pub struct Destinations;

impl Resource for Destinations {
    type Spec = destination::Spec;
    const KIND: Kind = Kind::Destination;
    const PLURAL: &'static str = "destinations";
    const SINGULAR: &'static str = "destination";

    fn pick(event: &Event) -> Option<destination::Spec> {
        if let Event::DestinationDefined(spec) = event { Some(spec.clone()) } else { None }
    }

    fn defined(spec: destination::Spec) -> Event {
        Event::DestinationDefined(spec)
    }

    fn retired(retired: Retired) -> Event {
        Event::DestinationRetired(retired)
    }

    async fn prepare(
        app: &App,
        request: &Request,
        id: &str,
        fields: Map<String, Value>,
        old: Option<&destination::Spec>,
    ) -> Result<Prepared<destination::Spec>, Problem> {
        let spec: destination::Spec = body::understand(fields)?;
        // Repositories would be looked for where they are not. Whoever has moved them all says so.
        if old.is_some_and(|old| old.location != spec.location) && request.query("moved") != Some("true") {
            let (_, last) = app.bus.log_state().await?;
            if !Self::users(app, id, app.bus.position(last)).await?.is_empty() {
                let mut problem = immutable("location");
                problem.detail =
                    "repositories lie there; move them first, and then repeat this with '?moved=true'".into();
                return Err(problem);
            }
        }
        Ok(spec.into())
    }

    async fn users(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
        let all = all::<Repositories>(app, &at).await?;
        let users = all.iter().filter(|r| r.spec.destination.as_str() == id);
        Ok(users.map(|r| format!("repository '{}'", r.id)).collect())
    }
}
