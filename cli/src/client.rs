//! The HTTP client: finds the server and the token, sends one request, reads the answer or the problem.

use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

/// Where the server is and who asks. Each has a place where it is looked for when it is not given.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Address of the API; else the one that `strongroom up` left in the data folder.
    #[arg(long, env = "STRONGROOM_URL", global = true, help_heading = "Connection")]
    pub url: Option<String>,
    /// File that holds the token; else $STRONGROOM_TOKEN, else the administrator's in the data folder. There is no
    /// option for the token itself: what stands on a command line can be read by every user of the machine.
    #[arg(long, env = "STRONGROOM_TOKEN_FILE", global = true, help_heading = "Connection")]
    pub token_file: Option<PathBuf>,
    /// Data folder of a `strongroom up` on this machine.
    #[arg(long, env = "STRONGROOM_DATA", global = true, help_heading = "Connection")]
    pub data: Option<PathBuf>,
}

impl Connection {
    /// The address: the given one, else the one that `strongroom up` left, else the usual one.
    fn address(&self) -> String {
        let left = || std::fs::read_to_string(self.data_folder().join("address")).ok();
        let usual = || format!("http://{}", crate::args::DEFAULT_LISTEN);
        self.url.clone().or_else(left).unwrap_or_else(usual)
    }

    /// The data folder: the given one, else the system's for root, else one in the home folder.
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(default_data)
    }
}

fn default_data() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib/strongroom")
    } else {
        let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        base.unwrap_or_else(|| home.join(".local/share")).join("strongroom")
    }
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with a problem (RFC 9457).
    #[error("{0}")]
    Problem(Problem),
    /// No token was found.
    #[error(
        "no token: {0}; name the data folder of 'strongroom up' (--data), set STRONGROOM_TOKEN, or give --token-file"
    )]
    NoToken(String),
    /// Nobody answers there.
    #[error("{url} does not answer: {problem}; is 'strongroom up' running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It makes sense, and is not done: something stands against it.
    #[error("{0}")]
    Declined(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A problem as the API tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// One line.
    pub title: String,
    /// What happened and what to do.
    pub detail: Option<String>,
    /// The fields that are wrong.
    pub errors: Vec<FieldProblem>,
}

/// A field that is wrong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FieldProblem {
    /// Where.
    pub field: String,
    /// What.
    pub message: String,
    /// The option that sets it, when the command has one.
    #[serde(skip)]
    pub option: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = match self.detail.as_deref() {
            // Its detail says in one line what the fields say below.
            Some(_) if self.code == "invalid" && !self.errors.is_empty() => "the request is not valid",
            Some(detail) => detail,
            None => &self.title,
        };
        if self.code.is_empty() {
            write!(f, "{said}")?
        } else {
            write!(f, "{said} ({})", self.code)?
        }
        for error in &self.errors {
            let option = error.option.as_ref().map(|option| format!(" (--{option})"));
            write!(f, "\n  {}{}: {}", error.field, option.unwrap_or_default(), error.message)?;
        }
        Ok(())
    }
}

impl ClientError {
    /// Whether the request may have been done all the same, and the same request may be answered the next time.
    pub fn leaves_it_open(&self) -> bool {
        match self {
            Self::Problem(problem) => is_passing(problem.status),
            Self::Unreachable { .. } => true,
            Self::NoToken(_) | Self::Usage(_) | Self::Declined(_) | Self::Other(_) => false,
        }
    }
}

