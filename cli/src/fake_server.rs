//! A server for tests of the client: answers what it is told to, path by path.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is answered.
pub struct Answer {
    status: u16,
    headers: String,
    body: String,
    /// Nothing is answered, and the connection is cut or left open.
    silence: Option<Silence>,
}

/// Ways not to answer.
#[derive(Clone, Copy)]
pub enum Silence {
    /// The connection is cut.
    Cut,
    /// It stays open.
    Open,
}

impl Answer {
    /// A status with a body.
    pub fn new(status: u16, body: &str) -> Self {
        Self { status, headers: String::new(), body: body.to_owned(), silence: None }
    }

    /// None.
    pub fn none(silence: Silence) -> Self {
        Self { silence: Some(silence), ..Self::new(0, "") }
    }

    /// With a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// The server.
pub struct FakeServer {
    /// Where it is.
    pub url: String,
    asked: Arc<AtomicUsize>,
    keys: Arc<std::sync::Mutex<Vec<Option<String>>>>,
    task: JoinHandle<()>,
}

impl FakeServer {
    /// Starts one; `answer` is given the path and how often that one was asked for before.
    pub async fn start(answer: impl Fn(&str, usize) -> Answer + Send + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, keys) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let (counted, noted) = (asked.clone(), keys.clone());
        let task = tokio::spawn(async move {
            let mut paths: HashMap<String, usize> = HashMap::new();
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                let mut part = [0_u8; 4096];
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(n) if n > 0 => head.extend_from_slice(&part[..n]),
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let line = head.lines().next().unwrap_or_default();
                let key = head.lines().find_map(|l| l.strip_prefix("idempotency-key: ").map(str::to_owned));
                let path = line.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
                noted.lock().unwrap().push(key);
                counted.fetch_add(1, Ordering::SeqCst);
                let times = paths.entry(path.clone()).or_default();
                let answer = answer(&path, *times);
                *times += 1;
                match answer.silence {
                    Some(Silence::Cut) => drop(stream),
                    Some(Silence::Open) => open.push(stream),
                    None => {
                        let Answer { status, headers, body, .. } = answer;
                        let text = format!(
                            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                            body.len()
                        );
                        let _ = stream.write_all(text.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    }
                }
            }
        });
        Self { url, asked, keys, task }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The keys of the requests, in their order.
    pub fn keys(&self) -> Vec<Option<String>> {
        self.keys.lock().unwrap().clone()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
