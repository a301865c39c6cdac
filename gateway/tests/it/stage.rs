//! A log, a gateway on it, the services that it asks, and a client.

use crate::players::{self, Facts};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use strongroom_bus::{Bus, Context, NewEvent, NodeBus, Recorded};
use strongroom_domain::job::{Cancelled, Completeness, Failed, JobResult, Outcome, Started, Succeeded};
use strongroom_domain::{Aggregate, Event, EventId, Failure, FailureCode, JobId, Kind, SecretRef, node};
use strongroom_gateway::Config;
use strongroom_service::{Shutdown, clock};
use strongroom_testkit::{Nats, wait_until};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The reply, when its status is this.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The reply, when it is this problem in the form that the standard asks for.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.body["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].is_string(), "{member}: {}", self.text);
        }
        self
    }

    /// The fields that it names.
    pub fn fields(&self) -> Vec<&str> {
        self.body["errors"].as_array().into_iter().flatten().map(|e| e["field"].as_str().unwrap()).collect()
    }

    pub fn str(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer}: {}", self.text))
    }

    /// The sequence of the position that it tells.
    pub fn sequence(&self) -> u64 {
        self.header("strongroom-position").split_once(':').unwrap().1.parse().unwrap()
    }
}

/// A client with a token.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub address: SocketAddr,
    pub token: String,
}

impl Client {
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    /// A request below `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, &format!("/api/v1{path}")).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Reply {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        send(self.request(Method::DELETE, path)).await
    }

    /// A `POST` that can be repeated.
    pub async fn keyed(&self, path: &str, key: &str, body: Value) -> Reply {
        send(self.request(Method::POST, path).header("idempotency-key", key).json(&body)).await
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }
}

pub async fn send(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_default();
    Reply { status, headers, text, body }
}

/// Everything that a test needs.
pub struct Stage {
    pub nats: Nats,
    pub facts: Arc<Facts>,
    pub scheduler: Bus,
    pub node: NodeBus,
    /// What the node decrypts with.
    pub node_key: age::x25519::Identity,
    /// What the notifier decrypts with.
    pub notifier_key: age::x25519::Identity,
    pub client: Client,
    pub state: tempfile::TempDir,
    running: Option<(Shutdown, JoinHandle<anyhow::Result<()>>)>,
    _players: JoinSet<()>,
}

impl Stage {
    /// A gateway at work, with nothing defined.
    pub async fn new() -> Self {
        let mut stage = Self::without_gateway().await;
        stage.start().await;
        stage
    }

