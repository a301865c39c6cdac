//! Repositories: borg repositories and dump stores inside destinations, made by a job.

use super::definition::{Followed, Prepared, Resource, all, existing, immutable, referred};
use super::destinations::Destinations;
use super::plans::Plans;
use super::servers::Servers;
use crate::app::App;
use crate::body::Secret;
use crate::http::{Good, Request};
use crate::problem::Problem;
use crate::{body, seal, work};
use serde_json::{Map, Value, json};
use strongroom_bus::Position;
use strongroom_domain::definition::Retired;
use strongroom_domain::destination::{self, Location};
use strongroom_domain::job::{JobSpec, Requested, Trigger};
use strongroom_domain::repository::{self, Access};
use strongroom_domain::{Event, EventId, JobId, Kind, RepositoryId, SecretRef, ServerId, server};

/// The kind.
pub struct Repositories;

impl Resource for Repositories {
    type Spec = repository::Spec;
    const KIND: Kind = Kind::Repository;
    const PLURAL: &'static str = "repositories";
    const SINGULAR: &'static str = "repository";
    const HIDDEN: &'static [&'static str] = &["/passphrase", "/identity"];
    const SEALED: &'static [&'static str] = &["passphrase", "generate_passphrase", "identity"];
    const LOST: (&'static str, &'static str) = (
        "passphrase",
        "delete it before anything is backed up into it, and make one under another name, best with a passphrase of your own",
    );

    fn draws(fields: &Map<String, Value>) -> bool {
        fields.get("generate_passphrase") == Some(&json!(true))
    }

    fn pick(event: &Event) -> Option<repository::Spec> {
        if let Event::RepositoryDefined(spec) = event { Some(spec.clone()) } else { None }
    }

    fn defined(spec: repository::Spec) -> Event {
        Event::RepositoryDefined(spec)
    }

    fn retired(retired: Retired) -> Event {
        Event::RepositoryRetired(retired)
    }

    async fn prepare(
        app: &App,
        _request: &Request,
        id: &str,
        mut fields: Map<String, Value>,
        old: Option<&repository::Spec>,
    ) -> Result<Prepared<repository::Spec>, Problem> {
        let given = body::take_text(&mut fields, "passphrase")?;
        let generate = body::take_flag(&mut fields, "generate_passphrase")?;
        let identity = body::take_long_secret(&mut fields, "identity")?;
        let mut spec: repository::Spec = body::understand(fields)?;
        if let Some(old) = old {
            for (field, same) in [
                ("kind", old.kind == spec.kind),
                ("encryption", old.encryption == spec.encryption),
                ("server", old.server == spec.server),
                ("destination", old.destination == spec.destination),
                ("deduplicate", old.deduplicate == spec.deduplicate),
            ] {
                if !same {
                    return Err(immutable(field));
                }
            }
        }
        let server = referred::<Servers>(app, "server", spec.server.as_str()).await?;
        let destination = referred::<Destinations>(app, "destination", spec.destination.as_str()).await?;
        if spec.kind == repository::Kind::Borg && !matches!(destination.location, Location::Local(_)) {
            let message =
                "must be a local folder for a borg repository; a dump store (kind 'dump-store') can lie here";
            return Err(Problem::field("destination", message));
        }
        is_sealed_for(&destination, spec.destination.as_str(), &server)?;
        spec.identity = match identity {
            Secret::None => None,
            Secret::Kept => old.and_then(|old| old.identity.clone()),
            Secret::Given(text) => {
                let text = identity_of(&text, &spec)?;
                Some(
                    seal::store_for_node(app, &format!("repository-{id}"), "secret key", &text, &server)
                        .await?,
                )
            }
        };
        let mut shown_once = Map::new();
        spec.passphrase = match (given, generate, spec.encryption.needs_passphrase()) {
            (Some(_), _, false) | (_, true, false) => {
                return Err(Problem::field("passphrase", "must be absent without encryption"));
            }
            (None, false, false) => None,
            (Some(_), true, true) => {
                return Err(Problem::field(
                    "generate_passphrase",
                    "must be absent when a passphrase is given",
                ));
            }
            (None, true, true) if old.is_some() => {
                let message =
                    "is for a new repository: this one opens with the passphrase that it was made with";
                return Err(Problem::field("generate_passphrase", message));
            }
            (Some(text), false, true) => Some(sealed(app, id, &server, &checked(text)?).await?),
            (None, true, true) => {
                let text = seal::draw_passphrase();
                let reference = sealed(app, id, &server, &text).await?;
                shown_once.insert("passphrase".into(), json!(text));
                Some(reference)
            }
            (None, false, true) => match old.and_then(|o| o.passphrase.clone()) {
                Some(kept) => Some(kept),
                None => {
                    return Err(Problem::field(
                        "passphrase",
                        "is needed for this encryption; or 'generate_passphrase': true",
                    ));
                }
            },
        };
        Ok(Prepared { spec, shown_once })
    }

    fn extras(_id: &str, spec: &repository::Spec) -> Map<String, Value> {
        let mut extras = Map::new();
        if spec.encryption.is_to_people() {
            extras.insert("has_identity".into(), json!(spec.identity.is_some()));
        }
        extras
    }

    async fn users(app: &App, id: &str, at: Position) -> Result<Vec<String>, Problem> {
        let plans = all::<Plans>(app, &at).await?;
        let mut users: Vec<String> = plans
            .iter()
            .filter(|p| {
                p.spec.repository.as_str() == id || p.spec.copies.iter().any(|copy| copy.as_str() == id)
            })
            .map(|p| format!("plan '{}'", p.id))
            .collect();
        users.extend(work::open_jobs_of_repository(app, id, at).await?);
        Ok(users)
    }

    async fn created(
        app: &App,
        request: &Request,
        id: &str,
        spec: &repository::Spec,
        version: u64,
    ) -> Result<Followed, Problem> {
        let id: RepositoryId = id.parse().map_err(|_| Problem::not_found(Self::SINGULAR, id))?;
        // The same from every repetition of this request, and from one after a crash in between.
        let job = JobId(EventId::of_command(&format!("init/{id}/{version}"), 0).0);
        let requested = request_init(app, &id, spec).await?;
        let sequence = work::request(app, request, job, requested).await?.sequence;
        let shown = json!({ "init_job": { "id": job, "url": format!("/api/v1/jobs/{job}") } });
        let Value::Object(shown) = shown else { return Ok(Followed::default()) };
        Ok(Followed { shown, sequence: Some(sequence) })
    }
}

