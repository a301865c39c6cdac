//! A folder that was damaged is made again; a log that was damaged is not folded on.

use crate::stage::Stage;
use strongroom_catalog::{dump, rebuild_once};

#[tokio::test(flavor = "multi_thread")]
async fn damaged_views_are_built_again() {
    let stage = Stage::new().await;
    for n in 0..50 {
        stage.server(&format!("www{n}")).await;
    }
    let rebuild = async || rebuild_once(stage.nats.bus("catalog").await.unwrap(), &stage.state_dir()).await;
    rebuild().await.unwrap();
    let whole = dump(&stage.state_dir()).unwrap();
    let file = stage.state_dir().join("views/db");
    let bytes = std::fs::read(&file).unwrap();
    // What is damaged, and what happens next: always the same views.
    let damages: [(&str, Vec<u8>); 4] = [
        ("cut in the middle", bytes[..bytes.len() / 2].to_vec()),
        ("emptied", Vec::new()),
        ("overwritten with ones", bytes.iter().map(|_| 0xff).collect()),
        ("one bit in every 1000 bytes", {
            let flip = |(i, b): (usize, &u8)| if i % 1000 == 500 { b ^ 1 } else { *b };
            bytes.iter().enumerate().map(flip).collect()
        }),
    ];
    for (what, damage) in damages {
        std::fs::write(&file, damage).unwrap();
        rebuild().await.unwrap_or_else(|e| panic!("{what}: {e:#}"));
        assert!(dump(&stage.state_dir()).unwrap() == whole, "{what}");
    }
    // A folder that is not sled's at all.
    std::fs::remove_dir_all(stage.state_dir().join("views")).unwrap();
    rebuild().await.unwrap();
    assert!(dump(&stage.state_dir()).unwrap() == whole);
}
