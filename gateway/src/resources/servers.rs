//! Servers: machines with data to protect.

use super::definition::{Prepared, Resource, all};
use super::plans::Plans;
use super::repositories::Repositories;
use crate::app::App;
use crate::body;
use crate::http::Request;
use crate::problem::Problem;
use serde_json::{Map, Value};
use strongroom_bus::Position;
use strongroom_domain::definition::Retired;
use strongroom_domain::{Event, Kind, server};

/// The kind.
pub struct Servers;

impl Resource for Servers {
    type Spec = server::Spec;
    const KIND: Kind = Kind::Server;
    const PLURAL: &'static str = "servers";
    const SINGULAR: &'static str = "server";

    fn pick(event: &Event) -> Option<server::Spec> {
        if let Event::ServerDefined(spec) = event { Some(spec.clone()) } else { None }
    }

    fn defined(spec: server::Spec) -> Event {
        Event::ServerDefined(spec)
    }

    fn retired(retired: Retired) -> Event {
        Event::ServerRetired(retired)
    }

    async fn prepare(
        _app: &App,
        _request: &Request,
        _id: &str,
        fields: Map<String, Value>,
        _old: Option<&server::Spec>,
    ) -> Result<Prepared<server::Spec>, Problem> {
        Ok(body::understand::<server::Spec>(fields)?.into())
    }

    async fn users(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
        let mut users = Vec::new();
        for repository in all::<Repositories>(app, &at).await? {
            if repository.spec.server.as_str() == id {
                users.push(format!("repository '{}'", repository.id));
            }
        }
        for plan in all::<Plans>(app, &at).await? {
            if plan.spec.server.as_str() == id {
                users.push(format!("plan '{}'", plan.id));
            }
        }
        Ok(users)
    }
}
