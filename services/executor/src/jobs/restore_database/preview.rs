//! What a restore of a database would do: what stands at its name is looked at, and nothing is touched.

use super::{Dumped, Manner, landing, mongodb as restore_mongodb, postgresql as restore_postgresql};
use crate::control::NoOutcome;
use crate::core::mongodb::shell::{self, Collection};
use crate::core::mysql::placing;
use crate::core::mysql::program::Flavour;
use crate::core::postgresql::literal;
use crate::core::restoring::{self, Standing};
use crate::jobs::Bench;
use crate::mongodb::{Client as MongodbClient, RESTORE};
use crate::mysql::{self as mysql_client, CLIENT};
use crate::postgresql as postgresql_client;
use strongroom_domain::FailureCode;
use strongroom_domain::job::Conflict;
use strongroom_domain::preview::{Action, DatabasePreview, ROLES_NAMED, StandingDatabase};
use strongroom_domain::source::{mongodb, mysql, postgresql};

/// What is asked for.
pub struct Wanted<'a> {
    /// What it is to be called.
    pub database: &'a str,
    /// How.
    pub manner: Manner<'a>,
}

impl Wanted<'_> {
    fn begin(&self, dumped: &Dumped<'_>, server: String, version: String, tool: String) -> DatabasePreview {
        let census = dumped.part.census.as_ref();
        let dumped_from = format!("{} {}", dumped.dump.source, dumped.dump.server_version);
        DatabasePreview {
            database: self.database.to_owned(),
            server,
            server_version: version,
            tool,
            dumped_from: dumped_from.trim().to_owned(),
            dump_bytes: (dumped.part.size_bytes > 0).then_some(dumped.part.size_bytes),
            dump_tables: census.map(|c| c.tables_total),
            dump_rows: census.map(|c| c.rows_total),
            action: Action::Create,
            standing: None,
            kept_as: None,
            roles_missing: Vec::new(),
            roles_known: false,
            file_bytes: None,
            file_free_bytes: None,
            refusal: None,
            note: None,
        }
    }

    /// What becomes of what stands there.
    fn settle(&self, preview: &mut DatabasePreview) {
        let Some(standing) = &preview.standing else { return };
        preview.action = match self.manner.on_conflict {
            _ if standing.empty => Action::ReplaceEmpty,
            Conflict::Fail => Action::Refuse,
            Conflict::KeepBoth => Action::KeepBoth,
            Conflict::Overwrite => Action::Overwrite,
        };
        if preview.action == Action::Refuse {
            let why = format!("database '{}' is there and not empty", self.database);
            preview.refusal.get_or_insert(why);
        }
    }
}

/// Looks at a PostgreSQL server.
pub async fn postgresql(
    bench: &Bench<'_>,
    wanted: &Wanted<'_>,
    connection: &postgresql::Connection,
    dumped: &Dumped<'_>,
) -> Result<DatabasePreview, NoOutcome> {
    let database = wanted.database;
    let streams = bench.streams()?;
    let client = postgresql_client::Client::new(bench, connection, &streams).await?;
    let survey = client.survey_of_node().await?;
    let tool = client.tool(restore_postgresql::tool(&dumped.part), survey.major()).await?;
    let asked = restore_postgresql::asked(connection, database);
    let mut preview = wanted.begin(dumped, connection.shown(), survey.version.clone(), tool.shown());
    match restore_postgresql::standing(&client, asked, database).await? {
        Standing::Nothing => {}
        standing => {
            let sql = format!(
                "select coalesce(pg_database_size(d.oid)::text, ''), (select count(*) from pg_stat_activity a where a.datid = d.oid)
  from pg_database d where d.datname = {};",
                literal(database)
            );
            let said = client.ask(asked, &sql).await?;
            let (size, clients) = said.split_once('|').unwrap_or_default();
            let tables = client.ask(database, restoring::COUNT_TABLES).await?;
            preview.standing = Some(StandingDatabase {
                size_bytes: size.parse().ok(),
                tables: tables.parse().unwrap_or_default(),
                empty: standing == Standing::Empty,
                clients: clients.parse().unwrap_or_default(),
            });
        }
    }
    wanted.settle(&mut preview);
    if wanted.manner.parallel_jobs > 1 {
        file_of_dump(bench, dumped, &client, &tool, &mut preview)?;
    }
    if preview.action == Action::KeepBoth {
        preview.kept_as = Some(restoring::aside_name(database, bench.job));
    }
    let roles = restoring::roles(dumped.recorded.as_ref(), &dumped.properties);
    preview.roles_known = roles.is_some();
    for role in roles.into_iter().flatten() {
        let sql = format!("select count(*) from pg_roles where rolname = {};", literal(&role));
        if preview.roles_missing.len() < ROLES_NAMED && client.ask(asked, &sql).await? == "0" {
            preview.roles_missing.push(role);
        }
    }
    if !preview.roles_missing.is_empty() && !wanted.manner.no_owner {
        let why = format!(
            "these roles are not there: {}; restore them first (postgresql/globals.sql of the archive), or leave owners out with no_owner",
            preview.roles_missing.join(", ")
        );
        preview.refusal.get_or_insert(why);
    }
    if !survey.superuser {
        let may = client.ask(asked, "select rolcreatedb from pg_roles where rolname = current_user;").await?;
        if may != "t" {
            let why = format!("role '{}' may not make databases", survey.role);
            preview.refusal.get_or_insert(why);
        }
    }
    Ok(preview)
}

