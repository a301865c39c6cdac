//! What every service's main needs: configuration, tracing, health, shutdown.
