//! A dump store that the machine itself cannot read: tried, filled, looked into, restored with the key that people keep.

use age::secrecy::ExposeSecret;
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use strongroom_e2e::{PATIENCE, Single, wait_until};
use strongroom_testkit::{POSTGRES_PASSWORD, Postgresql};

#[tokio::test(flavor = "multi_thread")]
async fn what_only_its_owner_can_read_comes_back_with_the_owners_key() -> Result<()> {
    let server = Postgresql::start().await?;
    server.sql("postgres", "create database shop")?;
    server.sql(
        "shop",
        "create table orders as select n as id, 'order ' || n as what from generate_series(1, 5000) n",
    )?;
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
    let key = age::x25519::Identity::generate();
    let secret = key.to_string().expose_secret().to_owned();
    let place = single.folder().join("dumps");
    std::fs::create_dir(&place)?;
    let password = single.folder().join("password");
    std::fs::write(&password, format!("{POSTGRES_PASSWORD}\n"))?;
    run("servers set db --node local")?;
    run(&format!("destinations set disk --path {}", place.display()))?;
    let tried = run("destinations test disk --server db")?;
    assert!(tried.contains("complete") && tried.contains("free"), "{tried}");
    run(&format!(
        "repositories create dumps --server db --destination disk --kind dump-store --recipient {} --wait",
        key.to_public()
    ))?;
    run(&format!(
        "plans set db --server db --repository dumps --postgresql --db-host 127.0.0.1 --db-port {} --db-user postgres --db-password-file {}",
        server.port(),
        password.display()
    ))?;
    let found = run("plans test db")?;
    assert!(found.contains("pg_dump") && found.contains("shop"), "{found}");
    run("plans run db --wait")?;
    let archives = single.client_json(&["archives", "list"])?;
    let archive = archives[0]["id"].as_str().unwrap();
    assert_eq!(archives.as_array().unwrap().len(), 1);
    let usage = single.client_json(&["destinations", "usage", "disk"])?;
    assert!(usage["repositories"][0]["used_bytes"].as_u64().is_some_and(|used| used > 0), "{usage}");
    assert_eq!(
        (&usage["used"]["archives"], &usage["space"][0]["server"]),
        (&json!(1), &json!("db")),
        "{usage}"
    );
    assert!(usage["space"][0]["free_bytes"].as_u64().is_some_and(|free| free > 0), "{usage}");
    let shown = run("destinations usage disk")?;
    assert!(shown.contains("dumps") && shown.contains("FREE"), "{shown}");
    let listed = single.api.browse(archive, "").await?;
    assert!(listed.iter().any(|entry| entry["path"] == "postgresql"), "{listed:?}");

    server.sql("shop", "delete from orders")?;
    let restore = format!("archives restore-database {archive} shop --on-conflict overwrite --wait");
    let words: Vec<&str> = restore.split(' ').collect();
    let (code, out, _) = single.client(&words)?;
    assert!(code != 0 && out.contains("secret_missing"), "{out}");
    assert_eq!(server.sql("shop", "select count(*) from orders")?, "0");
    let file = single.folder().join("key");
    std::fs::write(&file, format!("{secret}\n"))?;
    run(&format!("{restore} --identity-file {}", file.display()))?;
    assert_eq!(server.sql("shop", "select count(*), max(what) from orders")?, "5000|order 999");

    // Anybody with the key and common tools can do so as well, without us.
    let objects: Vec<_> = walkdir::WalkDir::new(&place)
        .into_iter()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().ends_with("shop.dump.zst.age"))
        .collect();
    assert_eq!(objects.len(), 1);
    let packed = age::decrypt(&key, &std::fs::read(objects[0].path())?)?;
    let dump = single.folder().join("by-hand.dump");
    std::fs::write(&dump, zstd::decode_all(packed.as_slice())?)?;
    let by_hand = Command::new("pg_restore").args(["--list"]).arg(&dump).output()?;
    assert!(String::from_utf8_lossy(&by_hand.stdout).contains("orders"));
    std::fs::remove_file(&dump)?;

    // Neither the key nor the password was written anywhere, and nothing of the data but in the store.
    for entry in walkdir::WalkDir::new(single.folder()).into_iter().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        for (what, own) in [(secret.as_str(), &file), (POSTGRES_PASSWORD, &password)] {
            let holds = bytes.windows(what.len()).any(|w| w == what.as_bytes());
            assert!(!holds || entry.path() == own, "{}", entry.path().display());
        }
    }

    // What was taken away behind our back is told.
    std::fs::remove_file(objects[0].path())?;
    let (code, out, _) = single.client(&["repositories", "scan", "dumps", "--wait"])?;
    assert!(code != 0 && out.contains("is not whole"), "{out}");
    assert_eq!(single.client_json(&["archives", "show", archive])?["missing"], json!(true));
    run(&format!("archives delete {archive} --yes --wait"))?;
    assert_eq!(single.client_json(&["archives", "list"])?, json!([]));
    let left: Vec<_> =
        walkdir::WalkDir::new(&place).into_iter().flatten().filter(|e| e.path().is_file()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_is_made_by_itself_and_is_enough_when_the_first_place_burns() -> Result<()> {
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
    let folder = |name: &str| -> Result<std::path::PathBuf> {
        let folder = single.folder().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    };
    let (near, far, roots, data) = (folder("near")?, folder("far")?, folder("roots")?, folder("app")?);
    let file = data.join("app.db");
    std::fs::write(&file, include_bytes!("app.db"))?;
    run(&format!("servers set app --node local --restore-root {}", roots.display()))?;
    for (name, place) in [("near", &near), ("far", &far)] {
        run(&format!("destinations set {name} --path {}", place.display()))?;
        run(&format!(
            "repositories create {name} --server app --destination {name} --kind dump-store --wait"
        ))?;
    }
    run(&format!("plans set app --server app --repository near --copy-to far --sqlite {}", file.display()))?;
    run("plans run app --wait")?;
    let copies = wait_until("both archives", PATIENCE, async || {
        let archives = single.api.list("/archives?plan=app").await.ok()?;
        (archives.len() == 2).then_some(archives)
    })
    .await?;
    let copy = copies.iter().find(|a| a["repository"] == "far").unwrap()["id"].as_str().unwrap();
    std::fs::remove_dir_all(&near)?;
    let path = format!("sqlite{}", file.display());
    run(&format!("archives restore {copy} --path {path} --to {} --wait", roots.display()))?;
    assert_eq!(std::fs::read(roots.join(&path))?, include_bytes!("app.db"));

    // And to whoever asks, without a server that it is restored on.
    let (one, all) = (single.folder().join("one.db"), single.folder().join("all.zip"));
    run(&format!("archives download {copy} {path} --to {}", one.display()))?;
    assert_eq!(std::fs::read(&one)?, include_bytes!("app.db"));
    let again = format!("archives download {copy} {path} --to {}", one.display());
    let (code, _, err) = single.client(&again.split(' ').collect::<Vec<_>>())?;
    assert!(code != 0 && err.contains("--force"), "{err}");
    run(&format!("archives download {copy} --format zip --to {}", all.display()))?;
    let listed = Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&all).output()?;
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&path), "{listed:?}");
    let none = format!("archives download {copy} not/there --to {}/none", single.folder().display());
    let (code, _, err) = single.client(&none.split(' ').collect::<Vec<_>>())?;
    assert!(code != 0 && err.contains("path_not_in_archive"), "{err}");
    assert!(!single.folder().join("none").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_once_what_archives_have_in_common_grows_by_what_is_new() -> Result<()> {
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let run = |line: &str| single.run_line(line);
    let (place, back) = (single.folder().join("dumps"), single.folder().join("back"));
    std::fs::create_dir(&place)?;
    std::fs::create_dir(&back)?;
    let (back, data) = (back.canonicalize()?, single.folder().join("a.db"));
    let database = rusqlite::Connection::open(&data)?;
    database.execute_batch(
        "create table notes (id integer primary key, what blob);
         with recursive c(n) as (select 1 union all select n + 1 from c where n < 250)
         insert into notes select n, randomblob(100000) from c",
    )?;
    run(&format!("servers set web --node local --restore-root {}", back.display()))?;
    run(&format!("destinations set disk --path {}", place.display()))?;
    let create = "repositories create dumps --server web --destination disk --deduplicate --wait";
    let key = age::x25519::Identity::generate().to_public();
    for (more, why) in [
        (String::new(), "borg deduplicates by itself"),
        (format!("--kind dump-store --recipient {key}"), "only people can read"),
    ] {
        let words = format!("{create} {more}");
        let (code, out, err) = single.client(&words.split_whitespace().collect::<Vec<_>>())?;
        assert!(code != 0 && format!("{out}{err}").contains(why), "{out}{err}");
    }
    run(&format!("{create} --kind dump-store"))?;
    let shown = run("repositories list")?;
    assert!(shown.contains("DEDUPLICATED") && shown.contains("true"), "{shown}");
    let mut definition = single.api.get("/repositories/dumps").await?.expect(200)?.body;
    assert_eq!(definition["deduplicate"], json!(true));
    definition["deduplicate"] = json!(false);
    let fields = definition.as_object_mut().unwrap();
    fields.retain(|name, _| {
        ["server", "destination", "kind", "encryption", "deduplicate"].contains(&name.as_str())
    });
    let refused = single.api.put("/repositories/dumps", &definition).await?.expect(409)?;
    assert!(refused.body["detail"].as_str().unwrap_or_default().contains("deduplicate"), "{refused:?}");

    run(&format!("plans set app --server web --repository dumps --sqlite {}", data.display()))?;
    run("plans run app --wait")?;
    let first = single.client_json(&["archives", "list"])?[0].clone();
    database.execute_batch("update notes set what = randomblob(100000) where id = 100")?;
    run("plans run app --wait")?;
    let archives = single.client_json(&["archives", "list"])?;
    let second = archives.as_array().unwrap().iter().find(|a| a["id"] != first["id"]).unwrap();
    let stats = &second["facts"]["stats"];
    let bytes = |name: &str| stats[name].as_u64().unwrap();
    assert!(bytes("deduplicated_size_bytes") * 4 < bytes("compressed_size_bytes"), "{stats}");
    let there = || -> u64 {
        let files = walkdir::WalkDir::new(&place).into_iter().flatten().filter(|e| e.path().is_file());
        files.map(|e| e.metadata().map(|m| m.len()).unwrap_or_default()).sum()
    };
    let usage = single.client_json(&["destinations", "usage", "disk"])?;
    let used = usage["repositories"][0]["used_bytes"].as_u64().unwrap();
    assert!(used <= there() && there() - used < 20_000, "{usage}: {}", there());

    let before = there();
    run(&format!("archives delete {} --yes --wait", first["id"].as_str().unwrap()))?;
    assert!(there() < before, "what only the first needed is gone");
    let id = second["id"].as_str().unwrap();
    run(&format!("archives restore {id} --to {} --wait", back.display()))?;
    assert!(std::fs::read(back.join("sqlite").join(data.strip_prefix("/")?))? == std::fs::read(&data)?);

    // A chunk that is taken away is told by its name.
    let chunk = walkdir::WalkDir::new(place.join("web/dumps/chunks")).into_iter().flatten();
    let chunk =
        chunk.filter(|e| e.path().is_file()).max_by_key(|e| e.metadata().map(|m| m.len()).ok()).unwrap();
    std::fs::remove_file(chunk.path())?;
    let again = format!("archives restore {id} --to {} --on-conflict overwrite --wait", back.display());
    let (code, out, err) = single.client(&again.split(' ').collect::<Vec<_>>())?;
    let name = chunk.file_name().to_string_lossy().into_owned();
    let said = format!("{out}{err}");
    assert!(code != 0 && said.contains("archive_damaged") && said.contains(&name), "{said}");
    Ok(())
}

/// gpg with a keyring of its own.
fn gpg(home: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("gpg");
    command.args([
        "--batch",
        "--no-tty",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
        "--homedir",
    ]);
    let done = command.arg(home).args(arguments).output()?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_for_a_key_of_openpgp_comes_back_to_who_has_it() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let single = Single::start().await?;
    single.api.node_joined().await?;
    let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp")?;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700))?;
    gpg(home.path(), &["--quick-gen-key", "one", "default", "default", "never"])?;
    let (public, secret) = (single.folder().join("public.asc"), single.folder().join("secret.asc"));
    std::fs::write(&public, gpg(home.path(), &["--armor", "--export"])?)?;
    std::fs::write(&secret, gpg(home.path(), &["--armor", "--export-secret-keys"])?)?;
    let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
    let run = |arguments: &str| -> Result<(i32, String)> {
        let words: Vec<&str> = arguments.split(' ').collect();
        let (code, out, err) = single.client(&words)?;
        Ok((code, format!("{out}{err}")))
    };
    let good = |arguments: &str| -> Result<()> {
        let (code, said) = run(arguments)?;
        anyhow::ensure!(code == 0, "{arguments}: {said}");
        Ok(())
    };
    let (place, back, data) =
        (single.folder().join("dumps"), single.folder().join("back"), single.folder().join("a.db"));
    std::fs::create_dir(&place)?;
    std::fs::create_dir(&back)?;
    let back = back.canonicalize()?;
    std::fs::write(&data, include_bytes!("app.db"))?;
    good(&format!("servers set web --node local --restore-root {}", back.display()))?;
    good(&format!("destinations set disk --path {}", place.display()))?;
    let create =
        "repositories create dumps --server web --destination disk --kind dump-store --wait --recipient-file";
    let (code, said) = run(&format!("{create} {}", secret.display()))?;
    assert!(code != 0 && said.contains("recipients[0]"), "{said}");
    good(&format!("{create} {}", public.display()))?;
    good(&format!("plans set app --server web --repository dumps --sqlite {}", data.display()))?;
    good("plans run app --wait")?;
    let archives = single.client_json(&["archives", "list"])?;
    let restore =
        format!("archives restore {} --to {} --wait", archives[0]["id"].as_str().unwrap(), back.display());
    let (code, said) = run(&restore)?;
    assert!(code != 0 && said.contains("secret_missing"), "{said}");
    good(&format!("{restore} --identity-file {}", secret.display()))?;
    let restored = back.join("sqlite").join(data.strip_prefix("/")?);
    assert_eq!(std::fs::read(restored)?, include_bytes!("app.db"));
    Ok(())
}
