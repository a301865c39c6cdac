//! Azurite, Microsoft's emulator of Azure Blob Storage, on a free port, with its blobs in a folder.

use crate::port::Port;
use crate::{lasting, wait_until};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ACCOUNT: &str = "strongroom";
const VERSION: &str = "2021-12-02";

/// The server, with one container that is called `container`. Dropped, it ends and its folder goes.
pub struct Azurite {
    folder: tempfile::TempDir,
    port: Port,
    key: Vec<u8>,
    server: Option<Child>,
}

impl Azurite {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let key = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
        let mut azurite = Self { folder: tempfile::tempdir()?, port: Port::claim()?, key, server: None };
        azurite.run().await?;
        azurite.make_container().await?;
        Ok(azurite)
    }

    /// Starts it again, on the same port and with the same blobs.
    pub async fn run(&mut self) -> Result<()> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "node"])
            .arg(program()?)
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort"])
            .arg(self.port().to_string())
            .arg("--location")
            .arg(self.folder.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", self.key()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log"))?);
        self.server = Some(lasting::run(move || command.spawn())??);
        let port = self.port();
        let answers = wait_until("Azurite to answer", Duration::from_secs(60), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        });
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        answers.await.with_context(log)?;
        Ok(())
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Its account.
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The key of its account.
    pub fn key(&self) -> String {
        BASE64_STANDARD.encode(&self.key)
    }

    /// A shared access signature for the container, with these rights (`racwdl`).
    pub fn signature(&self, rights: &str) -> Result<String> {
        let until = (jiff::Timestamp::from_second(4_102_444_800)?).to_string();
        let resource = format!("/blob/{ACCOUNT}/container");
        // learn.microsoft.com, "Create a service SAS", versions from 2020-12-06.
        let signed =
            [rights, "", &until, &resource, "", "", "https,http", VERSION, "c", "", "", "", "", "", "", ""];
        let signature =
            self.sign(&signed.join("\n"))?.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let until = until.replace(':', "%3A");
        Ok(format!("sv={VERSION}&sr=c&sp={rights}&se={until}&spr=https,http&sig={signature}"))
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    async fn make_container(&self) -> Result<()> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now()?)?;
        let headers = format!("x-ms-date:{date}\nx-ms-version:{VERSION}\n");
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/container\nrestype:container");
        let signature = self.sign(&format!("PUT{}{headers}{resource}", "\n".repeat(12)))?;
        let answer = reqwest::Client::new()
            .put(format!("http://127.0.0.1:{}/{ACCOUNT}/container?restype=container", self.port()))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("content-length", "0")
            .send()
            .await?;
        ensure!(answer.status().is_success(), "the container was not made: {}", answer.text().await?);
        Ok(())
    }

    fn sign(&self, text: &str) -> Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)?;
        mac.update(text.as_bytes());
        Ok(BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn now() -> Result<jiff::Timestamp> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server holds the date of a request against its own clock"
    )]
    let now = std::time::SystemTime::now();
    Ok(now.try_into()?)
}

/// Its program for blobs: `$AZURITE_BLOB`, or where 'cargo xtask test' installs it.
fn program() -> Result<PathBuf> {
    let chosen = std::env::var_os("AZURITE_BLOB").filter(|chosen| !chosen.is_empty());
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools/azurite/node_modules/azurite/dist/src/blob/main.js");
    let program = chosen.map_or(own, PathBuf::from);
    ensure!(program.is_file(), "the tests need Azurite; 'cargo xtask test' installs it");
    Ok(program)
}
