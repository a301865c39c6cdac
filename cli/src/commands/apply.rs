//! `strongroom apply`: definitions from JSON, for those who keep them in files.

use super::definitions::{Kind, escape};
use super::{Outcome, Session, channels, destinations, plans, repositories, servers};
use crate::client::ClientError;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What it takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; `-` reads what comes in.
    #[arg(long, short)]
    file: PathBuf,
}

/// The kinds in the order in which they refer to each other.
const KINDS: &[(&str, &Kind)] = &[
    ("server", &servers::KIND),
    ("destination", &destinations::KIND),
    ("repository", &repositories::KIND),
    ("plan", &plans::KIND),
    ("channel", &channels::KIND),
];

/// Does it: each definition takes the place of the one that is there.
pub async fn run(args: &Args, session: &Session) -> Outcome {
    let mut documents: Vec<(usize, String, Value)> = Vec::new();
    for (n, document) in read(args)?.into_iter().enumerate() {
        documents.push(understand(n, document)?);
    }
    // Everything is understood before anything is sent, and what is referred to goes first.
    documents.sort_by_key(|(kind, _, _)| *kind);
    for (kind, id, spec) in documents {
        let Some((_, kind)) = KINDS.get(kind) else { continue };
        let answer = session.client.put(&format!("/{}/{}", kind.path, escape(&id)), &spec, None).await?;
        kind.say_defined(session, &id, &answer);
    }
    Ok(None)
}

fn read(args: &Args) -> Result<Vec<Value>, ClientError> {
    match read_json(&args.file)? {
        Value::Array(documents) => Ok(documents),
        document => Ok(vec![document]),
    }
}

/// What a file says; `-` is what comes in.
pub fn read_json(file: &Path) -> Result<Value, ClientError> {
    let failed = |e: &dyn std::fmt::Display| ClientError::Usage(format!("{}: {e}", file.display()));
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(|e| failed(&e))?;
    } else {
        text = std::fs::read_to_string(file).map_err(|e| failed(&e))?;
    }
    serde_json::from_str(&text).map_err(|e| failed(&e))
}

fn understand(n: usize, mut document: Value) -> Result<(usize, String, Value), ClientError> {
    let mut take = |field: &str| -> Result<String, ClientError> {
        let value = document.as_object_mut().and_then(|o| o.remove(field));
        match value {
            Some(Value::String(text)) => Ok(text),
            _ => {
                Err(ClientError::Declined(format!("document {}: it has no '{field}' that is a text", n + 1)))
            }
        }
    };
    let (kind, id) = (take("kind")?, take("id")?);
    match KINDS.iter().position(|(name, _)| *name == kind) {
        Some(kind) => Ok((kind, id, document)),
        None => Err(ClientError::Declined(format!(
            "document {}: '{kind}' is none of server, destination, repository, plan, channel",
            n + 1
        ))),
    }
}