    /// Everything but the gateway.
    pub async fn without_gateway() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nats = Nats::one(&["local"]).await.unwrap();
        let notifier_key = age::x25519::Identity::generate();
        let facts = Arc::new(Facts::default());
        *facts.recipient.lock().unwrap() = notifier_key.to_public().to_string();
        let mut players = JoinSet::new();
        for service in ["catalog", "scheduler", "notifier", "recovery"] {
            let (bus, facts) = (nats.bus(service).await.unwrap(), facts.clone());
            players.spawn(async move {
                let answering = |view: String, question| {
                    let (facts, bus) = (facts.clone(), bus.clone());
                    async move { players::answer(&facts, &bus, service, &view, &question).await }
                };
                bus.serve(service, 64, answering).await.unwrap();
            });
        }
        let http = reqwest::Client::builder().timeout(Duration::from_secs(150)).build().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            facts,
            scheduler: nats.bus("scheduler").await.unwrap(),
            node: nats.node("local").await.unwrap(),
            node_key: age::x25519::Identity::generate(),
            notifier_key,
            client: Client { http, address, token: String::new() },
            state: tempfile::tempdir().unwrap(),
            running: None,
            _players: players,
            nats,
        }
    }

    /// Starts the gateway and waits until it is ready.
    pub async fn start(&mut self) {
        assert!(self.running.is_none());
        let (tell, told) = oneshot::channel();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state_dir: self.state_dir().to_owned(),
            nats_monitor: Some(self.nats.monitor(0).unwrap()),
            on_listening: Some(tell),
        };
        let shutdown = Shutdown::new();
        let bus = self.nats.bus("gateway").await.unwrap();
        let task = tokio::spawn(strongroom_gateway::run(config, bus, shutdown.clone()));
        self.running = Some((shutdown, task));
        self.client.address = told.await.unwrap();
        self.client.token =
            std::fs::read_to_string(self.state_dir().join("token")).unwrap().trim().to_owned();
        let client = self.client.clone();
        wait_until("the gateway is ready", PATIENCE, async || {
            (send(client.bare(Method::GET, "/readyz")).await.status == 200).then_some(())
        })
        .await
        .unwrap();
    }

    /// Tells it to end.
    pub fn tell_to_end(&mut self) -> JoinHandle<anyhow::Result<()>> {
        let (shutdown, task) = self.running.take().unwrap();
        shutdown.cancel();
        task
    }

    /// Ends it as a signal does.
    pub async fn stop(&mut self) {
        let task = self.tell_to_end();
        tokio::time::timeout(PATIENCE, task).await.expect("it ends soon").unwrap().unwrap();
    }

    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Appends to the end of an aggregate, as the scheduler.
    pub async fn append(&self, kind: Kind, id: &str, event: Event) -> u64 {
        let aggregate = Aggregate::new(kind, id);
        let head = self.scheduler.journal().load(&aggregate).await.unwrap().head;
        let new = NewEvent { id: EventId(Uuid::now_v7()), at: clock::now(), event };
        let context = Context::service("scheduler");
        self.scheduler.journal().append(&aggregate, &head, &new, &context).await.unwrap().head.sequence
    }

    /// All facts so far.
    pub async fn log(&self) -> Vec<Recorded> {
        players::read(&self.scheduler).await
    }

    /// All facts about one thing.
    pub async fn history(&self, kind: Kind, id: &str) -> Vec<Recorded> {
        self.scheduler.journal().load(&Aggregate::new(kind, id)).await.unwrap().events
    }

    /// The node comes up for the first time.
    pub async fn node_joins(&self) {
        self.node_joins_as("local").await;
    }

    pub async fn node_joins_as(&self, name: &str) {
        let joined = node::Joined {
            boot: "b1".into(),
            age_recipient: self.node_key.to_public().to_string(),
            version: "1".into(),
            capabilities: node::Capabilities::default(),
            started_at: clock::now(),
        };
        self.append(Kind::Node, name, Event::NodeJoined(joined)).await;
    }

    /// Defines what a plan needs, and the plan `web`.
    pub async fn define(&self) {
        let client = &self.client;
        client
            .put("/servers/web", json!({ "node": "local", "restore_roots": ["/srv/back"] }))
            .await
            .expect(201);
        client
            .put("/destinations/disk", json!({ "location": { "type": "local", "path": "/backups" } }))
            .await
            .expect(201);
        client.put("/repositories/site", repository()).await.expect(201);
        client.put("/plans/web", plan()).await.expect(201);
    }

    /// A job's attempt begins.
    pub async fn begin(&self, job: &str) {
        let (node, boot) = ("local".parse().unwrap(), "b1".to_owned());
        self.append(Kind::Job, job, Event::JobStarted(Started { attempt: 1, node, epoch: 7, boot })).await;
    }

    /// A job ends.
    pub async fn end(&self, job: &str, how: Event) -> u64 {
        self.append(Kind::Job, job, how).await
    }

    /// What stands in the secret store, in the clear.
    pub async fn secret(&self, reference: &SecretRef, key: &age::x25519::Identity) -> String {
        let ciphertext = self.scheduler.get_secret(reference).await.unwrap().unwrap();
        String::from_utf8(age::decrypt(key, &ciphertext).unwrap()).unwrap()
    }
}

pub fn repository() -> Value {
    json!({ "server": "web", "destination": "disk", "encryption": "none" })
}

pub fn plan() -> Value {
    json!({ "server": "web", "repository": "site", "source": { "type": "files", "paths": ["/srv/site"] } })
}

/// A scan that went well: the smallest success.
pub fn succeeded() -> Event {
    let outcome = Outcome {
        result: JobResult::ScanRepository { archives: 1 },
        completeness: Completeness::Complete,
        findings: Vec::new(),
        incomplete_total: 0,
        benign_total: 0,
    };
    Event::JobSucceeded(Succeeded { epoch: 7, outcome, log_tail: vec!["done".into()] })
}

pub fn failed() -> Event {
    let failure = Failure::new(FailureCode::NoSpace, "no space left");
    Event::JobFailed(Failed { epoch: 7, failure })
}

pub fn cancelled() -> Event {
    Event::JobCancelled(Cancelled { epoch: 7 })
}

pub fn job_id(text: &str) -> JobId {
    text.parse().unwrap()
}
