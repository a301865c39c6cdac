//! What MongoDB's shell is asked, and what it answers.
//!
//! The shell is told by a private file where to connect and what to ask: its arguments are for everybody to see. All of it
//! is written so that both `mongosh` and the older `mongo` understand it.

use serde::Deserialize;
use strongroom_domain::source::Tls;
use strongroom_domain::source::mongodb::{Connection, is_system};

/// What stands before an answer: whatever else is printed is none.
const ANSWER: &str = "strongroom:";
/// How long is looked for a server, in milliseconds.
const FIND_MS: u32 = 15_000;
/// How many collections of a database are looked at.
const COLLECTIONS: u32 = 100_000;

const WORDS: &str = "function must(said) {
  if (!said.ok) { throw new Error((said.codeName || said.code) + ': ' + said.errmsg); }
  return said;
}
function number(n) { return n === undefined || n === null ? null : (n.toNumber ? n.toNumber() : Number(n)); }
function answer(what) { print('strongroom:' + JSON.stringify(what)); }
";

/// Asks for the server and its databases.
pub const SURVEY: &str = "var admin = at.getSiblingDB('admin');
var hello = must(admin.runCommand({ isMaster: 1 }));
var listed = must(admin.runCommand({ listDatabases: 1 }));
answer({
  version: must(admin.runCommand({ buildInfo: 1 })).version,
  set: hello.setName || null, router: hello.msg === 'isdbgrid',
  databases: listed.databases.map(function (d) { return { name: d.name, bytes: number(d.sizeOnDisk) }; })
});
";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Survey {
    /// As the server says it.
    pub version: String,
    /// The replica set that it belongs to.
    pub set: Option<String>,
    /// Whether it is the router of a sharded cluster.
    pub router: bool,
    /// All databases that the user sees.
    pub databases: Vec<Database>,
}

/// A database of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Bytes on disk.
    pub bytes: Option<u64>,
}

impl Survey {
    /// How large a database is.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        self.databases.iter().find(|d| d.name == name).and_then(|d| d.bytes)
    }

    /// How large all are together.
    pub fn all_bytes(&self) -> u64 {
        self.databases.iter().filter(|d| d.name != "local").filter_map(|d| d.bytes).sum()
    }

    /// Those of people.
    pub fn of_people(&self) -> impl Iterator<Item = &str> {
        self.databases.iter().map(|d| d.name.as_str()).filter(|name| !is_system(name))
    }
}

/// A collection that is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// `collection`, `view` or `timeseries`; nothing before 3.4.
    #[serde(default)]
    pub kind: Option<String>,
    /// How many documents are in it, as it knows itself.
    #[serde(default)]
    pub documents: Option<u64>,
}

/// Asks for the collections of a database, those of the system left out.
pub fn collections(database: &str) -> String {
    format!(
        "var d = at.getSiblingDB({});
var listed = must(d.runCommand({{ listCollections: 1, cursor: {{ batchSize: {COLLECTIONS} }} }})).cursor.firstBatch;
answer(listed.filter(function (c) {{ return c.name.indexOf('system.') !== 0; }}).map(function (c) {{
  var counted = c.type && c.type !== 'collection' ? null : number(must(d.runCommand({{ count: c.name }})).n);
  return {{ name: c.name, kind: c.type || null, documents: counted }};
}}));
",
        quoted(database)
    )
}

/// Makes a collection, by which a database is known to be ours.
pub fn make(database: &str, collection: &str) -> String {
    let (database, collection) = (quoted(database), quoted(collection));
    format!("must(at.getSiblingDB({database}).runCommand({{ create: {collection} }}));\nanswer(true);\n")
}

/// Removes a collection.
pub fn unmake(database: &str, collection: &str) -> String {
    let (database, collection) = (quoted(database), quoted(collection));
    format!("must(at.getSiblingDB({database}).runCommand({{ drop: {collection} }}));\nanswer(true);\n")
}

/// Removes a database.
pub fn remove(database: &str) -> String {
    format!("must(at.getSiblingDB({}).runCommand({{ dropDatabase: 1 }}));\nanswer(true);\n", quoted(database))
}

