//! Files in dump stores: what the system's tar packs comes back, whole or in part, and nowhere else.

use crate::dump_store::{access, archive_of, folder, init};
use crate::look;
use crate::sqlite::{accounts, sum};
use crate::stage::Stage;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use strongroom_domain::FailureCode as Code;

/// A tree with what a tar, a list and a glob would each misread.
fn odd_tree(stage: &Stage) -> Result<PathBuf> {
    let app = folder(stage, "app [x]*")?;
    std::fs::create_dir_all(app.join("a/node_modules/deep"))?;
    std::fs::create_dir_all(app.join("-b/empty"))?;
    std::fs::create_dir_all(app.join("cache"))?;
    std::fs::write(app.join("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55")?;
    std::fs::write(app.join("cache/x"), "cached")?;
    std::fs::write(app.join("a/node_modules/deep/x"), "x")?;
    std::fs::write(app.join("a/x.tmp"), "x")?;
    std::fs::write(app.join("a/back\\slash"), "x")?;
    std::fs::write(app.join("-b/é\nnew: line"), vec![9; 300_000])?;
    std::fs::write(app.join(".env"), "KEY=1\n")?;
    std::fs::set_permissions(app.join(".env"), std::fs::Permissions::from_mode(0o640))?;
    std::fs::hard_link(app.join(".env"), app.join("env-again"))?;
    symlink("/etc/passwd", app.join("link"))?;
    symlink("/dev/zero", app.join("endless"))?;
    Ok(app)
}

const EXCLUDES: [&str; 3] = ["*.tmp", "*/node_modules", "pp:/not/there"];

fn files(app: &Path) -> Value {
    json!({ "type": "files", "paths": [app], "excludes": EXCLUDES, "exclude_caches": true })
}

fn backup(access: &Value, source: Value) -> Value {
    json!({ "kind": "backup", "plan": "p", "access": access, "compression": "zstd", "source": source })
}

fn restore(access: &Value, archive: &Value, roots: &Path, paths: &[String]) -> Value {
    json!({
        "kind": "restore", "access": access, "allowed_roots": [roots], "paths": paths,
        "archive": { "id": archive["id"], "name": archive["name"], "borg_id": archive["borg_id"] },
        "target": { "type": "folder", "path": roots },
    })
}

/// All names below a folder.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let found = Command::new("find").arg(folder).args(["-mindepth", "1", "-printf", "%P\\0"]).output()?;
    let text = String::from_utf8(found.stdout)?;
    Ok(text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_into_a_dump_store_as_they_do_into_borg_and_come_back() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let app = odd_tree(&stage)?;
    let access = access(&stage, &folder(&stage, "place")?, "passphrase");
    stage.success(init(&access)).await?;
    let archive = archive_of(&stage, backup(&access, files(&app))).await?;
    let dump = &archive["dump"];
    assert_eq!(
        (&dump["source"], &dump["paths"], &dump["artefacts"][0]["kind"]),
        (&json!("files"), &json!([app]), &json!("files"))
    );
    let inside = app.strip_prefix("/")?.display().to_string();
    let back = folder(&stage, "back")?;
    stage.success(restore(&access, &archive, &back, &[])).await?;
    let restored = back.join(&inside);
    assert_eq!(std::fs::read(restored.join("-b/é\nnew: line"))?, vec![9; 300_000]);
    assert_eq!(std::fs::read_link(restored.join("link"))?, Path::new("/etc/passwd"));
    let (env, again) = (restored.join(".env").metadata()?, restored.join("env-again").metadata()?);
    assert_eq!((env.mode() & 0o777, env.ino()), (0o640, again.ino()));
    assert_eq!(env.mtime(), app.join(".env").metadata()?.mtime());
    // The same excludes mean the same to borg.
    let mut of_borg = stage.backup(&app);
    of_borg["source"] = files(&app);
    let of_borg = archive_of(&stage, of_borg).await?;
    let name = format!("{}::{}", look::repository(&stage), of_borg["name"].as_str().unwrap());
    let listed = look::borg(&stage, &["list", "--format", "{path}{NUL}", &name])?;
    let mut by_borg: BTreeSet<String> = listed
        .split('\0')
        .filter_map(|path| Some(path.strip_prefix(&inside)?.trim_start_matches('/').to_owned()))
        .collect();
    by_borg.remove("");
    assert_eq!(names(&restored)?, by_borg);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_many_comes_back_alone_and_one_that_is_not_there_leaves_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let app = odd_tree(&stage)?;
    let access = access(&stage, &folder(&stage, "place")?, "none");
    stage.success(init(&access)).await?;
    let archive = archive_of(&stage, backup(&access, files(&app))).await?;
    let inside = app.strip_prefix("/")?.display().to_string();
    let back = folder(&stage, "back")?;
    let of = |paths: &[String]| restore(&access, &archive, &back, paths);
    stage.success(of(&[format!("{inside}/-b"), format!("{inside}/link")])).await?;
    let expected = ["-b", "-b/empty", "-b/é\nnew: line", "link"].map(str::to_owned);
    assert_eq!(names(&back.join(&inside))?, BTreeSet::from(expected));
    // What stands there is not touched, and what is not there is told.
    std::fs::write(back.join(&inside).join("-b/é\nnew: line"), "changed")?;
    stage.failure(of(&[format!("{inside}/-b")]), Code::TargetExists).await?;
    assert_eq!(std::fs::read(back.join(&inside).join("-b/é\nnew: line"))?, b"changed");
    let failure = stage
        .failure(of(&[format!("{inside}/.env"), format!("{inside}/no*")]), Code::PathNotInArchive)
        .await?;
    assert!(failure.message.contains("no*"), "{failure:?}");
    assert!(!back.join(&inside).join(".env").exists());
    stage.success(of(&["files.tar".to_owned()])).await?;
    let listed = Command::new("tar").arg("--list").arg("--file").arg(back.join("files.tar")).output()?;
    assert!(String::from_utf8_lossy(&listed.stdout).contains("/.env"));
    // A file of two names comes back under either, without the other.
    for name in [".env", "env-again"] {
        let alone = folder(&stage, &format!("alone {name}"))?;
        stage.success(restore(&access, &archive, &alone, &[format!("{inside}/{name}")])).await?;
        assert_eq!(std::fs::read_to_string(alone.join(&inside).join(name))?, "KEY=1\n");
        assert_eq!(names(&alone.join(&inside))?, BTreeSet::from([name.to_owned()]));
    }
    // What a restore would do is told of the files, and not of the part that they are in.
    let preview = async |paths: &[String], policy: &str| {
        let mut dry = of(paths);
        dry["dry_run"] = json!(true);
        dry["on_conflict"] = json!(policy);
        let outcome = serde_json::to_value(stage.success(dry).await?)?;
        Ok::<_, anyhow::Error>(outcome["result"]["preview"].clone())
    };
    let told = preview(&[format!("{inside}/-b")], "overwrite").await?;
    assert_eq!((&told["files"], &told["overwritten"]["total"]), (&json!(1), &json!(1)), "{told}");
    let told = preview(&[], "fail").await?;
    assert!(told["refusal"].is_string() && told["in_the_way"]["total"] == 1, "{told}");
    assert!(told["created"]["total"].as_u64() > Some(2), "{told}");
    // Back over the original.
    std::fs::remove_dir_all(app.join("-b"))?;
    let mut original = of(&[format!("{inside}/-b")]);
    original["allowed_roots"] = json!([app]);
    original["target"] = json!({ "type": "original" });
    stage.success(original).await?;
    assert_eq!(std::fs::read(app.join("-b/é\nnew: line"))?.len(), 300_000);
    // A byte that is another is noticed before anything is placed.
    let object =
        stage.path("place/s/r").join(archive["dump"]["artefacts"][0]["stored"]["object"].as_str().unwrap());
    let mut bytes = std::fs::read(&object)?;
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&object, bytes)?;
    let other = folder(&stage, "other")?;
    stage.failure(restore(&access, &archive, &other, &[]), Code::ArchiveDamaged).await?;
    assert_eq!(names(&other)?, BTreeSet::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_comes_into_a_dump_store_as_a_whole() -> Result<()> {
    let stage = Stage::set().await?;
    let app = odd_tree(&stage)?;
    let database = app.join("app.db");
    drop(accounts(&database, "wal")?);
    let access = access(&stage, &folder(&stage, "place")?, "passphrase");
    stage.success(init(&access)).await?;
    let source = json!({
        "type": "application", "sqlite": { "paths": [database] },
        "files": { "paths": [app], "excludes": ["*.db", "*.db-*"] },
    });
    let archive = archive_of(&stage, backup(&access, source.clone())).await?;
    let dump = &archive["dump"];
    assert_eq!((&dump["source"], &dump["artefacts_total"]), (&json!("application"), &json!(4)), "{dump}");
    let back = folder(&stage, "back")?;
    stage.success(restore(&access, &archive, &back, &[])).await?;
    assert_eq!(sum(&back.join("sqlite").join(database.strip_prefix("/")?))?, (20000, 2_000_000, "ok".into()));
    assert_eq!(std::fs::read_to_string(back.join(app.strip_prefix("/")?).join(".env"))?, "KEY=1\n");
    let mut missing = backup(&access, source);
    missing["source"]["files"]["paths"] = json!([app, "/not/there"]);
    stage.failure(missing, Code::SourceMissing).await?;
    Ok(())
}
