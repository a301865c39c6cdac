//! Destinations: where bytes go.

use super::definition::{Prepared, Resource, all, immutable};
use super::repositories::Repositories;
use crate::app::App;
use crate::body::Secret;
use crate::http::Request;
use crate::problem::Problem;
use crate::{body, seal};
use serde_json::{Map, Value, json};
use strongroom_bus::Position;
use strongroom_domain::definition::{Retired, Validate};
use strongroom_domain::destination::{self, Location};
use strongroom_domain::{Event, Kind, Rejection};

/// The kind.
pub struct Destinations;

impl Resource for Destinations {
    type Spec = destination::Spec;
    const KIND: Kind = Kind::Destination;
    const PLURAL: &'static str = "destinations";
    const SINGULAR: &'static str = "destination";
    const HIDDEN: &'static [&'static str] = &[
        "/location/private_key",
        "/location/secret_access_key",
        "/location/service_account",
        "/location/access_key",
        "/sealed_for",
    ];
    const SEALED: &'static [&'static str] = &["secret"];

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
        mut fields: Map<String, Value>,
        old: Option<&destination::Spec>,
    ) -> Result<Prepared<destination::Spec>, Problem> {
        let secret = body::take_long_secret(&mut fields, "secret")?;
        body::refuse_sealed(&fields, Self::HIDDEN, "secret")?;
        let mut spec: destination::Spec = body::understand(fields)?;
        let problems = spec.problems();
        if !problems.is_empty() {
            return Err(Rejection::Invalid { fields: problems }.into());
        }
        // Repositories would be looked for where they are not. Whoever has moved them all says so.
        let elsewhere = |old: &destination::Spec| old.location.place() != spec.location.place();
        if old.is_some_and(elsewhere) && request.query("moved") != Some("true") {
            let (_, last) = app.bus.log_state().await?;
            if !Self::users(app, id, app.bus.position(last)).await?.is_empty() {
                let mut problem = immutable("location");
                problem.detail =
                    "repositories lie there; move them first, and then repeat this with '?moved=true'".into();
                return Err(problem);
            }
        }
        with_secret(app, id, &mut spec, old, secret).await?;
        Ok(spec.into())
    }

    fn extras(_id: &str, spec: &destination::Spec) -> Map<String, Value> {
        let mut extras = Map::new();
        extras.insert("place".into(), json!(spec.location.place()));
        if !matches!(spec.location, Location::Local(_)) {
            extras.insert("has_secret".into(), json!(spec.location.secret().is_some()));
            extras.insert("secret_for_nodes".into(), json!(spec.sealed_for));
        }
        extras
    }

    async fn users(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
        let all = all::<Repositories>(app, &at).await?;
        let users = all.iter().filter(|r| r.spec.destination.as_str() == id);
        Ok(users.map(|r| format!("repository '{}'", r.id)).collect())
    }
}

/// Puts what opens the place where it belongs, sealed. One that was given before stays, as long as it goes to the same
/// place as the same user: whoever may change a destination must not learn it by that.
async fn with_secret(
    app: &App,
    id: &str,
    spec: &mut destination::Spec,
    old: Option<&destination::Spec>,
    secret: Secret,
) -> Result<(), Problem> {
    let kept = old.and_then(|old| old.location.secret().map(|secret| (old, secret)));
    let (reference, sealed_for) = match (secret, kept) {
        (Secret::None, _) | (Secret::Kept, None) => (None, Vec::new()),
        (Secret::Kept, Some((old, secret))) => {
            let (before, now) = (&old.location, &spec.location);
            if (before.place(), before.user()) != (now.place(), now.user()) {
                let message =
                    "must be given again, or be null: the place, or who is let in there, is another";
                return Err(Problem::field("secret", message));
            }
            (Some(secret.clone()), old.sealed_for.clone())
        }
        (Secret::Given(text), _) => {
            if spec.location.secret_mut().is_none() {
                return Err(Problem::field(
                    "secret",
                    "must be absent: the node opens a local folder without one",
                ));
            }
            let name = format!("destination-{id}");
            let (reference, nodes) = seal::store_for_all_nodes(app, &name, "secret", &text).await?;
            (Some(reference), nodes)
        }
    };
    spec.sealed_for = sealed_for;
    if let Some(place) = spec.location.secret_mut() {
        *place = reference;
    }
    Ok(())
}
