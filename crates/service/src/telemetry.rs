//! Logs for people and traces for collectors.
//!
//! Logs go to stderr, as text or as JSON (`STRONGROOM_LOG_FORMAT=json`), filtered by `RUST_LOG` (default `info`).
//! Traces go out over OTLP/HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and nowhere when it is not.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Keeps tracing alive; sends what is left when dropped.
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging and, when configured, tracing. A second call in one process changes nothing.
pub fn start(service: &'static str) -> Guard {
    // The exporter speaks HTTP through a client that asks for a TLS implementation even when it needs none. A second
    // call finds the first one there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let quiet = "info,async_nats=warn,hyper=warn,sled=warn,warp=off";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let layer = if std::env::var("STRONGROOM_LOG_FORMAT").is_ok_and(|f| f == "json") {
        layer.json().with_filter(filter).boxed()
    } else {
        layer.with_target(true).with_filter(filter).boxed()
    };
    let provider =
        std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok().filter(|e| !e.is_empty()).and_then(|endpoint| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
                .build()
                .inspect_err(|e| eprintln!("{service}: traces are off: {e}"))
                .ok()?;
            let resource = Resource::builder().with_service_name(service).build();
            Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
        });
    let traces = provider.as_ref().map(|p| {
        tracing_opentelemetry::layer()
            .with_tracer(p.tracer("strongroom"))
            .with_filter(EnvFilter::new("strongroom=info,info"))
    });
    let _ = tracing_subscriber::registry().with(layer).with(traces).try_init();
    Guard { provider }
}
