//! What is told of requests that failed: the place, what was tried, and the service's own words; never a secret.

use super::http::Trouble;
use crate::core::clouds::Said;
use age::secrecy::{ExposeSecret, SecretString};
use object_store::Error;
use object_store::client::HttpError;
use strongroom_domain::destination::Location;
use strongroom_domain::{Failure, FailureCode};

/// Words shorter than this are no secrets, and would be found everywhere.
const SECRET_CHARS: usize = 8;

/// Tells about one place.
pub struct Teller {
    place: String,
    hidden: Vec<SecretString>,
}

impl Teller {
    /// It knows the secret, so as not to tell it.
    pub fn new(place: &Location, secret: Option<&SecretString>) -> Self {
        let mut hidden = Vec::new();
        if let Some(secret) = secret {
            let secret = secret.expose_secret();
            // A shared access signature comes back in parts.
            let parts =
                secret.split(['&', '?']).filter_map(|part| part.split_once('=')).map(|(_, value)| value);
            let whole = std::iter::once(secret).chain(parts).filter(|part| part.len() >= SECRET_CHARS);
            hidden.extend(whole.map(SecretString::from));
        }
        Self { place: place.place(), hidden }
    }

    /// A failure of this place.
    pub fn say(&self, code: FailureCode, words: &str) -> Failure {
        let words = self
            .hidden
            .iter()
            .fold(words.to_owned(), |words, secret| words.replace(secret.expose_secret(), "***"));
        Failure::new(code, format!("{}: {words}", self.place))
    }

    /// What could not be done, and why.
    pub fn failed(&self, doing: &str, error: &Error) -> Failure {
        let why = why(error);
        let words = match &why {
            Why::Said(said) => {
                let words = [said.code.as_str(), said.message.as_str()].join(": ");
                format!(
                    "could not {doing}: the service answered {} {}",
                    said.status,
                    words.trim_matches([':', ' '])
                )
            }
            Why::Trouble(trouble) if trouble.machine => format!(
                "could not {doing}: no credentials were given with the destination, and this machine gives none ({})",
                trouble.words
            ),
            Why::Trouble(trouble) => format!("could not {doing}: {}", trouble.words),
            Why::Other(words) => format!("could not {doing}: {words}"),
        };
        self.say(code(&why, error), &words)
    }

    /// What sort of failure it is.
    pub fn code(&self, error: &Error) -> FailureCode {
        code(&why(error), error)
    }

    /// Whether it says that there is no such object; that there is no such bucket is something else.
    pub fn is_absent(&self, error: &Error) -> bool {
        let place_is_missing = |error| match why(error) {
            Why::Said(said) => !said.code.is_empty() && !OBJECT_IS_MISSING.contains(&said.code.as_str()),
            Why::Trouble(_) | Why::Other(_) => false,
        };
        matches!(error, Error::NotFound { .. }) && !place_is_missing(error)
    }

    /// Whether the service does not know what was asked.
    pub fn is_unknown_to_it(&self, error: &Error) -> bool {
        matches!(why(error), Why::Said(said) if said.is_unknown_to_it())
    }

    /// The service would let two write one name.
    pub fn unconditional(&self) -> Failure {
        let words = "the service does not know the condition 'If-None-Match: *', without which two that write at the same \
             moment would overwrite each other; use a newer version of it, or another service";
        self.say(FailureCode::DestinationError, words)
    }
}

/// Codes of services that speak of an object or an upload, and not of what it would lie in.
const OBJECT_IS_MISSING: &[&str] = &["NoSuchKey", "NoSuchUpload", "BlobNotFound", "NotFound"];

enum Why {
    Said(Said),
    Trouble(Trouble),
    Other(String),
}

fn why(error: &Error) -> Why {
    let words = error.to_string();
    if let Some(said) = Said::find(&words).or_else(|| Said::find_among_many(&words)) {
        return Why::Said(said);
    }
    let mut cause: &dyn std::error::Error = error;
    loop {
        if let Some(trouble) = cause.downcast_ref::<Trouble>() {
            return Why::Trouble(trouble.clone());
        }
        match cause.source() {
            Some(next) => cause = next,
            // The innermost says why; those around it say where, with the address.
            None => return Why::Other(cause.to_string()),
        }
    }
}

fn code(why: &Why, error: &Error) -> FailureCode {
    match (why, error) {
        (Why::Said(said), _) => said.failure_code(),
        (Why::Trouble(trouble), _) if trouble.machine => FailureCode::DestinationDenied,
        (Why::Trouble(_), _) => FailureCode::DestinationUnreachable,
        (Why::Other(_), Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {
            FailureCode::DestinationDenied
        }
        (Why::Other(_), _) if is_transport(error) => FailureCode::DestinationUnreachable,
        (Why::Other(_), _) => FailureCode::DestinationError,
    }
}

fn is_transport(error: &Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = cause {
        if e.is::<HttpError>() {
            return true;
        }
        cause = e.source();
    }
    false
}
