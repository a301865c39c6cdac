//! What the demo does, step by step, and what it checks on the way.

use crate::client::{Answer, Client, ClientError};
use crate::commands::{escape, first_file};
use crate::output::{bytes, duration};
use crate::wait;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names of the demo's definitions.
const NAME: &str = "demo";
/// How many folders of an archive are looked into for a file.
const FOLDERS: usize = 500;

/// Runs the story; every claim in the returned verdict was checked.
pub async fn run(client: &Client, data: &Path, folder: Option<&Path>) -> anyhow::Result<String> {
    let folder = folder_to_back_up(folder)?;
    step("waiting for this machine's node to join");
    let node = joined_node(client).await?;
    step("defining a server, a destination, a repository and a plan");
    let restored = data.join("restored");
    std::fs::create_dir_all(&restored).with_context(|| restored.display().to_string())?;
    define(client, &node, data, &restored, &folder).await?;

    step(&format!("backing up {}", folder.display()));
    let first = back_up(client).await?;
    say_archive(&first);
    step("backing it up again: what has not changed is stored once");
    let second = back_up(client).await?;
    say_archive(&second);
    let (original, new) = (stat(&second, "original_size_bytes"), stat(&second, "deduplicated_size_bytes"));
    ensure!(new <= original / 10, "the second backup stored {} of {} again", bytes(new), bytes(original));

    let archives = client.list(&format!("/archives?plan={NAME}"), 50).await?;
    step(&format!("the catalog has {} archives of the plan", archives.len()));
    ensure!(archives.len() >= 2, "the catalog should have both archives");

    let archive = text(&second, "/result/archive/id")?;
    let file = some_file(client, archive).await?;
    step(&format!("found /{file} by browsing the newest archive; restoring it to a new place"));
    let target = restored.join(uuid::Uuid::now_v7().to_string());
    let body = json!({ "paths": [file], "target": { "type": "folder", "path": target } });
    let answer = client.post(&format!("/archives/{archive}/restore"), &body).await?;
    ended_well(client, &answer).await?;

    let (was, is) = (digest(&Path::new("/").join(&file))?, digest(&target.join(&file))?);
    step(&format!("SHA-256 of the original  {was}"));
    step(&format!("SHA-256 of the restored  {is}"));
    ensure!(was == is, "the restored file is not the same as the original");
    Ok(format!(
        "demo passed: two backups of {}, {} of {} stored by the second, one file restored, the same to the byte",
        folder.display(),
        bytes(new),
        bytes(original)
    ))
}

fn step(sentence: &str) {
    mention!("- {sentence}");
}

/// A folder that every Debian has, that anybody may read, and that holds enough to show something.
fn folder_to_back_up(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match given {
        Some(folder) => folder.to_owned(),
        None => ["/usr/share/doc", "/usr/share/perl", "/usr/share/zoneinfo", "/usr/share"]
            .iter()
            .map(PathBuf::from)
            .find(|f| f.is_dir())
            .context("no folder to show a backup of; name one with --folder")?,
    };
    folder.canonicalize().with_context(|| folder.display().to_string())
}

async fn joined_node(client: &Client) -> anyhow::Result<String> {
    let looking = async {
        loop {
            let nodes = client.list("/nodes", 1).await;
            if let Some(id) = nodes?.first().and_then(|n| n.get("id")).and_then(Value::as_str) {
                return Ok(id.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.context("no node joined within a minute")?
}

async fn define(
    client: &Client,
    node: &str,
    data: &Path,
    restored: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let server = json!({ "node": node, "restore_roots": [restored] });
    client.put(&format!("/servers/{NAME}"), &server, None).await?;
    let location = json!({ "location": { "type": "local", "path": data.join("repositories") } });
    client.put(&format!("/destinations/{NAME}"), &location, None).await?;
    let repository = json!({
        "id": NAME, "server": NAME, "destination": NAME, "encryption": "repokey-blake2", "generate_passphrase": true,
    });
    match client.post("/repositories", &repository).await {
        Ok(answer) => {
            let passphrase = text(&answer.body, "/passphrase")?;
            mention!("  the repository's passphrase, shown this once: {passphrase}");
            let job = answer.body.pointer("/init_job/id").and_then(Value::as_str).context("no init job")?;
            let job = wait::for_job(client, job, answer.position.as_deref(), false).await?;
            must_be_complete(&job)?;
        }
        // The second time it is there.
        Err(ClientError::Problem(p)) if p.code == "exists" => {}
        Err(e) => return Err(e.into()),
    }
    let plan = json!({
        "server": NAME, "repository": NAME, "source": { "type": "files", "paths": [folder] },
        "description": "made by the demo",
    });
    client.put(&format!("/plans/{NAME}"), &plan, None).await?;
    Ok(())
}

async fn back_up(client: &Client) -> anyhow::Result<Value> {
    let answer = client.post(&format!("/plans/{NAME}/run"), &json!({})).await?;
    ended_well(client, &answer).await
}

async fn ended_well(client: &Client, answer: &Answer) -> anyhow::Result<Value> {
    let id = text(&answer.body, "/id")?;
    let job = wait::for_job(client, id, answer.position.as_deref(), true).await?;
    must_be_complete(&job)?;
    Ok(job)
}

fn must_be_complete(job: &Value) -> anyhow::Result<()> {
    let phase = text(job, "/phase")?;
    // Somebody else's unreadable file in a folder of the system is no reason to fail the demo; it is told.
    if phase == "incomplete" {
        mention!("  some files could not be read: the job is incomplete, as 'strongroom jobs show' tells");
        return Ok(());
    }
    if phase != "complete" {
        let what = |p: &str| job.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
        bail!("a job ended as {phase}: {} {}", what("/failure/message"), what("/failure/advice"));
    }
    Ok(())
}

fn say_archive(job: &Value) {
    mention!(
        "  {} files, {} read, {} after compression, {} new in the repository, in {}",
        stat(job, "files"),
        bytes(stat(job, "original_size_bytes")),
        bytes(stat(job, "compressed_size_bytes")),
        bytes(stat(job, "deduplicated_size_bytes")),
        duration(stat(job, "duration_ms")),
    );
}

fn stat(job: &Value, name: &str) -> u64 {
    job.pointer(&format!("/result/archive/stats/{name}")).and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("the answer has no {pointer}"))
}

/// The first file with something in it, breadth first.
async fn some_file(client: &Client, archive: &str) -> anyhow::Result<String> {
    let mut folders = VecDeque::from([String::new()]);
    for _ in 0..FOLDERS {
        let Some(folder) = folders.pop_front() else { break };
        let entries = client.browse(archive, &escape(&folder), 1000).await?;
        if let Some(file) = first_file(&entries) {
            return Ok(text(file, "/path")?.to_owned());
        }
        for entry in entries.iter().filter(|e| e.get("kind").and_then(Value::as_str) == Some("d")) {
            folders.push_back(text(entry, "/path")?.to_owned());
        }
    }
    bail!("no file was found in the archive")
}

fn digest(file: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut reader = std::fs::File::open(file).with_context(|| file.display().to_string())?;
    let mut part = vec![0_u8; 64 * 1024];
    loop {
        let n = reader.read(&mut part)?;
        if n == 0 {
            break;
        }
        hash.update(part.get(..n).unwrap_or_default());
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