/// The file from which several connections restore.
fn file_of_dump(
    bench: &Bench<'_>,
    dumped: &Dumped<'_>,
    client: &postgresql_client::Client<'_>,
    tool: &postgresql_client::tools::Tool,
    preview: &mut DatabasePreview,
) -> Result<(), NoOutcome> {
    preview.note = Some(match landing::needs(bench, dumped, &tool.place, client.user())? {
        None => "the file is read where it lies, by several connections, and nothing is written to this node's disk".into(),
        Some(needs) => {
            preview.file_bytes = needs.file_bytes;
            preview.file_free_bytes = Some(needs.free_bytes);
            if let Some(refusal) = needs.refusal {
                preview.refusal.get_or_insert(refusal.message);
            }
            let bytes = needs.file_bytes.map_or("of a size that is known when it has been unpacked".to_owned(), |bytes| {
                format!("of {bytes} bytes")
            });
            format!(
                "a file {bytes}, which holds the dump in plain, is written to this node's disk ({}), where {} bytes are free, and goes when pg_restore has ended",
                bench.state.streams().display(),
                needs.free_bytes
            )
        }
    });
    Ok(())
}

/// Looks at a MySQL or MariaDB server.
pub async fn mysql(
    bench: &Bench<'_>,
    wanted: &Wanted<'_>,
    connection: &mysql::Connection,
    dumped: &Dumped<'_>,
) -> Result<DatabasePreview, NoOutcome> {
    let streams = bench.streams()?;
    let client = mysql_client::Client::new(bench, connection, &streams)?;
    let survey = client.survey().await?;
    let tool = client.tool(CLIENT, survey.flavour()).await?;
    let mut preview = wanted.begin(dumped, connection.shown(), survey.version.clone(), tool.said.clone());
    // Nobody owns a table there.
    preview.roles_known = true;
    let at = Some(wanted.database);
    match client.ask_by(&tool, at, placing::COUNT_OBJECTS).await {
        Err(NoOutcome::Failed(failure)) if failure.code == FailureCode::DatabaseMissing => {}
        Err(why) => return Err(why),
        Ok(objects) => {
            let sql = format!(
                "select coalesce(sum(data_length + index_length), ''),
    (select count(*) from information_schema.processlist where db = database() and id <> connection_id())
  from information_schema.tables where table_schema = database() and hex(table_schema) = hex(database());
{}",
                placing::COUNT_TABLES
            );
            let said = client.ask_by(&tool, at, &sql).await?;
            let (first, tables) = said.split_once('\n').unwrap_or_default();
            let (size, clients) = first.split_once('\t').unwrap_or_default();
            preview.standing = Some(StandingDatabase {
                size_bytes: size.parse().ok(),
                tables: tables.trim().parse().unwrap_or_default(),
                empty: objects == "0",
                clients: clients.parse().unwrap_or_default(),
            });
        }
    }
    wanted.settle(&mut preview);
    if survey.flavour() != Flavour::of(&dumped.dump.server_version) && !dumped.dump.server_version.is_empty()
    {
        preview.dumped_from.push_str(" (of another kind than this server)");
    }
    Ok(preview)
}

/// What `overwrite` is on MongoDB.
const BY_DROPPING: &str = "each collection that is in the dump is dropped and restored (mongorestore --drop), one after the other; \
                           collections that are only in the database stay as they are, and a restore that breaks off leaves a part of it";

/// Looks at a MongoDB server.
pub async fn mongodb(
    bench: &Bench<'_>,
    wanted: &Wanted<'_>,
    from: &str,
    connection: &mongodb::Connection,
    dumped: &Dumped<'_>,
) -> Result<DatabasePreview, NoOutcome> {
    let of = restore_mongodb::Wanted { database: wanted.database, from };
    restore_mongodb::is_in(dumped, &of)?;
    let streams = bench.streams()?;
    let client = MongodbClient::new(bench, connection, &streams)?;
    let tool = client.tool(RESTORE).await?;
    let shell = client.shell().await?;
    let Some(shell) = shell else {
        return Err(client.no_shell("what stands there cannot be seen").await.into());
    };
    let survey = client.survey(&shell).await?;
    let mut preview = wanted.begin(dumped, connection.shown(), survey.version.clone(), tool.said);
    if from.is_empty() {
        preview.database = "all databases".into();
    }
    // Nobody owns a collection there.
    preview.roles_known = true;
    for (name, _) in of.names(dumped) {
        let Some(there) = survey.databases.iter().find(|d| d.name == name) else { continue };
        let collections: Vec<Collection> = client.ask(&shell, &shell::collections(&name)).await?;
        let standing = preview.standing.get_or_insert(StandingDatabase {
            size_bytes: Some(0),
            tables: 0,
            empty: true,
            clients: 0,
        });
        standing.size_bytes = standing.size_bytes.zip(there.bytes).map(|(all, more)| all + more);
        standing.tables += collections.len() as u64;
        if !collections.is_empty() {
            standing.empty = false;
            if wanted.manner.on_conflict == Conflict::Fail {
                preview.refusal.get_or_insert(format!("database '{name}' is there and not empty"));
            }
        }
    }
    wanted.settle(&mut preview);
    if preview.action == Action::Overwrite {
        preview.note = Some(BY_DROPPING.to_owned());
    }
    Ok(preview)
}