/// What a server, or a proxy before it, answers while something is started anew.
pub fn is_passing(status: u16) -> bool {
    matches!(status, 502..=504)
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The body; null when there is none.
    pub body: Value,
    /// The log position that it speaks for, or that a write has reached.
    pub position: Option<String>,
    /// The version of a definition.
    pub etag: Option<String>,
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// How long an answer may take that is no stream; the server answers within two minutes, whatever it is asked.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(150);
/// How long a stream may say nothing; the server says every 15 s that it lives.
pub const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// How often a request is made again whose answer was lost.
const TRIES: u32 = 5;
/// The pause before that.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// How long the index of an archive is waited for.
const INDEX: std::time::Duration = std::time::Duration::from_secs(120);

/// The header of log positions.
pub const POSITION: &str = "strongroom-position";

impl Client {
    /// Finds address and token.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let data = connection.data_folder();
        let url = connection.address();
        let token = match (&connection.token_file, std::env::var("STRONGROOM_TOKEN")) {
            (Some(file), _) => read_token(file)?,
            (None, Ok(token)) if !token.trim().is_empty() => token,
            _ => read_token(&data.join("gateway/token"))?,
        };
        Self::with(url.trim(), token.trim())
    }

    /// A client for what is open to everybody.
    pub fn without_token(connection: &Connection) -> Result<Self, ClientError> {
        Self::with(connection.address().trim(), "")
    }

    /// A client of this address with this token.
    pub fn with(url: &str, token: &str) -> Result<Self, ClientError> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            let message =
                format!("'{url}' is no address of a server: it must begin with http:// or https://");
            return Err(ClientError::Usage(message));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(5))
            .build()
            .map_err(|e| ClientError::Other(e.to_string()))?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// A request to a path below `/api/v1`.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token)
    }

    /// Sends it and reads the answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
        let response = self.open(request.timeout(ANSWER)).await?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (position, etag) = (header(POSITION), header("etag"));
        let text = response.text().await.map_err(|e| self.unreachable(&e))?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Answer { body, position, etag })
    }

    /// Sends it and gives the response when it is a good one.
    pub async fn open(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let mut problem: Problem = serde_json::from_str(&text).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            problem.title = format!("the server answered {status}");
        }
        Err(ClientError::Problem(problem))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        // The innermost cause says it best: "connection refused".
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        ClientError::Unreachable { url: self.url.clone(), problem: cause.to_string() }
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(self.request(reqwest::Method::GET, path)).await
    }

    /// Reads what has seen this position.
    pub async fn get_at(&self, path: &str, position: Option<&str>) -> Result<Answer, ClientError> {
        let mut request = self.request(reqwest::Method::GET, path);
        if let Some(position) = position {
            request = request.header(POSITION, position);
        }
        self.send(request).await
    }

    /// Asks for something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ClientError> {
        self.persist(|| self.request(reqwest::Method::POST, path).json(body)).await
    }

    /// Defines.
    pub async fn put(&self, path: &str, body: &Value, if_match: Option<&str>) -> Result<Answer, ClientError> {
        let request = || self.request(reqwest::Method::PUT, path).json(body);
        self.persist(|| on_condition(request(), if_match)).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str, if_match: Option<&str>) -> Result<Answer, ClientError> {
        self.persist(|| on_condition(self.request(reqwest::Method::DELETE, path), if_match)).await
    }

    /// Sends a change until it is answered. The key makes all of them one: what was done and not heard of is not done twice.
    async fn persist(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Result<Answer, ClientError> {
        let key = uuid::Uuid::now_v7().to_string();
        let begun = std::time::Instant::now();
        let mut tries = 0;
        loop {
            match self.send(request().header("idempotency-key", &key)).await {
                Err(e) if e.leaves_it_open() && tries < TRIES && begun.elapsed() < ANSWER => tries += 1,
                other => return other,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether everything is ready, and what each part says; nobody needs a token for that.
    pub async fn ready(&self) -> Result<(bool, Value), ClientError> {
        let request = self.http.get(format!("{}/readyz", self.url)).timeout(ANSWER);
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let ready = response.status().is_success();
        Ok((ready, response.json().await.map_err(|e| self.unreachable(&e))?))
    }

    /// Opens what takes its time to begin, and may be of any length.
    pub async fn open_slow(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        tokio::time::timeout(ANSWER, self.open(request)).await.map_err(|_| self.silent(ANSWER))?
    }

    /// The next bytes of it; nothing at its end. One that breaks off before is an error.
    pub async fn next_bytes(
        &self,
        response: &mut reqwest::Response,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        let next = tokio::time::timeout(ANSWER, response.chunk()).await.map_err(|_| self.silent(ANSWER))?;
        next.map_err(|e| self.unreachable(&e))
    }

    fn silent(&self, within: std::time::Duration) -> ClientError {
        let problem = format!("nothing came for {} s", within.as_secs());
        ClientError::Unreachable { url: self.url.clone(), problem }
    }

    /// Opens a stream, which has no end of its own; only its beginning is waited for.
    pub async fn open_stream(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        tokio::time::timeout(SILENCE, self.open(request)).await.map_err(|_| self.silent(SILENCE))?
    }

    /// A folder of an archive. The index of a new archive is made a moment after the backup: it is waited for.
    pub async fn browse(&self, archive: &str, folder: &str, limit: usize) -> Result<Vec<Value>, ClientError> {
        let path = format!("/archives/{archive}/files?path={folder}");
        let begun = std::time::Instant::now();
        loop {
            match self.list(&path, limit).await {
                Err(ClientError::Problem(p)) if p.code == "index_pending" && begun.elapsed() < INDEX => {}
                other => return other,
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    }

    /// All items of a list, page by page, at most `limit`.
    pub async fn list(&self, path: &str, limit: usize) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        while items.len() < limit {
            let mut query: Vec<(&str, String)> = vec![("limit", (limit - items.len()).min(200).to_string())];
            query.extend(after.take().map(|a| ("after", a)));
            let request = self.request(reqwest::Method::GET, path).query(&query);
            let answer = self.send(request).await?;
            match answer.body.get("items").and_then(Value::as_array) {
                Some(page) => items.extend(page.iter().cloned()),
                None => return Err(ClientError::Other("the answer is no list".into())),
            }
            after = answer.body.get("next").and_then(Value::as_str).map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        Ok(items)
    }
}

fn on_condition(request: reqwest::RequestBuilder, if_match: Option<&str>) -> reqwest::RequestBuilder {
    match if_match {
        Some(version) => request.header("if-match", version),
        None => request,
    }
}

fn read_token(file: &std::path::Path) -> Result<String, ClientError> {
    std::fs::read_to_string(file)
        .map(|t| t.trim().to_owned())
        .map_err(|e| ClientError::NoToken(format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::fake_server::{Answer, FakeServer, Silence};
    use serde_json::json;

    #[tokio::test]
    async fn a_change_whose_answer_is_lost_is_sent_again_as_the_same() {
        let server = FakeServer::start(|_, asked| match asked % 3 {
            0 => Answer::new(502, "a proxy's page"),
            1 => Answer::none(Silence::Cut),
            _ => Answer::new(200, "{\"id\":\"x\"}"),
        });
        let server = server.await;
        let client = Client::with(&server.url, "srt_x").unwrap();
        client.post("/plans/a/run", &json!({})).await.unwrap();
        client.put("/plans/a", &json!({}), Some("\"1\"")).await.unwrap();
        client.delete("/archives/a", None).await.unwrap();
        for three in server.keys().chunks(3) {
            assert!(
                three.len() == 3 && three.iter().all(|key| key.is_some() && *key == three[0]),
                "{three:?}"
            );
        }
        let keys: std::collections::HashSet<_> = server.keys().into_iter().collect();
        assert_eq!(keys.len(), 3, "another change has another key");
    }

    #[test]
    fn a_problem_is_told_once_and_an_address_that_is_none_is_not_asked() {
        let invalid = json!({
            "status": 422, "code": "invalid", "detail": "the request is not valid: a: is needed",
            "errors": [{ "field": "a", "message": "is needed" }],
        });
        let invalid: Problem = serde_json::from_value(invalid).unwrap();
        assert_eq!(invalid.to_string(), "the request is not valid (invalid)\n  a: is needed");
        let proxy = Problem { status: 502, title: "the server answered 502".into(), ..Problem::default() };
        assert_eq!(proxy.to_string(), "the server answered 502");
        for none in ["", "nonsense", "ftp://x", "127.0.0.1:8420"] {
            assert!(matches!(Client::with(none, "srt_x"), Err(ClientError::Usage(_))), "{none}");
        }
    }

    #[tokio::test]
    async fn what_was_refused_is_not_sent_again() {
        let server = FakeServer::start(|_, _| Answer::new(409, "{\"code\":\"exists\"}")).await;
        let client = Client::with(&server.url, "srt_x").unwrap();
        let error = client.post("/plans", &json!({})).await.unwrap_err();
        assert!(matches!(&error, ClientError::Problem(p) if p.code == "exists"), "{error}");
        assert_eq!(server.asked(), 1);
    }

    #[tokio::test]
    async fn a_server_that_takes_a_request_and_says_nothing_is_not_waited_for_for_ever() {
        let server = FakeServer::start(|_, _| Answer::none(Silence::Open)).await;
        let client = Client::with(&server.url, "srt_x").unwrap();
        let asked = async {
            while server.asked() < 3 {
                tokio::task::yield_now().await;
            }
            // All three wait for an answer by now, so that nothing but time can pass.
            tokio::time::pause();
            tokio::time::advance(ANSWER + SILENCE).await;
        };
        let events = client.request(reqwest::Method::GET, "/events");
        let (read, ready, stream, ()) =
            tokio::join!(client.get("/plans"), client.ready(), client.open_stream(events), asked);
        for error in [read.unwrap_err(), ready.unwrap_err(), stream.unwrap_err()] {
            assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        }
    }
}
