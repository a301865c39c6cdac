//! Amazon S3, and what speaks like it.

use super::http::Http;
use super::{Service, retries};
use age::secrecy::{ExposeSecret, SecretString};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use std::sync::Arc;
use strongroom_domain::destination::{S3, ServerSideEncryption};

/// What is taken from the node's environment when a destination has no credentials of its own; of where to go, nothing is.
const FROM_ENVIRONMENT: &[(&str, AmazonS3ConfigKey)] = &[
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

/// The way there.
pub fn service(s3: &S3, secret: Option<&SecretString>) -> object_store::Result<Service> {
    let mut builder = AmazonS3Builder::new()
        .with_http_connector(Http)
        .with_retry(retries())
        .with_bucket_name(&s3.bucket)
        .with_region(s3.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(!s3.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One by one: some services do not know the request for many, and it needs no other right.
        .with_disable_bulk_delete(true);
    match &s3.endpoint {
        // The bytes are covered by the signature, which every service checks.
        Some(endpoint) => {
            builder =
                builder.with_endpoint(host(endpoint, s3)).with_allow_http(endpoint.starts_with("http://"))
        }
        // And here by a checksum as well, which is kept with the object.
        None => builder = builder.with_checksum_algorithm(Checksum::SHA256),
    }
    match (&s3.access_key_id, secret) {
        (Some(id), Some(secret)) => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        _ => {
            for (name, key) in FROM_ENVIRONMENT {
                if let Ok(value) = std::env::var(name) {
                    builder = builder.with_config(*key, value);
                }
            }
        }
    }
    builder = match &s3.server_side_encryption {
        None => builder,
        Some(ServerSideEncryption::S3) => {
            builder.with_config("aws_server_side_encryption".parse()?, "AES256")
        }
        Some(ServerSideEncryption::Kms { key_id }) => builder.with_sse_kms_encryption(key_id),
    };
    Ok(Service {
        client: Arc::new(builder.build()?),
        storage_class: s3.storage_class.clone(),
        knows_conditions: s3.endpoint.is_none(),
    })
}

/// The address, with the bucket in the name of the host where it is to be there.
fn host(endpoint: &str, s3: &S3) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    match endpoint.split_once("://") {
        Some((scheme, host)) if !s3.path_style => format!("{scheme}://{}.{host}", s3.bucket),
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_path_or_in_the_name_of_the_host() {
        let s3 = |path_style: bool| -> S3 {
            serde_json::from_value(serde_json::json!({ "bucket": "b1", "path_style": path_style })).unwrap()
        };
        assert_eq!(host("https://s3.example.org/", &s3(true)), "https://s3.example.org");
        assert_eq!(host("https://s3.example.org/", &s3(false)), "https://b1.s3.example.org");
        let secret = SecretString::from("s");
        for path_style in [true, false] {
            let s3 = S3 { endpoint: None, ..s3(path_style) };
            assert!(service(&s3, Some(&secret)).unwrap().knows_conditions);
        }
    }
}
