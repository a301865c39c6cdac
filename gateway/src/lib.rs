//! HTTP API, live events, the page.
