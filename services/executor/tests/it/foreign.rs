//! Dumps that others have made, in whatever wrapping, out of files that somebody names.

use crate::dump_store::folder;
use crate::{databases, mysql};
use age::secrecy::ExposeSecret;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strongroom_domain::FailureCode as Code;

/// What a program makes of these bytes.
fn through(program: &str, arguments: &[&str], bytes: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let done = child.wait_with_output()?;
    writing.join().unwrap()?;
    anyhow::ensure!(done.status.success(), "{program}");
    Ok(done.stdout)
}

/// A tar of these files, by the program of that name.
fn tar(at: &Path, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir_in(at)?;
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap())?;
        std::fs::write(path, bytes)?;
    }
    let mut command = Command::new("tar");
    let done = command.args(["-C"]).arg(folder.path()).args(["-c", "--sort=name", "."]).output()?;
    anyhow::ensure!(done.status.success());
    Ok(done.stdout)
}

/// A zip, as one that does not know its sizes when it begins writes it, or as one that does.
fn zip(members: &[(&str, &[u8])], described_after: bool) -> Result<Vec<u8>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflated.write_all(bytes)?;
        let deflated = deflated.finish()?;
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let numbers = [crc.sum(), deflated.len() as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
        let told = if described_after { vec![0; 12] } else { numbers.clone() };
        let flags: u16 = if described_after { 8 } else { 0 };
        out.extend([b"PK\x03\x04\x14\0".as_slice(), &flags.to_le_bytes(), b"\x08\0\0\0\0\0", &told].concat());
        out.extend([(name.len() as u16).to_le_bytes(), [0, 0]].concat());
        out.extend(name.as_bytes());
        out.extend(deflated);
        if described_after {
            out.extend([b"PK\x07\x08".as_slice(), &numbers].concat());
        }
        directory.extend(b"PK\x01\x02");
        directory.extend(vec![0; 42]);
    }
    out.extend(directory);
    Ok(out)
}

struct Files {
    root: PathBuf,
}

impl Files {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.root.join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}

