//! Azure Blob Storage.

use super::http::Http;
use super::{Service, retries};
use age::secrecy::{ExposeSecret, SecretString};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use std::sync::Arc;
use strongroom_domain::destination::Azure;

/// What is taken from the node's environment when a destination has no credentials of its own; of where to go, nothing is.
const FROM_ENVIRONMENT: &[(&str, AzureConfigKey)] = &[
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// The way there.
pub fn service(azure: &Azure, secret: Option<&SecretString>) -> object_store::Result<Service> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_http_connector(Http)
        .with_retry(retries())
        .with_account(&azure.account)
        .with_container_name(&azure.container)
        // A right of its own, which is not asked for.
        .with_disable_tagging(true);
    if let Some(endpoint) = &azure.endpoint {
        builder = builder
            .with_endpoint(endpoint.trim_end_matches('/').to_owned())
            .with_allow_http(endpoint.starts_with("http://"));
    }
    match secret.map(ExposeSecret::expose_secret) {
        // It has a signature among its parts, and a key in base64 has no '&'.
        Some(signature) if signature.contains("sig=") => {
            // People copy it with the address that it belongs to.
            let signature = signature.rsplit('?').next().unwrap_or(signature);
            builder = builder.with_config(AzureConfigKey::SasKey, signature.trim());
        }
        Some(key) => builder = builder.with_access_key(key.trim()),
        None => {
            for (name, key) in FROM_ENVIRONMENT {
                if let Ok(value) = std::env::var(name) {
                    builder = builder.with_config(*key, value);
                }
            }
        }
    }
    Ok(Service {
        client: Arc::new(builder.build()?),
        locking: None,
        tells_locks: false,
        storage_class: None,
        knows_conditions: azure.endpoint.is_none(),
    })
}
