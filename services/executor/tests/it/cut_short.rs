//! A program that ends well, and a dump that is not whole.

use crate::lives::{Process, joined};
use crate::stage::script;
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