fn dump(all: &databases::Databases, arguments: &[&str]) -> Result<Vec<u8>> {
    let done = all.server.tool("pg_dump").args(arguments).env("PGDATABASE", "shop").output()?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

fn restore(all: &databases::Databases, files: &Files, path: &Path, database: &str, changes: Value) -> Value {
    let source = all.backup(json!({}));
    let mut spec = json!({
        "kind": "restore-dump", "path": path, "allowed_roots": [files.root],
        "into": { "type": "postgresql", "connection": source["source"]["connection"], "database": database },
    });
    spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_postgresql_is_known_by_what_it_is_in_any_wrapping() -> Result<()> {
    let all = databases::Databases::new().await?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let before = all.text("shop")?;
    let (custom, plain, tarred) = (dump(&all, &["-Fc"])?, dump(&all, &[])?, dump(&all, &["-Ft"])?);
    let key = age::x25519::Identity::generate();
    all.stage.secrets.lock().unwrap().insert("key".into(), key.to_string().expose_secret().to_owned());
    all.stage.secrets.lock().unwrap().insert("word".into(), "a passphrase".into());
    let mut weak = age::scrypt::Recipient::new("a passphrase".to_owned().into());
    weak.set_work_factor(4);
    let gzip = |bytes: &[u8]| through("gzip", &["-c"], bytes);
    let zstd = |bytes: &[u8]| Ok::<_, anyhow::Error>(zstd::encode_all(bytes, 3)?);
    let around =
        [("./.env", b"SECRET=1\n".as_slice()), ("./deep/database.dump", &custom), ("./metadata.json", b"{}")];
    let cases: Vec<(&str, Vec<u8>, &str, Option<&str>)> = vec![
        ("custom.txt", custom.clone(), "custom format", None),
        ("plain", plain.clone(), "as SQL", None),
        ("tar.dump", tarred, "tar format", None),
        ("x.gz", gzip(&plain)?, "as SQL, in gzip", None),
        // Two of them after one another are one.
        ("x.sql.gz", [gzip(&plain[..999])?, gzip(&plain[999..])?].concat(), "as SQL, in gzip", None),
        ("x.zst", zstd(&custom)?, "custom format, in zstd", None),
        ("x.xz", through("xz", &["-c"], &plain)?, "as SQL, in xz", None),
        ("x.bz2", through("bzip2", &["-c"], &custom)?, "custom format, in bzip2", None),
        ("x.zip", zip(&[("shop.sql", &plain)], true)?, "as SQL, in zip (shop.sql)", None),
        ("y.zip", zip(&[("shop.sql", &plain)], false)?, "as SQL, in zip (shop.sql)", None),
        (
            "x.age",
            age::encrypt(&key.to_public(), &gzip(&custom)?)?,
            "custom format, in gzip, in age",
            Some("key"),
        ),
        ("y.age", age::encrypt(&weak, &plain)?, "as SQL, in age", Some("word")),
        (
            "app.tar.xz",
            through("xz", &["-c"], &tar(&files.root, &around)?)?,
            "custom format, in tar, in xz (./deep/database.dump)",
            None,
        ),
        (
            "deep",
            gzip(&tar(&files.root, &[("inner.zst", &zstd(&plain)?)])?)?,
            "as SQL, in zstd, in tar, in gzip (./inner.zst)",
            None,
        ),
    ];
    for (n, (name, bytes, words, secret)) in cases.into_iter().enumerate() {
        let path = files.put(name, &bytes)?;
        let database = format!("copy{n}");
        let mut spec = restore(&all, &files, &path, &database, json!({}));
        if let Some(secret) = secret {
            let failure = all.stage.failure(spec.clone(), Code::SecretMissing).await?;
            assert!(failure.message.contains("age"), "{failure:?}");
            spec["identity"] = json!({ "reference": secret, "version": 1 });
        }
        let done = serde_json::to_value(all.stage.success(spec).await.context(name)?)?;
        assert_eq!(done["completeness"], "complete", "{name}: {done}");
        assert!(done["result"]["recognised"].as_str().unwrap().ends_with(words), "{name}: {done}");
        assert_eq!(all.text(&database)?, before, "{name}");
        let sha256 = done["result"]["sha256"].as_str().unwrap();
        if words.contains("SQL") {
            assert_eq!(sha256, strongroom_executor::core::sum::of(&plain).sha256, "{name}");
        }
        all.server.sql("postgres", &format!("drop database {database}"))?;
    }
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_gpg_has_encrypted_comes_back_with_its_key_and_with_no_other() -> Result<()> {
    let all = databases::Databases::new().await?;
    all.server.sql(
        "shop",
        "create table much as select n, sha512(n::text::bytea) as x from generate_series(1, 30000) n",
    )?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let before = all.text("shop")?;
    let (us, others) =
        (crate::gpg::Person::new("us@example.org")?, crate::gpg::Person::new("them@example.org")?);
    for (name, person) in [("us", &us), ("others", &others)] {
        all.stage.secrets.lock().unwrap().insert(name.into(), person.secret()?);
    }
    let zipped = through("gzip", &["-c"], &dump(&all, &[])?)?;
    let to_us = ["--trust-model", "always", "--recipient", "us@example.org", "--encrypt"];
    let binary = us.gpg(&to_us, &zipped)?;
    let text = us.gpg(&[&["--armor"], &to_us[..]].concat(), &dump(&all, &["-Fc"])?)?;
    let with = |spec: &Value, name: &str| {
        let mut spec = spec.clone();
        spec["identity"] = json!({ "reference": name, "version": 1 });
        spec
    };
    for (name, bytes, words) in
        [("a.sql.gz.gpg", &binary, "as SQL, in gzip, in gpg"), ("a.asc", &text, "custom format, in gpg")]
    {
        let path = files.put(name, bytes)?;
        let spec = restore(&all, &files, &path, "copy", json!({}));
        let missing = all.stage.failure(spec.clone(), Code::SecretMissing).await?;
        assert!(missing.message.contains("gpg") && missing.message.contains("identity"), "{missing:?}");
        all.stage.failure(with(&spec, "others"), Code::WrongPassphrase).await?;
        let done = serde_json::to_value(all.stage.success(with(&spec, "us")).await.context(name)?)?;
        assert!(done["result"]["recognised"].as_str().unwrap().ends_with(words), "{done}");
        assert_eq!(all.text("copy")?, before, "{name}");
        all.server.sql("postgres", "drop database copy")?;
    }
    let half = files.put("half.gpg", &binary[..binary.len() * 2 / 3])?;
    let spec = restore(&all, &files, &half, "copy", json!({}));
    all.stage.failure(with(&spec, "us"), Code::FileDamaged).await?;
    let by_word = us.gpg(&["--passphrase", "w", "--symmetric"], &zipped)?;
    let path = files.put("word.gpg", &by_word)?;
    let unknown =
        all.stage.failure(restore(&all, &files, &path, "copy", json!({})), Code::FormatUnknown).await?;
    assert!(unknown.message.contains("with a passphrase"), "{unknown:?}");
    assert_eq!(all.databases()?, "postgres,shop");
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_goes_where_it_is_told_and_runs_nothing_on_the_node() -> Result<()> {
    let all = databases::Databases::new().await?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let before = all.text("shop")?;
    // It would drop the database that it is of, and make it again.
    let create = files.put("create.sql", &dump(&all, &["-C", "-c"])?)?;
    all.server.sql("shop", "create table newer as select 1 as x")?;
    let newer = all.text("shop")?;
    all.stage.success(restore(&all, &files, &create, "copy", json!({}))).await?;
    assert_eq!((all.text("copy")?, all.text("shop")?), (before, newer.clone()));
    all.server.sql("postgres", "drop database copy")?;

    let plain = String::from_utf8(dump(&all, &[])?)?;
    let made = all.stage.path("made by a dump");
    let (made, stands) = (made.display().to_string(), all.databases()?);
    for command in [
        format!("\\! touch '{made}'\n"),
        format!("select 1; \\! touch '{made}'\n"),
        format!("select 1 \\g | touch '{made}'\n"),
        "\\connect shop\ndrop table newer;\n".to_owned(),
        "drop database if exists copy;\n".to_owned(),
    ] {
        let (head, tail) = plain.split_once("CREATE TABLE").context("a table")?;
        let path = files.put("evil.sql", format!("{head}CREATE TABLE{tail}\n{command}").as_bytes())?;
        all.stage
            .failure(restore(&all, &files, &path, "copy", json!({})), Code::RestoreFailed)
            .await
            .context(command.clone())?;
        let path = files.put("evil.sql", format!("{command}{plain}").as_bytes())?;
        let _ = all.stage.end(restore(&all, &files, &path, "copy", json!({}))).await?;
        assert!(!Path::new(&made).exists(), "{command}");
        assert_eq!(all.text("shop")?, newer, "{command}");
        all.server.sql("postgres", "drop database if exists copy")?;
    }
    assert_eq!(all.databases()?, stands);
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_damaged_or_unknown_is_told_and_replaces_nothing() -> Result<()> {
    let all = databases::Databases::new().await?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let (custom, plain) = (dump(&all, &["-Fc", "-Z0"])?, dump(&all, &[])?);
    let stands = all.databases()?;
    let gz = through("gzip", &["-c"], &plain)?;
    let xz = through("xz", &["-c"], &plain)?;
    let mut flipped = gz.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    let mut zipped = zip(&[("a", &plain)], true)?;
    let at = zipped.windows(4).position(|w| w == b"PK\x07\x08").unwrap() + 4;
    zipped[at] ^= 1;
    for (what, bytes, code) in [
        ("a short gzip", gz[..gz.len() - 4].to_vec(), Code::FileDamaged),
        ("another sum", flipped, Code::FileDamaged),
        ("a short xz", xz[..xz.len() - 30].to_vec(), Code::FileDamaged),
        ("another sum in a zip", zipped, Code::FileDamaged),
        ("a short zstd", zstd::encode_all(plain.as_slice(), 3)?[..900].to_vec(), Code::FileDamaged),
        (
            "a short tar",
            tar(&files.root, &[("a", &plain), ("b", b"x")])?[..plain.len()].to_vec(),
            Code::FileDamaged,
        ),
        ("a short dump", custom[..custom.len() / 2].to_vec(), Code::RestoreFailed),
        ("in the middle of a table", plain[..plain.len() / 2].to_vec(), Code::RestoreFailed),
        ("words", b"these are words".to_vec(), Code::FormatUnknown),
        ("nothing", Vec::new(), Code::FormatUnknown),
        ("another system", b"-- MariaDB dump 10\nCREATE TABLE `a` (n int);\n".to_vec(), Code::FormatUnknown),
        ("a cluster", b"--\n-- PostgreSQL database cluster dump\n--\n".to_vec(), Code::FormatUnknown),
        ("two of them", tar(&files.root, &[("a", &plain), ("b", &custom)])?, Code::FormatUnknown),
        ("none of them", tar(&files.root, &[("a", b"x"), ("b", b"BZh9")])?, Code::FormatUnknown),
        ("two in a zip", zip(&[("a", &plain), ("b", &plain)], true)?, Code::FormatUnknown),
    ] {
        let path = files.put("file", &bytes)?;
        let spec = restore(&all, &files, &path, "copy", json!({}));
        let failure = all.stage.failure(spec, code).await.with_context(|| what.to_owned())?;
        if what == "two of them" {
            assert!(failure.message.contains("./a, ./b"), "{failure:?}");
        }
        if what == "none of them" {
            assert!(failure.message.contains("./b bzip2"), "{failure:?}");
        }
        assert_eq!(all.databases()?, stands, "{what}");
    }
    let both = files.put("both", &tar(&files.root, &[("a", &plain), ("b", &custom)])?)?;
    let done = all.stage.success(restore(&all, &files, &both, "copy", json!({ "member": "./b" }))).await?;
    assert!(serde_json::to_value(done)?["result"]["recognised"].as_str().unwrap().contains("custom"));
    // It lacks its end, between two tables: what can be had of it is had, and replaces nothing.
    let text = String::from_utf8(plain)?;
    let (most, _) = text.rsplit_once("\n\\.\n").context("data")?;
    let short = files.put("short.sql", format!("{most}\n\\.\n").as_bytes())?;
    let done =
        serde_json::to_value(all.stage.success(restore(&all, &files, &short, "most", json!({}))).await?)?;
    assert_eq!(done["completeness"], "incomplete", "{done}");
    assert!(done["findings"][0]["message"].as_str().unwrap().contains("cut off"), "{done}");
    let before = all.text("shop")?;
    let spec = restore(&all, &files, &short, "shop", json!({ "on_conflict": "overwrite" }));
    all.stage.failure(spec, Code::FileDamaged).await?;
    let spec = restore(&all, &files, &both, "shop", json!({ "member": "./a" }));
    all.stage.failure(spec, Code::TargetExists).await?;
    assert_eq!(all.text("shop")?, before);

    // Looking costs nothing.
    let spec = restore(&all, &files, &both, "shop", json!({ "member": "./a", "dry_run": true }));
    let told = serde_json::to_value(all.stage.success(spec).await?)?;
    assert_eq!(told["result"]["preview"]["action"], "refuse", "{told}");
    assert!(
        told["result"]["preview"]["dumped_from"].as_str().unwrap().ends_with("as SQL, in tar (./a)"),
        "{told}"
    );
    all.nothing_is_left();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_from_where_that_is_allowed_and_from_nowhere_else() -> Result<()> {
    let all = databases::Databases::new().await?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let outside = folder(&all.stage, "outside")?;
    std::fs::write(outside.join("x.sql"), dump(&all, &[])?)?;
    std::os::unix::fs::symlink(outside.join("x.sql"), files.root.join("link"))?;
    std::os::unix::fs::symlink(&outside, files.root.join("folder"))?;
    std::fs::create_dir(files.root.join("is a folder"))?;
    let done = Command::new("mkfifo").arg(files.root.join("pipe")).status()?;
    assert!(done.success());
    for path in [
        outside.join("x.sql"),
        files.root.join("link"),
        files.root.join("folder/x.sql"),
        files.root.join("../outside/x.sql"),
        files.root.join("is a folder"),
        files.root.join("pipe"),
        files.root.join("never there"),
        PathBuf::from("/etc/shadow"),
    ] {
        let spec = restore(&all, &files, &path, "copy", json!({}));
        all.stage.failure(spec, Code::FileRefused).await.with_context(|| path.display().to_string())?;
    }
    let mut nowhere = restore(&all, &files, &outside.join("x.sql"), "copy", json!({}));
    nowhere["allowed_roots"] = json!([]);
    all.stage.failure(nowhere, Code::FileRefused).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_mariadb_comes_back_into_the_database_that_is_named() -> Result<()> {
    let all = mysql::Databases::new().await?;
    let files = Files { root: folder(&all.stage, "dumps")? };
    let dump = |arguments: &[&str]| -> Result<Vec<u8>> {
        let mut command = all.server.tool("mariadb-dump");
        let done = command.args(["--routines", "--events", "--hex-blob"]).args(arguments).output()?;
        anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(done.stdout)
    };
    let restore = |path: &Path, database: &str, changes: Value| {
        let mut spec = json!({
            "kind": "restore-dump", "path": path, "allowed_roots": [files.root],
            "into": { "type": "mysql", "connection": all.connection(), "database": database },
        });
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    };
    let rows = "select count(*) from `odd ``\n\\! name`";
    let named = files.put(
        "named.sql.gz",
        &through("gzip", &["-c"], &dump(&["--add-drop-database", "--databases", "shop"])?)?,
    )?;
    all.server.sql("shop", "create table newer (n int)")?;
    let newer = all.text("shop")?;
    let done = serde_json::to_value(all.stage.success(restore(&named, "copy", json!({}))).await?)?;
    assert_eq!((&done["completeness"], &done["result"]["tables"]), (&json!("complete"), &json!(2)), "{done}");
    assert_eq!((all.server.sql("copy", rows)?, all.text("shop")?), ("2000".into(), newer.clone()));
    // Where it replaces another, all but its events can be moved, and that is told.
    let over = restore(&named, "copy", json!({ "on_conflict": "overwrite" }));
    let done = serde_json::to_value(all.stage.success(over).await?)?;
    assert_eq!(done["completeness"], "incomplete", "{done}");
    assert!(done["findings"][0]["message"].as_str().unwrap().starts_with("1 events"), "{done}");
    assert_eq!(all.server.sql("copy", rows)?, "2000");

    all.server.sql("", "create database other")?;
    all.server.sql("other", "create table t (n int)")?;
    let two = files.put("two.sql", &dump(&["--databases", "shop", "other"])?)?;
    let failure = all.stage.failure(restore(&two, "third", json!({})), Code::RestoreFailed).await?;
    assert!(failure.message.contains("several databases"), "{failure:?}");
    assert_eq!((all.text("shop")?, all.databases()?), (newer, "copy,other,shop".into()));
    all.nothing_is_left();
    Ok(())
}
