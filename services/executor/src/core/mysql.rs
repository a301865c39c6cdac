//! What MySQL's and MariaDB's programs say, and how they are told things.

pub mod grants;
pub mod option_file;
pub mod physical;
pub mod placing;
pub mod program;
pub mod rows;

use super::postgresql::SCRATCH;
use grants::Grants;
use strongroom_domain::source::mysql::is_system;
use strongroom_domain::{Failure, FailureCode};

/// What is asked of a server before its databases are dumped. Names come as hex digits: nothing in one can be misread.
/// What is no text of people's own comes as it is, and the grants as the server writes them, escaped by the client.
pub const SURVEY: &str =
    "select 'server', hex(@@version), hex(current_user()), @@log_bin, @@lower_case_table_names;
show session status like 'Ssl_cipher';
select 'database', hex(schema_name), default_character_set_name, default_collation_name
  from information_schema.schemata order by schema_name;
select 'plain', hex(t.table_schema), hex(t.table_name), t.engine
  from information_schema.tables t join information_schema.engines e on e.engine = t.engine
  where t.table_type in ('BASE TABLE', 'SYSTEM VERSIONED') and e.transactions <> 'YES'
  order by t.table_schema, t.table_name;
select 'versioned', hex(table_schema), count(*) from information_schema.tables
  where table_type = 'SYSTEM VERSIONED' group by table_schema;
select 'size', hex(table_schema), sum(coalesce(data_length, 0)) from information_schema.tables group by table_schema;
select 'view', hex(table_schema), count(*) from information_schema.views group by table_schema;
select 'event', hex(event_schema), count(*) from information_schema.events group by event_schema;
show grants;";

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// As the server says it.
    pub version: String,
    /// As whom it knows us.
    pub user: String,
    /// Whether it keeps a log of changes.
    pub log_bin: bool,
    /// Whether the case of names has no meaning.
    pub caseless: bool,
    /// Whether the connection is a secret one.
    pub tls: bool,
    /// All that are seen and are not the server's own.
    pub databases: Vec<Database>,
    /// What we may.
    pub grants: Grants,
}

/// A database of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The character set of what is made in it.
    pub character_set: String,
    /// The order of what is made in it.
    pub collation: String,
    /// Tables whose engine knows no transactions, with the engine.
    pub plain: Vec<(String, String)>,
    /// How many events it has.
    pub events: u64,
    /// How many views it has.
    pub views: u64,
    /// How many tables know what was in them before.
    pub versioned: u64,
    /// Bytes of its tables, as the server guesses them.
    pub size_bytes: u64,
}