async fn request_init(app: &App, id: &RepositoryId, spec: &repository::Spec) -> Result<Requested, Problem> {
    let (access, server) = reach(app, id, spec).await?;
    let spec_ = JobSpec::InitRepository { access };
    Ok(Requested {
        spec: spec_,
        server: spec.server.clone(),
        node: server.node,
        trigger: Trigger::System,
        deadline_s: None,
    })
}

/// How a node finds a repository, and the server that it belongs to.
pub async fn reach(
    app: &App,
    id: &RepositoryId,
    spec: &repository::Spec,
) -> Result<(Access, server::Spec), Problem> {
    let server = referred::<Servers>(app, "server", spec.server.as_str()).await?;
    let destination = referred::<Destinations>(app, "destination", spec.destination.as_str()).await?;
    is_sealed_for(&destination, spec.destination.as_str(), &server)?;
    Ok((spec.access(id, &destination), server))
}

/// Whether the node of a server can read what opens a destination.
pub fn is_sealed_for(
    destination: &destination::Spec,
    id: &str,
    server: &server::Spec,
) -> Result<(), Problem> {
    if destination.location.secret().is_none() || destination.sealed_for.contains(&server.node) {
        return Ok(());
    }
    let detail = format!(
        "the secret of destination '{id}' was encrypted before node '{}' came up, which cannot read it; give it again with PUT on the destination",
        server.node
    );
    Err(Problem::conflict("secret_not_for_node", detail))
}

