//! `GET /api/v1/archives` (50 of many), against a bare warp handler that asks NATS once for an answer of the same size.

use crate::fill;
use crate::numbers::{percentile, ratio};
use anyhow::{Context, Result};
use futures::StreamExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use strongroom_bus::server::binary;
use strongroom_e2e::{Single, wait_until};
use strongroom_testkit::Port;
use warp::Filter;

#[derive(clap::Args)]
pub struct Args {
    /// Archives in the catalog.
    #[arg(long, default_value_t = 100_000)]
    archives: u64,
    /// Requests of each measurement.
    #[arg(long, default_value_t = 3000)]
    requests: usize,
}

pub async fn bench(args: &Args) -> Result<()> {
    let single = Single::start().await?;
    println!("writing {} archives", args.archives);
    fill::archives(&fill::scheduler_of(&single.data()).await?, args.archives).await?;
    let (_, last) = fill::scheduler_of(&single.data()).await?.log_state().await?;
    let caught_up = format!("catalog_sequence {last}");
    wait_until("the catalog to catch up", Duration::from_secs(300), async || {
        single.api.http_text("/metrics").await.ok()?.contains(&caught_up).then_some(())
    })
    .await?;
    let ours = format!("{}/api/v1/archives", single.api.url);
    let token = single.api.token.clone();
    let answer = single.api.http_text("/api/v1/archives").await?;
    let (bare, _rival) = rival(answer.clone()).await?;
    println!("an answer has {} bytes", answer.len());
    for at_once in [1, 16] {
        let bare = measure(&bare, &token, args.requests, at_once).await?;
        let ours = measure(&ours, &token, args.requests, at_once).await?;
        println!("{at_once} at once:");
        for (name, m) in [("bare handler", &bare), ("archives", &ours)] {
            println!("  {name:<13} p50 {:>8.2?}  p99 {:>8.2?}  {:>7.0} requests/s", m.p50, m.p99, m.a_second);
        }
        println!(
            "  ratio         p50 {:.2}  p99 {:.2}  requests/s {:.2}",
            ratio(ours.p50, bare.p50),
            ratio(ours.p99, bare.p99),
            ours.a_second / bare.a_second
        );
    }
    Ok(())
}

/// The rival: what such an answer costs when nothing is done for it.
async fn rival(answer: String) -> Result<(String, Server)> {
    let port = Port::claim()?;
    let child = Command::new(binary::find()?)
        .args(["-a", "127.0.0.1", "-p", &port.number().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let server = Server(child);
    let url = format!("nats://127.0.0.1:{}", port.number());
    let answers = wait_until("the rival's server", Duration::from_secs(20), async || {
        async_nats::connect(&url).await.ok()
    })
    .await?;
    let asks = async_nats::connect(&url).await?;
    let mut questions = answers.subscribe("question").await?;
    answers.flush().await?;
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(reply) = question.reply {
                let _ = answers.publish(reply, answer.clone().into()).await;
            }
        }
    });
    let handler = warp::path!("archives").then(move || {
        let asks = asks.clone();
        async move {
            let body =
                asks.request("question", "".into()).await.map(|m| m.payload.to_vec()).unwrap_or_default();
            warp::http::Response::builder().header("content-type", "application/json").body(body)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(warp::serve(handler).incoming(listener).run());
    Ok((format!("http://{address}/archives"), server))
}

/// A child that ends with the bench.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Measured {
    p50: Duration,
    p99: Duration,
    a_second: f64,
}

async fn measure(url: &str, token: &str, requests: usize, at_once: usize) -> Result<Measured> {
    let http = reqwest::Client::new();
    let one = async || -> Result<Duration> {
        let began = Instant::now();
        let response = http.get(url).bearer_auth(token).send().await?.error_for_status()?;
        response.bytes().await?;
        Ok(began.elapsed())
    };
    for _ in 0..50 {
        one().await?;
    }
    let began = Instant::now();
    let results: Vec<Result<Duration>> =
        futures::stream::iter(0..requests).map(|_| one()).buffer_unordered(at_once).collect().await;
    let took = began.elapsed();
    let mut times = results.into_iter().collect::<Result<Vec<_>>>().context("a request failed")?;
    Ok(Measured {
        p50: percentile(&mut times, 0.5),
        p99: percentile(&mut times, 0.99),
        a_second: requests as f64 / took.as_secs_f64(),
    })
}
