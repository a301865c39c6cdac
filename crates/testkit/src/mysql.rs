//! A MariaDB server of its own for one test: a fresh data folder, on a free port and a socket in its folder, with
//! passwords over TCP and the system user's name over the socket. It speaks German, where it can: what it says is
//! nothing to go by.

use crate::port::Port;
use crate::{lasting, wait_until};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The password of `root` over TCP.
pub const MYSQL_PASSWORD: &str = "a\"b\\c #d'e;=é";

/// A server. Dropped, it is ended and removed.
pub struct Mysql {
    folder: tempfile::TempDir,
    data: PathBuf,
    port: Port,
    server: Option<Child>,
    tls: bool,
}

impl Mysql {
    /// Makes a server and starts it. Root runs it as the user `mysql`.
    pub async fn start() -> Result<Self> {
        Self::make(false).await
    }

    /// One that has a certificate for `localhost`, from an authority of its own.
    pub async fn start_with_tls() -> Result<Self> {
        Self::make(true).await
    }

    async fn make(tls: bool) -> Result<Self> {
        let folder = folder(&["data", "run"])?;
        let data = folder.path().join("data");
        let mut mysql = Self { folder, data, port: Port::claim()?, server: None, tls };
        let made = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .args(mysql.shared())
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
            .output()
            .context("the tests need a MariaDB server; 'cargo xtask test' installs one")?;
        ensure!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stdout));
        let socket = mysql.socket().display().to_string();
        std::fs::write(
            mysql.folder.path().join("first.cnf"),
            format!("[client]\nprotocol=socket\nsocket={socket}\nuser=root\n"),
        )?;
        mysql.tell_client()?;
        if tls {
            mysql.certify()?;
        }
        mysql.spawn()?;
        mysql.answers("first.cnf").await?;
        let password = MYSQL_PASSWORD.replace('\\', "\\\\").replace('\'', "\\'");
        let set = format!(
            "set names utf8mb4; delete from mysql.global_priv where user = 'root' and host not in ('localhost', '127.0.0.1'); \
             flush privileges; alter user root@127.0.0.1 identified by '{password}'; \
             alter user root@localhost identified via unix_socket;"
        );
        mysql.ask("first.cnf", None, &set)?;
        mysql.answers("client.cnf").await?;
        Ok(mysql)
    }

    /// Starts a server on a data folder that is there, which another one has made: the passwords are the same.
    pub async fn on(data: &Path) -> Result<Self> {
        let folder = folder(&["run"])?;
        let mut mysql =
            Self { folder, data: data.to_owned(), port: Port::claim()?, server: None, tls: false };
        mysql.tell_client()?;
        mysql.run().await?;
        Ok(mysql)
    }

    /// What opens the server, for its programs.
    fn tell_client(&self) -> Result<()> {
        let escaped = MYSQL_PASSWORD.replace('\\', "\\\\").replace('"', "\\\"");
        let options = self.folder.path().join("client.cnf");
        std::fs::write(
            &options,
            format!(
                "[client]\ndefault-character-set=utf8mb4\nprotocol=tcp\nhost=127.0.0.1\nport={}\nuser=root\npassword=\"{escaped}\"\n{}",
                self.port(),
                if self.tls { "ssl\n" } else { "" }
            ),
        )?;
        std::fs::set_permissions(&options, std::fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Starts the server again.
    pub async fn run(&mut self) -> Result<()> {
        self.spawn()?;
        self.answers("client.cnf").await
    }

    /// Ends the server at once, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/socket")
    }

    /// The certificate of the authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    fn certify(&self) -> Result<()> {
        let folder = self.folder.path();
        std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n")?;
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let authority = [
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            "authority.key",
            "-out",
            "authority.pem",
        ];
        let request = ["-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
        let sign = "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.pem";
        let lines = [
            [&new[..], &authority].concat(),
            [&new[..], &request].concat(),
            sign.split(' ').collect::<Vec<_>>(),
        ];
        for line in lines {
            let done = Command::new("openssl").args(&line).current_dir(folder).output().context("openssl")?;
            ensure!(done.status.success(), "{line:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        if let Some((uid, gid)) = owner()? {
            chown(folder.join("server.key"), Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// What a database answers to SQL; with no name, the server.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        self.ask("client.cnf", Some(database).filter(|name| !name.is_empty()), sql)
    }

    /// One of MariaDB's programs, ready to connect as `root`.
    pub fn tool(&self, name: &str) -> Command {
        self.program(name, "client.cnf")
    }

    fn program(&self, name: &str, options: &str) -> Command {
        let mut command = Command::new(name);
        // The password is in no environment, where a test that looks for it would find it.
        command.arg(format!("--defaults-file={}", self.folder.path().join(options).display()));
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    fn ask(&self, options: &str, database: Option<&str>, sql: &str) -> Result<String> {
        let mut command = self.program("mariadb", options);
        command.args(["--batch", "--skip-column-names", "--binary-mode"]);
        if let Some(database) = database {
            command.arg(format!("--database={database}"));
        }
        let mut client =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = client.stdin.take().context("it has no input")?;
        std::io::Write::write_all(&mut stdin, sql.as_bytes())?;
        drop(stdin);
        let done = client.wait_with_output()?;
        ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
    }

    fn shared(&self) -> Vec<String> {
        let mut shared = vec![
            format!("--datadir={}", self.data.display()),
            // Servers that share one remove each other's tables from it when they start.
            format!("--tmpdir={}", self.folder.path().join("run").display()),
            "--innodb-log-file-size=8M".to_owned(),
        ];
        if rustix::process::geteuid().is_root() {
            shared.push("--user=mysql".to_owned());
        }
        shared
    }

    fn spawn(&mut self) -> Result<()> {
        let run = self.folder.path().join("run");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "mariadbd", "--no-defaults"])
            .args(self.shared())
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", run.join("pid").display()))
            .arg(format!("--port={}", self.port()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--server-id=1", "--log-bin=changes"])
            // What was committed outlives the server, if not the machine.
            .args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"])
            .args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"])
            .current_dir("/")
            // Not every user can look into `/usr/sbin` by the `PATH`.
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log"))?);
        if self.tls {
            for (option, name) in [("ca", "authority.pem"), ("cert", "server.pem"), ("key", "server.key")] {
                command.arg(format!("--ssl-{option}={}", self.folder.path().join(name).display()));
            }
        }
        if Path::new("/usr/share/mysql/german/errmsg.sys").exists() {
            command.arg("--lc-messages=de_DE");
        }
        self.server = Some(lasting::run(move || command.spawn())??);
        Ok(())
    }

    async fn answers(&self, options: &str) -> Result<()> {
        let answers = wait_until("MariaDB to answer", Duration::from_secs(60), async || {
            self.ask(options, None, "select 1").ok()
        });
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        answers.await.with_context(log).map(|_| ())
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A folder with some in it that belong to the server.
fn folder(names: &[&str]) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("my").tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    for name in names {
        std::fs::create_dir(folder.path().join(name))?;
        if let Some((uid, gid)) = owner()? {
            chown(folder.path().join(name), Some(uid), Some(gid))?;
        }
    }
    Ok(folder)
}

fn path() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The numbers of the user `mysql`, where this is root and must not run a server as itself.
fn owner() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let line = passwd
        .lines()
        .find(|l| l.starts_with("mysql:"))
        .context("there is no user 'mysql'; 'cargo xtask test' installs MariaDB")?;
    let mut numbers = line.split(':').skip(2).map_while(|n| n.parse().ok());
    Ok(Some((numbers.next().context("no uid")?, numbers.next().context("no gid")?)))
}
