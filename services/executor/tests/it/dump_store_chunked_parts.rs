//! Parts in chunks, of databases and files: put together as a whole, in part, and by hand.

use crate::databases::Databases;
use crate::downloads;
use crate::dump_store::{archive_of, backup, folder, init, restore};
use crate::dump_store_chunks::{bytes, chunks, delete, large, once, outcome};
use crate::stage::{PASSPHRASE, Stage};
use crate::stores::noise;
use anyhow::{Context, Result};
use serde_json::json;
use strongroom_domain::FailureCode as Code;

#[tokio::test(flavor = "multi_thread")]
async fn an_application_comes_back_out_of_chunks_as_a_whole_and_in_part() -> Result<()> {
    let all = Databases::new().await?;
    let stage = &all.stage;
    let (app, place) = (folder(stage, "app")?, folder(stage, "store")?);
    std::fs::write(app.join("small"), "small")?;
    std::fs::write(app.join("large"), noise(3, 12 << 20))?;
    all.server.sql(
        "shop",
        "create table big as select n, md5(n::text) || md5((n + 1)::text) as what from generate_series(1, 200000) n",
    )?;
    let access = once(stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let mut postgresql = all.backup(json!({ "databases": ["shop"] }))["source"].clone();
    postgresql.as_object_mut().context("a source")?.remove("type");
    let backup = json!({
        "kind": "backup", "plan": "p", "access": access, "compression": "zstd",
        "source": { "type": "application", "files": { "paths": [app] }, "postgresql": postgresql },
    });
    let first = archive_of(stage, backup.clone()).await?;
    all.server.sql("shop", "update big set what = 'changed' where n = 100000")?;
    std::fs::write(app.join("small"), "changed")?;
    let second = archive_of(stage, backup).await?;
    let (new, whole) = (bytes(&second, "deduplicated_size_bytes"), bytes(&second, "compressed_size_bytes"));
    assert!(new * 2 < whole, "{new} of {whole}");
    stage.success(delete(&access, &first)).await?;

    let before = all.text("shop")?;
    let path = "postgresql/databases/shop.dump";
    stage.success(all.restore(&second, path, "copy", json!({ "access": access }))).await?;
    assert_eq!(all.text("copy")?, before);
    let roots = folder(stage, "roots")?;
    let inside = app.strip_prefix("/")?.display().to_string();
    let mut some = restore(&access, &second, &roots);
    some["paths"] = json!([format!("{inside}/small")]);
    let mut dry = some.clone();
    dry["dry_run"] = json!(true);
    let told = outcome(stage, dry).await?;
    assert_eq!(told["result"]["preview"]["files"], 1, "{told}");
    stage.success(some).await?;
    assert_eq!(std::fs::read_to_string(roots.join(&inside).join("small"))?, "changed");
    assert!(!roots.join(&inside).join("large").exists());
    let large = format!("{inside}/large");
    let download = |form: &str, paths: &[&str]| downloads::download(&access, &second, form, paths);
    assert!(downloads::bytes(stage, download("raw", &[&large])).await? == noise(3, 12 << 20));
    let dump = downloads::bytes(stage, download("raw", &[path])).await?;
    let part = second["dump"]["artefacts"].as_array().context("parts")?.iter().find(|a| a["path"] == path);
    assert_eq!(part.context("the dump")?["size_bytes"], dump.len() as u64);
    assert!(dump.starts_with(b"PGDMP"));
    assert!(downloads::bytes(stage, download("zip", &[])).await?.starts_with(b"PK"));

    // A chunk that was changed is noticed by all of them.
    let (_, chunk) =
        chunks(&place).into_iter().max_by_key(|(_, path)| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&chunk)?;
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(&chunk, bytes)?;
    let again = folder(stage, "again")?;
    let failure = stage.failure(restore(&access, &second, &again), Code::ArchiveDamaged).await?;
    assert!(failure.message.contains("the chunk chunks/"), "{failure:?}");
    assert_eq!(std::fs::read_dir(&again)?.count(), 0);
    assert_eq!(downloads::failure(stage, download("tar", &[])).await?, Code::ArchiveDamaged);
    all.nothing_is_left();
    Ok(())
}

/// What stands in docs/destinations.md, with the programs that people have.
const BY_HAND: &str = r#"
set -eu -o pipefail
plain() { case $1 in *.zst*) zstd -dc ;; *.gz*) gzip -dc ;; *) cat ;; esac; }
part=$(jq -c '.dump.artefacts[] | select(.path == env.WANTED)' "$ARCHIVE/strongroom.json")
list=$(jq -r .stored.object <<<"$part")
age -d -i "$KEY" "$list" | plain "$list" > list
while read -r id plain stored suffix; do
    age -d -i "$KEY" "chunks/${id:0:2}/$id-$stored$suffix" | plain "$suffix"
done < list > part
echo "$(jq -r .sha256 <<<"$part")  part" | sha256sum --check --quiet
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_put_together_by_hand() -> Result<()> {
    let stage = Stage::set().await?;
    let data = folder(&stage, "data")?.join("a.db");
    large(&data)?;
    let place = folder(&stage, "store")?;
    let access = once(&stage, &place, "passphrase");
    stage.success(init(&access)).await?;
    let archive = archive_of(&stage, backup(&access, "zstd", &[&data])).await?;
    // `age -d key.age` asks a terminal for the passphrase, which a test has not.
    let sealed = std::fs::read(place.join("s/r/key.age"))?;
    let opener = age::scrypt::Identity::new(PASSPHRASE.to_owned().into());
    let key = stage.path("key");
    std::fs::write(&key, age::decrypt(&opener, &sealed)?)?;
    let done = std::process::Command::new("bash")
        .args(["-c", BY_HAND])
        .current_dir(place.join("s/r"))
        .env("KEY", &key)
        .env("ARCHIVE", format!("archives/{}", archive["name"].as_str().context("a name")?))
        .env("WANTED", format!("sqlite{}", data.display()))
        .output()?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::read(place.join("s/r/part"))? == std::fs::read(&data)?);
    Ok(())
}
