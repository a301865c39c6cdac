//! Numbers about requests.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// One recorder a process, whoever comes first.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

const REQUESTS: &str = "strongroom_http_requests_total";
const SECONDS: &str = "strongroom_http_request_seconds";

/// The numbers of this process.
pub struct Metrics {
    handle: Option<PrometheusHandle>,
}

impl Metrics {
    /// Begins to count.
    pub fn install() -> Self {
        let handle = RECORDER.get_or_init(|| {
            let buckets = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 120.0];
            let builder = PrometheusBuilder::new().set_buckets(buckets).ok()?;
            builder
                .install_recorder()
                .inspect_err(|e| tracing::warn!(error = %e, "requests are not counted"))
                .ok()
        });
        metrics::describe_counter!(REQUESTS, "Requests to the API, by how they were answered.");
        metrics::describe_histogram!(SECONDS, "How long answers took; a stream of events, until it began.");
        Self { handle: handle.clone() }
    }

    /// Counts a request.
    pub fn request(&self, method: &'static str, route: &'static str, status: u16, took: Duration) {
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        metrics::counter!(REQUESTS, &labels).increment(1);
        metrics::histogram!(SECONDS, "route" => route).record(took.as_secs_f64());
    }

    /// All of them, as text.
    pub fn render(&self) -> String {
        self.handle
            .as_ref()
            .map(|handle| {
                handle.run_upkeep();
                handle.render()
            })
            .unwrap_or_default()
    }
}
