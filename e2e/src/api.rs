//! The HTTP API, as a test uses it.

use crate::{PATIENCE, wait_until};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// A client with a token.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// The token that it shows.
    pub token: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; null when it is none that can be read as JSON.
    pub body: Value,
    /// The log position.
    pub position: Option<String>,
    /// All headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Reply {
    /// A text of the body, by JSON pointer.
    pub fn text(&self, pointer: &str) -> Result<&str> {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("{} has no {pointer}: {}", self.status, self.body))
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The reply when its status is this, else an error that shows it.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.body);
        Ok(self)
    }
}

impl Api {
    /// A client of this address.
    pub fn new(url: String, token: String) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        Ok(Self { http, url, token })
    }

    /// A request to a path below `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    /// A request to any path, without a token.
    pub fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends it.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let position = headers.get("strongroom-position").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Reply { status, body, position, headers })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::GET, path)).await
    }

    /// The text at any path.
    pub async fn http_text(&self, path: &str) -> Result<String> {
        let response = self.bare(Method::GET, path).bearer_auth(&self.token).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// The same request, with one idempotency key, until somebody answers it for good: services are being killed.
    pub async fn persist(&self, method: Method, path: &str, body: &Value) -> Result<Reply> {
        let key = uuid::Uuid::now_v7().to_string();
        wait_until(&format!("an answer to {method} {path}"), PATIENCE, async || {
            let mut request = self.request(method.clone(), path).header("idempotency-key", &key);
            if method != Method::GET && method != Method::DELETE {
                request = request.json(body);
            }
            self.send(request).await.ok().filter(|r| r.status < 500)
        })
        .await
    }

    /// All items of a list, of all its pages.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("limit", "200".to_owned())];
            query.extend(after.take().map(|a| ("after", a)));
            let page = self.send(self.request(Method::GET, path).query(&query)).await?.expect(200)?;
            items.extend(page.body.get("items").and_then(Value::as_array).context("no list")?.clone());
            match page.body.get("next").and_then(Value::as_str) {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// A folder of an archive, once the index of a new archive is there.
    pub async fn browse(&self, archive: &str, folder: &str) -> Result<Vec<Value>> {
        let path = format!("/archives/{archive}/files?path={folder}");
        wait_until("the index of the archive", PATIENCE, async || {
            let reply = self.get(&path).await.ok()?;
            (reply.body.get("code").and_then(Value::as_str) != Some("index_pending")).then_some(())
        })
        .await?;
        self.list(&path).await
    }

    /// Waits until a job has ended, and gives it.
    pub async fn ended(&self, job: &str) -> Result<Value> {
        let path = format!("/jobs/{job}");
        wait_until(&format!("job {job} to end"), PATIENCE, async || {
            let job = self.get(&path).await.ok().filter(|r| r.status == 200)?.body;
            let phase = job.get("phase").and_then(Value::as_str)?;
            (!matches!(phase, "waiting" | "running")).then_some(job)
        })
        .await
    }

    /// Waits until a job is in this phase.
    pub async fn in_phase(&self, job: &str, phase: &str) -> Result<Value> {
        let path = format!("/jobs/{job}");
        wait_until(&format!("job {job} to be {phase}"), PATIENCE, async || {
            let job = self.get(&path).await.ok().filter(|r| r.status == 200)?.body;
            (job.get("phase").and_then(Value::as_str)? == phase).then_some(job)
        })
        .await
    }

    /// Runs a plan and waits for its end.
    pub async fn run(&self, plan: &str) -> Result<Value> {
        let reply = self.post(&format!("/plans/{plan}/run"), &json!({})).await?.expect(202)?;
        self.ended(reply.text("/id")?).await
    }

    /// Waits until this machine's node has joined.
    pub async fn node_joined(&self) -> Result<String> {
        wait_until("a node to join", PATIENCE, async || {
            let nodes = self.list("/nodes").await.ok()?;
            nodes.first()?.get("id")?.as_str().map(str::to_owned)
        })
        .await
    }

    /// Defines a server, a destination, a repository and a plan, all called `name`, and waits until the repository is
    /// made. Gives the repository's passphrase.
    pub async fn define(
        &self,
        name: &str,
        folder: &std::path::Path,
        paths: &[&std::path::Path],
    ) -> Result<String> {
        let node = self.node_joined().await?;
        let roots = [folder.join("restored")];
        std::fs::create_dir_all(&roots[0])?;
        self.put(&format!("/servers/{name}"), &json!({ "node": node, "restore_roots": roots }))
            .await?
            .expect(201)?;
        let location = json!({ "location": { "type": "local", "path": folder.join("repositories") } });
        self.put(&format!("/destinations/{name}"), &location).await?.expect(201)?;
        let repository = json!({
            "id": name, "server": name, "destination": name, "encryption": "repokey-blake2",
            "generate_passphrase": true,
        });
        let made = self.post("/repositories", &repository).await?.expect(201)?;
        let job = self.ended(made.text("/init_job/id")?).await?;
        ensure!(job["phase"] == "complete", "the repository was not made: {job}");
        let plan = json!({
            "id": name, "server": name, "repository": name, "source": { "type": "files", "paths": paths },
        });
        self.post("/plans", &plan).await?.expect(201)?;
        Ok(made.text("/passphrase")?.to_owned())
    }
}
