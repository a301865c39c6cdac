//! A small HTTP server that records what it is sent and answers as it is told: a webhook's other side, or a collector
//! of traces.

use anyhow::Result;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and path.
    pub line: String,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The server.
pub struct HttpSink {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl HttpSink {
    /// Starts on a free port of loopback; answers 200 unless told otherwise.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sink =
            Self { address: listener.local_addr()?, received: Arc::default(), answers: Arc::default() };
        let (received, answers) = (sink.received.clone(), sink.answers.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (received, answers) = (received.clone(), answers.clone());
                tokio::spawn(async move { serve(stream, &received, &answers).await });
            }
        });
        Ok(sink)
    }

    /// Its address as a URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The statuses of the next answers, in order.
    pub fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).extend(statuses);
    }

    /// Waits until at least so many requests have come, and gives all.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Result<Vec<Received>> {
        crate::wait_until("requests", deadline, async || Some(self.received()).filter(|r| r.len() >= count))
            .await
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    stream: TcpStream,
    received: &Mutex<Vec<Received>>,
    answers: &Mutex<VecDeque<u16>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut headers = HashMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let body = if headers.get("transfer-encoding").is_some_and(|t| t == "chunked") {
            read_chunks(&mut stream).await?
        } else {
            let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            read_exactly(&mut stream, length).await?
        };
        let line = line.split(" HTTP").next().unwrap_or_default().to_owned();
        received.lock().unwrap_or_else(PoisonError::into_inner).push(Received { line, headers, body });
        let status = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(200);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn read_exactly(stream: &mut BufReader<TcpStream>, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim().split(';').next()?, 16).ok()?;
        body.extend(read_exactly(stream, size).await?);
        // The end of the chunk's line; after the last one it ends the (empty) trailer.
        stream.read_line(&mut String::new()).await.ok()?;
        if size == 0 {
            return Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(sink: &HttpSink, request: &str) -> String {
        let mut stream = TcpStream::connect(sink.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn requests_are_kept_and_answered_as_told() {
        let sink = HttpSink::start().await.unwrap();
        sink.answer(&[500, 429]);
        let plain = "POST /hook HTTP/1.1\r\nWebhook-Id: 7\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(send(&sink, plain).await, "HTTP/1.1 500 X");
        let chunked =
            "POST /v1/traces HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(send(&sink, chunked).await, "HTTP/1.1 429 X");
        assert_eq!(send(&sink, "GET / HTTP/1.1\r\n\r\n").await, "HTTP/1.1 200 X");
        let received = sink.wait_for(3, Duration::from_secs(5)).await.unwrap();
        assert_eq!((received[0].line.as_str(), &received[0].body[..]), ("POST /hook", &b"body"[..]));
        assert_eq!(received[0].headers["webhook-id"], "7");
        assert_eq!(&received[1].body[..], b"abcde");
    }
}