/// The whole file.
pub fn script(connection: &Connection, password: Option<&str>, asked: &str) -> String {
    format!("var at = connect({});\n{WORDS}{asked}", quoted(&address(connection, password)))
}

/// What it answered.
pub fn read<'a, T: Deserialize<'a>>(said: &'a str) -> Option<T> {
    let line = said.lines().rev().find_map(|line| line.trim().strip_prefix(ANSWER))?;
    serde_json::from_str(line).ok()
}

/// Where a server is, as an address (MongoDB manual, "Connection Strings").
fn address(connection: &Connection, password: Option<&str>) -> String {
    let user = connection.user.as_deref().map_or_else(String::new, |user| {
        let password = password.map(|p| format!(":{}", escaped(p))).unwrap_or_default();
        format!("{}{password}@", escaped(user))
    });
    let mut address =
        format!("mongodb://{user}{}/?serverSelectionTimeoutMS={FIND_MS}", connection.authority());
    match &connection.replica_set {
        Some(set) => address.push_str(&format!("&replicaSet={}", escaped(set))),
        None => address.push_str("&directConnection=true"),
    }
    if connection.user.is_some() {
        address.push_str(&format!("&authSource={}", escaped(connection.auth_database())));
    }
    if connection.has_tls() {
        address.push_str("&tls=true");
        if connection.tls == Tls::Require {
            address.push_str("&tlsAllowInvalidCertificates=true&tlsAllowInvalidHostnames=true");
        }
        if let Some(root) = &connection.tls_root {
            address.push_str(&format!("&tlsCAFile={}", escaped(root)));
        }
    }
    address
}

/// A value in an address (RFC 3986).
pub fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A text in JavaScript.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn connection(value: serde_json::Value) -> Connection {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_user_is_called_leads_to_no_other_server() {
        let odd = connection(json!({ "host": "db", "user": "a@b/é", "auth_database": "users" }));
        assert_eq!(
            address(&odd, Some("p@ss:/ w\"ö")),
            "mongodb://a%40b%2F%C3%A9:p%40ss%3A%2F%20w%22%C3%B6@db:27017/?serverSelectionTimeoutMS=15000&directConnection=true&authSource=users"
        );
        let set =
            connection(json!({ "host": "::1", "replica_set": "rs0", "tls": "require", "tls_root": "/a b" }));
        assert_eq!(
            address(&set, None),
            "mongodb://[::1]:27017/?serverSelectionTimeoutMS=15000&replicaSet=rs0&tls=true&tlsAllowInvalidCertificates=true&tlsAllowInvalidHostnames=true&tlsCAFile=%2Fa%20b"
        );
        assert!(!address(&connection(json!({ "tls": "verify-full" })), None).contains("Invalid"));
    }

    #[test]
    fn names_are_text_and_no_words_of_a_program() {
        let odd = "it's\\\"; drop()";
        assert!(remove(odd).starts_with("must(at.getSiblingDB(\"it's\\\\\\\"; drop()\").runCommand"));
        assert!(
            script(&connection(json!({})), None, SURVEY)
                .starts_with("var at = connect(\"mongodb://localhost:27017/?")
        );
    }

    #[test]
    fn an_answer_is_found_among_what_else_is_printed() {
        let said = "connecting to: x\nstrongroom:{\"version\":\"7.0.12\",\"set\":\"rs0\",\"router\":false,\"databases\":[{\"name\":\"admin\",\"bytes\":8192},{\"name\":\"local\",\"bytes\":9},{\"name\":\"shop\",\"bytes\":24576}]}\n";
        let survey: Survey = read(said).unwrap();
        assert_eq!((survey.set.as_deref(), survey.all_bytes()), (Some("rs0"), 32768));
        assert_eq!(survey.of_people().collect::<Vec<_>>(), ["shop"]);
        assert_eq!((survey.bytes("shop"), survey.bytes("x")), (Some(24576), None));
        assert_eq!(read::<Survey>("MongoServerError: x\n"), None);
    }
}