/// A secret key, which must open what is encrypted to one of the recipients: of OpenPGP the node alone can say.
fn identity_of(text: &str, spec: &repository::Spec) -> Result<String, Problem> {
    if spec.encryption == repository::Encryption::Gpg {
        return secret_of_gpg(text);
    }
    let recipients = &spec.recipients;
    let identity: age::x25519::Identity = text.trim().parse().map_err(|_| {
        Problem::field("identity", "must be a secret key of age, which begins with AGE-SECRET-KEY-1")
    })?;
    if !recipients.contains(&identity.to_public().to_string()) {
        let message = "must belong to one of the recipients: it opens nothing that is encrypted to them";
        return Err(Problem::field("identity", message));
    }
    Ok(text.trim().to_owned())
}

/// A secret key of OpenPGP. One that is protected by a passphrase would make gpg ask for it, and nobody is there to answer.
fn secret_of_gpg(text: &str) -> Result<String, Problem> {
    if repository::is_armored(text, "PRIVATE") {
        return Ok(text.trim().to_owned());
    }
    let message = "must be one secret key of OpenPGP in ASCII armor, without a passphrase, as gpg --armor --export-secret-keys prints it";
    Err(Problem::field("identity", message))
}

/// How a node finds a repository to read from it: with what opens it, be it given for this once or kept.
pub async fn reach_to_read(
    app: &App,
    id: &str,
    given: Option<String>,
) -> Result<(Access, ServerId, server::Spec), Problem> {
    let spec = existing::<Repositories>(app, id).await?;
    let id: RepositoryId = id.parse().map_err(|_| Problem::not_found(Repositories::SINGULAR, id))?;
    let (mut access, server) = reach(app, &id, &spec).await?;
    access.identity = match given {
        None => spec.identity.clone(),
        Some(_) if !spec.encryption.is_to_people() => {
            let message = "is for repositories with the encryption 'age' or 'gpg'";
            return Err(Problem::field("identity", message));
        }
        Some(text) if spec.encryption == repository::Encryption::Gpg => {
            let text = secret_of_gpg(&text)?;
            Some(seal::store_for_node(app, &format!("restore-{id}"), "secret key", &text, &server).await?)
        }
        Some(text) => {
            // Recipients change, and an older archive may be encrypted to one that is gone.
            let identity = text.trim().parse::<age::x25519::Identity>();
            identity.map_err(|_| {
                Problem::field("identity", "must be a secret key of age, which begins with AGE-SECRET-KEY-1")
            })?;
            let name = format!("restore-{id}");
            Some(seal::store_for_node(app, &name, "secret key", text.trim(), &server).await?)
        }
    };
    Ok((access, spec.server, server))
}

/// The same, for a repository by its name.
pub async fn reach_named(app: &App, id: &str) -> Result<(Access, ServerId, server::Spec), Problem> {
    let spec = existing::<Repositories>(app, id).await?;
    let id: RepositoryId = id.parse().map_err(|_| Problem::not_found(Repositories::SINGULAR, id))?;
    let (access, server) = reach(app, &id, &spec).await?;
    Ok((access, spec.server, server))
}

/// `POST /repositories/{id}/init`.
pub async fn init(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let spec = existing::<Repositories>(app, id).await?;
    let id: RepositoryId = id.parse().map_err(|_| Problem::not_found(Repositories::SINGULAR, id))?;
    let requested = Requested { trigger: Trigger::Manual, ..request_init(app, &id, &spec).await? };
    work::ask(app, request, requested).await
}

/// `POST /repositories/{id}/scan`.
pub async fn scan(app: &App, request: &Request, id: &str) -> Result<Good, Problem> {
    body::nothing(request)?;
    if let Some(answer) = work::asked_before(app, request, |_| true).await? {
        return Ok(answer);
    }
    let (access, server, definition) = reach_named(app, id).await?;
    let spec = JobSpec::ScanRepository { access };
    let requested =
        Requested { spec, server, node: definition.node, trigger: Trigger::Manual, deadline_s: None };
    work::ask(app, request, requested).await
}

async fn sealed(app: &App, id: &str, server: &server::Spec, text: &str) -> Result<SecretRef, Problem> {
    seal::store_for_node(app, &format!("repository-{id}"), "passphrase", text, server).await
}

/// A passphrase that programs can be given.
fn checked(text: String) -> Result<String, Problem> {
    body::one_line("passphrase", text)
}
