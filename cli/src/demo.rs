//! `strongroom demo`: the whole flow on a real folder, through the same API that everybody uses.

mod story;

use crate::args::{DemoArgs, UpArgs};
use crate::client::Client;
use crate::up::Up;
use anyhow::Context;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// The whole command.
pub fn main(args: DemoArgs) -> ExitCode {
    strongroom_service::main("strongroom demo", async move |shutdown| {
        let data = args.data.clone().unwrap_or_else(default_data);
        mention!("starting everything in {}", data.display());
        let up = Up::start(&up_args(&args, data)?, shutdown.clone()).await?;
        let told = tokio::select! {
            told = tell(&up, &args) => told,
            () = shutdown.cancelled() => Err(anyhow::anyhow!("it was stopped")),
        };
        if args.exit || told.is_err() {
            shutdown.cancel();
        } else {
            mention!("\nIt keeps running until Ctrl-C. In another shell:");
            mention!("  export STRONGROOM_DATA={}", up.data.path().display());
            mention!("  cargo run -q -p strongroom -- archives list");
        }
        up.until_end().await?;
        told
    })
}

async fn tell(up: &Up, args: &DemoArgs) -> anyhow::Result<()> {
    let token = std::fs::read_to_string(up.data.token_file()).context("reading the administrator's token")?;
    let client = Client::with(&format!("http://{}", up.address), token.trim())?;
    let verdict = story::run(&client, up.data.path(), args.folder.as_deref()).await?;
    mention!("\n{verdict}");
    if !args.exit {
        mention!("\naddress  http://{}\ntoken    {}", up.address, token.trim());
    }
    Ok(())
}

/// The defaults of `strongroom up`, in the demo's folder and on its address.
fn up_args(args: &DemoArgs, data: PathBuf) -> anyhow::Result<UpArgs> {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        up: UpArgs,
    }
    let mut up = Defaults::try_parse_from(["demo"])?.up;
    up.data = Some(data);
    up.listen = args.listen;
    Ok(up)
}

fn default_data() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| home.join(".local/share")).join("strongroom-demo")
}
