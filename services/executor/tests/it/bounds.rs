//! What is large stays within bounds.

use crate::look;
use crate::stage::{Stage, tree};
use anyhow::Result;
use serde_json::json;
use strongroom_domain::wire::NodeReport;

/// A scan of any size fits into reports, and the last page says that it is the last.
#[tokio::test(flavor = "multi_thread")]
async fn many_archives_are_told_page_by_page() -> Result<()> {
    let stage = Stage::set().await?;
    stage.init().await?;
    let source = tree(1)?;
    let source = source.path().display().to_string();
    let repository = look::repository(&stage);
    for n in 0..201 {
        look::borg(
            &stage,
            &["create", "--files-cache=disabled", &format!("{repository}::a{n:03}"), &source],
        )?;
    }
    let (job, epoch) = stage.emit(json!({ "kind": "scan-repository", "access": stage.access() })).await?;
    stage.begun(job).await?;
    let (mut pages, mut names) = (Vec::new(), Vec::new());
    loop {
        match stage.report().await? {
            NodeReport::Scanned { job: j, epoch: e, page, archives, last, all } if (j, e) == (job, epoch) => {
                pages.push((page, archives.len(), last, all.map(|all| all.len())));
                names.extend(archives.into_iter().map(|a| a.name));
            }
            NodeReport::Ended { how, .. } => {
                let how = serde_json::to_value(how)?;
                assert_eq!(how["outcome"]["result"]["archives"], 201, "{how}");
                break;
            }
            other => anyhow::bail!("unexpected: {other:?}"),
        }
    }
    assert_eq!(pages, [(0, 200, false, None), (1, 1, true, Some(201))]);
    let expected: Vec<String> = (0..201).map(|n| format!("a{n:03}")).collect();
    assert_eq!(names, expected, "each once");
    Ok(())
}
