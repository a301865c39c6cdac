//! One trace from the HTTP request through scheduler and executor to the catalog.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use strongroom_e2e::{Fleet, HttpSink, PATIENCE, Tree, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_through_all_services() -> Result<()> {
    let sink = HttpSink::start().await?;
    let endpoint = sink.url();
    let fleet = Fleet::start_with(1, |_, process| {
        process.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).env("OTEL_BSP_SCHEDULE_DELAY", "200")
    })
    .await?;
    let tree = Tree::new(60, 3, 100)?;
    fleet.api.define("web", fleet.folder(), &[tree.path()]).await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = fleet
        .api
        .request(Method::POST, "/plans/web/run")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let asked = fleet.api.send(request.json(&json!({}))).await?.expect(202)?;
    fleet.api.ended(asked.text("/id")?).await?;

    // A span stands in OTLP's protobuf with the 16 bytes of its trace, in a message that names its service.
    let id: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&trace[2 * i..2 * i + 2], 16).unwrap()).collect();
    let holds = |body: &[u8], part: &[u8]| body.windows(part.len()).any(|w| w == part);
    for service in ["gateway", "scheduler", "executor", "catalog"] {
        let name = format!("strongroom-{service}");
        wait_until(&format!("a span of {service} in the trace"), PATIENCE, async || {
            let found = sink.received().iter().any(|r| {
                r.line.contains("/v1/traces") && holds(&r.body, &id) && holds(&r.body, name.as_bytes())
            });
            found.then_some(())
        })
        .await
        .map_err(|e| {
            let lines: Vec<String> =
                sink.received().iter().map(|r| format!("{} {}", r.line, r.body.len())).collect();
            anyhow::anyhow!("{e}: {lines:?} {}", fleet.last_words())
        })?;
    }
    Ok(())
}
