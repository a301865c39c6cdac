//! Amazon S3, and what speaks like it.

use super::http::Http;
use super::{Client, Locking, Service, retries};
use age::secrecy::{ExposeSecret, SecretString};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use std::sync::Arc;
use strongroom_domain::destination::{ObjectLock, S3, ServerSideEncryption};
use strongroom_service::clock;

/// How long what is tried out is locked: to see whether it can be.
const TRIED_OUT: SignedDuration = SignedDuration::from_mins(1);

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
    if s3.object_lock.is_some() {
        // No service takes an object with a lock without one.
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
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
    let with = |headers: HeaderMap| -> object_store::Result<Arc<dyn Client>> {
        let plain = s3.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let options = ClientOptions::new().with_allow_http(plain).with_default_headers(headers);
        Ok(Arc::new(builder.clone().with_client_options(options).build()?))
    };
    let locking = match &s3.object_lock {
        None => None,
        Some(lock) => {
            let headers = lock_headers(*lock, clock::now())?;
            let mut whole = headers.clone();
            // Some look for this one, beside the checksum itself.
            whole.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
            Some(Locking { whole: with(whole)?, in_parts: with(headers)? })
        }
    };
    Ok(Service {
        client: Arc::new(builder.build()?),
        locking,
        tells_locks: true,
        storage_class: s3.storage_class.clone(),
        knows_conditions: s3.endpoint.is_none(),
    })
}

/// What asks for a lock, of which all but writing would know nothing.
fn lock_headers(lock: ObjectLock, now: Timestamp) -> object_store::Result<HeaderMap> {
    let held = match lock.days {
        0 => TRIED_OUT,
        days => SignedDuration::from_hours(24 * i64::from(days)),
    };
    let until = now.checked_add(held).ok().and_then(|until| {
        // To the second, rounded up: no service takes more, and none may hold it for less.
        let until = until.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)).ok()?;
        until.to_string().parse().ok()
    });
    let mode = lock.mode.to_string().parse().ok();
    let odd = || object_store::Error::Generic { store: "S3", source: "the time of its lock is none".into() };
    let (mode, until) = mode.zip(until).ok_or_else(odd)?;
    Ok(HeaderMap::from_iter([
        (HeaderName::from_static("x-amz-object-lock-mode"), mode),
        (HeaderName::from_static("x-amz-object-lock-retain-until-date"), until),
    ]))
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
    use strongroom_domain::destination::LockMode;

    #[test]
    fn a_lock_holds_for_whole_days_and_never_less() {
        let now: Timestamp = "2026-11-22T10:00:00.25Z".parse().unwrap();
        for (days, until) in
            [(1, "2026-11-23T10:00:01Z"), (36_500, "2126-10-29T10:00:01Z"), (0, "2026-11-22T10:01:01Z")]
        {
            let headers = lock_headers(ObjectLock { mode: LockMode::Compliance, days }, now).unwrap();
            let value = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(value("x-amz-object-lock-mode"), "COMPLIANCE");
            assert_eq!(value("x-amz-object-lock-retain-until-date"), until);
        }
    }

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
