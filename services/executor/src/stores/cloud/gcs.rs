//! Google Cloud Storage, through the API that is like Amazon's (its "XML API").

use super::http::Http;
use super::{Service, retries};
use age::secrecy::{ExposeSecret, SecretString};
use object_store::gcp::GoogleCloudStorageBuilder;
use std::sync::Arc;
use strongroom_domain::destination::Gcs;

/// The way there.
pub fn service(gcs: &Gcs, secret: Option<&SecretString>) -> object_store::Result<Service> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_http_connector(Http)
        .with_retry(retries())
        .with_bucket_name(&gcs.bucket);
    if let Some(endpoint) = &gcs.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    builder = match secret {
        Some(key) => builder.with_service_account_key(key.expose_secret()),
        None => match std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
            Ok(file) => builder.with_application_credentials(file),
            // Else the file of the gcloud program, or the machine's own account.
            Err(_) => builder,
        },
    };
    Ok(Service {
        client: Arc::new(builder.build()?),
        locking: None,
        tells_locks: false,
        storage_class: None,
        knows_conditions: gcs.endpoint.is_none(),
    })
}
