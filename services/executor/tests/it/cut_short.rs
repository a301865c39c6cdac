//! A program that ends well, and a dump that is not whole.

use crate::failures::Small;
use crate::lives::{Process, joined};
use crate::stage::{Stage, script};
use crate::{look, mysql};
use anyhow::Result;
use serde_json::json;
use strongroom_domain::FailureCode as Code;

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_dump_is_none_however_well_its_program_ends() -> Result<()> {
    let mut all = mysql::Databases::new().await?;
    all.stage.stop().await?;
    let folder = all.stage.path("programs");
    std::fs::create_dir(&folder)?;
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let dump = std::env::split_paths(&usual).map(|f| f.join("mariadb-dump")).find(|f| f.is_file()).unwrap();
    // All but the last bytes of what it prints, as an engine might lose them; and it says that all was well.
    // And it is newer than the others, so that it is chosen.
    let cutting = format!(
        "case \"$*\" in
*--version*) {0} --version | sed 's/[0-9]*-MariaDB/999-MariaDB/' ;;
*--events*) exec {0} \"$@\" ;;
*) {0} \"$@\" | head -c -60 ;;
esac\n",
        dump.display()
    );
    let names = ["mariadb-dump", "mysqldump"];
    for name in names {
        script(&folder.join(name), &cutting)?;
    }
    let path = std::env::join_paths(std::iter::once(folder.clone()).chain(std::env::split_paths(&usual)))?;
    let _process = Process::start_with(&all.stage, &[("PATH", path.as_os_str())])?;
    joined(&all.stage).await?;
    let failure = all.stage.failure(all.backup(json!({ "databases": ["shop"] })), Code::DumpFailed).await?;
    assert!(failure.message.contains("it ends before its end"), "{}", failure.message);
    assert!(look::archives(&all.stage)?.is_empty(), "an archive looks whole");

    for name in names {
        std::fs::remove_file(folder.join(name))?;
    }
    all.archive(json!({ "databases": ["shop"] })).await?;
    Ok(())
}

/// Borg takes a dump that it cannot store for one file that it passes over, and goes on to the next pipe, to which nobody
/// comes any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_below_borg_ends_a_dump_with_its_cause_and_leaves_no_archive() -> Result<()> {
    let stage = Stage::set().await?;
    let small = Small::new("30m")?;
    let access = stage.access_at(&small.path().join("repository"));
    stage.success(json!({ "kind": "init-repository", "access": access })).await?;
    let data = tempfile::tempdir()?;
    let (large, tiny) = (data.path().join("a.db"), data.path().join("b.db"));
    crate::dump_store_chunks::large(&large)?;
    rusqlite::Connection::open(&tiny)?.execute_batch("create table t (n int); insert into t values (7)")?;
    let backup = |paths: &[&std::path::Path]| {
        json!({
            "kind": "backup", "plan": "p", "access": access, "compression": "none",
            "source": { "type": "sqlite", "paths": paths },
        })
    };
    // Alone, the list of what was dumped is the next pipe; else another database.
    for paths in [&[large.as_path()][..], &[large.as_path(), tiny.as_path()]] {
        let failure = stage.failure(backup(paths), Code::NoSpace).await?;
        assert!(failure.message.contains("No space left"), "{failure:?}");
    }
    stage.success(backup(&[tiny.as_path()])).await?;
    let scanned =
        serde_json::to_value(stage.success(json!({ "kind": "scan-repository", "access": access })).await?)?;
    assert_eq!(scanned["result"]["archives"], 1, "{scanned}");
    Ok(())
}