impl Survey {
    /// Reads it.
    pub fn read(said: &str) -> Option<Self> {
        let mut survey = Self::default();
        for line in said.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match *fields.as_slice() {
                ["server", version, user, log_bin, caseless] => {
                    survey.version = text(version)?;
                    survey.user = text(user)?;
                    survey.log_bin = log_bin == "1";
                    survey.caseless = caseless != "0";
                }
                ["Ssl_cipher", cipher] => survey.tls = !cipher.is_empty(),
                ["database", name, character_set, collation] => {
                    let database = Database {
                        name: text(name)?,
                        character_set: character_set.to_owned(),
                        collation: collation.to_owned(),
                        ..Database::default()
                    };
                    if !is_system(&database.name) {
                        survey.databases.push(database);
                    }
                }
                ["plain", database, table, engine] => {
                    let (database, table) = (text(database)?, text(table)?);
                    if let Some(database) = survey.databases.iter_mut().find(|d| d.name == database) {
                        database.plain.push((table, engine.to_owned()));
                    }
                }
                [what @ ("event" | "view" | "versioned" | "size"), database, count] => {
                    let (database, count) = (text(database)?, count.parse().ok()?);
                    if let Some(database) = survey.databases.iter_mut().find(|d| d.name == database) {
                        *match what {
                            "event" => &mut database.events,
                            "view" => &mut database.views,
                            "versioned" => &mut database.versioned,
                            _ => &mut database.size_bytes,
                        } = count;
                    }
                }
                [grant] => survey.grants.add(grant),
                _ => return None,
            }
        }
        (!survey.version.is_empty()).then_some(survey)
    }

    /// Whether it is a MariaDB.
    pub fn flavour(&self) -> program::Flavour {
        program::Flavour::of(&self.version)
    }

    /// Which of these names no database has.
    pub fn unknown<'a>(&self, names: &'a [String]) -> Vec<&'a String> {
        names.iter().filter(|name| !self.databases.iter().any(|d| self.is(d, name))).collect()
    }

    fn is(&self, database: &Database, name: &str) -> bool {
        database.name == name || (self.caseless && database.name.to_lowercase() == name.to_lowercase())
    }

    /// Which databases are to be dumped: those that are named, or all but some.
    pub fn chosen(&self, named: &[String], excludes: &[String]) -> Result<Vec<&Database>, Failure> {
        let mut chosen: Vec<&Database> = Vec::new();
        if named.is_empty() {
            // What a restore is about to fill is not there yet.
            let is_kept =
                |d: &&Database| !excludes.iter().any(|name| self.is(d, name)) && !d.name.starts_with(SCRATCH);
            chosen.extend(self.databases.iter().filter(is_kept));
        }
        for name in named {
            let found = self.databases.iter().find(|d| self.is(d, name));
            let found = found.ok_or_else(|| {
                let message = format!("there is no database '{name}' that user '{}' may see", self.user);
                Failure::new(FailureCode::DatabaseMissing, message)
            })?;
            if !chosen.iter().any(|d| d.name == found.name) {
                chosen.push(found);
            }
        }
        if chosen.is_empty() {
            let message =
                format!("the server has no database that is to be dumped and user '{}' may see", self.user);
            return Err(Failure::new(FailureCode::DatabaseMissing, message));
        }
        Ok(chosen)
    }
}

/// The number of an error in a line (MySQL manual, "Error Message Reference"). The words beside it are in the language
/// that the server was set up with.
fn number(line: &str) -> Option<u32> {
    // `ERROR 1045 (28000): ...`, `Got error: 1045: "..."`, `Error 2013: ...`, `... 'SHOW ...': ... (1142)`.
    let behind = ["ERROR ", "rror: ", "rror "].iter().find_map(|word| {
        let (_, rest) = line.split_once(word)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    let last = || line.strip_suffix(')').and_then(|line| line.rsplit_once('('));
    behind.or_else(|| last().and_then(|(_, number)| number.parse().ok()))
}

/// What people read of the last lines: the error itself, and not what comes before or after it.
pub fn words(tail: &[String]) -> String {
    let line = tail.iter().find(|line| number(line).is_some()).or(tail.last());
    line.map_or_else(|| "it said nothing".to_owned(), |line| line.trim().to_owned())
}

/// The cause of an end with an error, out of the last lines.
pub fn cause(tail: &[String]) -> FailureCode {
    for number in tail.iter().filter_map(|line| number(line)) {
        match number {
            1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1251 | 1370 | 1419 | 1698 | 1820 | 1862 | 2059
            | 3118 | 3159 | 4151 => {
                return FailureCode::AccessDenied;
            }
            1040
            | 1053
            | 1129
            | 1158..=1161
            | 1927
            | 2002
            | 2003
            | 2005
            | 2006
            | 2012
            | 2013
            | 2026
            | 2055 => {
                return FailureCode::ServerUnreachable;
            }
            1049 => return FailureCode::DatabaseMissing,
            1021 | 1114 => return FailureCode::NoSpace,
            1034 | 1035 | 1194 | 1195 | 1712 => return FailureCode::SourceDamaged,
            1205 => return FailureCode::SourceLocked,
            _ => {}
        }
    }
    if tail.iter().any(|line| line.contains("No space left on device")) {
        return FailureCode::NoSpace;
    }
    FailureCode::DumpFailed
}

/// A name in SQL.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Text out of hex digits.
pub fn text(hex: &str) -> Option<String> {
    String::from_utf8(bytes(hex)?).ok()
}

/// Bytes out of hex digits.
pub fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes = hex.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    bytes.collect()
}

#[cfg(test)]
mod tests;
