//! An application: its databases and its files, together as one archive.

use super::{Files, Method, Mysql, Postgresql, Sqlite};
use crate::FieldError;
use crate::definition::within;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What stands at the top of such an archive for its databases.
const TAKEN: [&str; 4] = ["postgresql", "mysql", "sqlite", "strongroom.json"];

/// The application source. Each of its members is as it is alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Files and folders.
    #[serde(default)]
    pub files: Option<Files>,
    /// Databases of a PostgreSQL server.
    #[serde(default)]
    pub postgresql: Option<Postgresql>,
    /// Databases of a MySQL or MariaDB server.
    #[serde(default)]
    pub mysql: Option<Mysql>,
    /// SQLite databases.
    #[serde(default)]
    pub sqlite: Option<Sqlite>,
}

impl Application {
    /// All that is wrong with it.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::new();
        let Self { files, postgresql, mysql, sqlite } = self;
        if postgresql.is_none() && mysql.is_none() && sqlite.is_none() {
            let message = "or mysql, or sqlite, is needed; files alone are of the type 'files'";
            problems.push(FieldError::new("postgresql", message));
        }
        if postgresql.is_some() && mysql.is_some() {
            // A plan has one password.
            let message = "must be absent beside postgresql: an application has one database server";
            problems.push(FieldError::new("mysql", message));
        }
        let physical = [
            ("postgresql", postgresql.as_ref().map(|source| source.method)),
            ("mysql", mysql.as_ref().map(|source| source.method)),
        ];
        for (member, method) in physical {
            if method == Some(Method::Physical) {
                let message = "must be 'dump': a whole server is a plan of its own";
                problems.push(FieldError::new(format!("{member}.method"), message));
            }
        }
        problems.extend(files.iter().flat_map(|files| within("files", files.problems())));
        problems.extend(postgresql.iter().flat_map(|source| within("postgresql", source.problems())));
        problems.extend(mysql.iter().flat_map(|source| within("mysql", source.problems())));
        problems.extend(sqlite.iter().flat_map(|source| within("sqlite", source.problems())));
        for (n, path) in files.iter().flat_map(|files| files.paths.iter().enumerate()) {
            if TAKEN.iter().any(|name| Path::new(path).starts_with(Path::new("/").join(name))) {
                let message = "would be where the archive has its databases; take the folder above it";
                problems.push(FieldError::new(format!("files.paths[{n}]"), message));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn fields(source: Value) -> Vec<String> {
        let source: Application = serde_json::from_value(source).unwrap();
        source.problems().into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn an_application_has_a_database_and_each_member_is_right_by_itself() {
        let sqlite = json!({ "paths": ["/srv/app/app.db"] });
        let files = |path: &str| json!({ "paths": [path] });
        assert_eq!(fields(json!({ "sqlite": sqlite, "files": files("/srv/app") })), Vec::<String>::new());
        assert_eq!(fields(json!({ "postgresql": {}, "sqlite": sqlite })), Vec::<String>::new());
        assert_eq!(fields(json!({ "files": files("/srv") })), ["postgresql"]);
        assert_eq!(fields(json!({ "postgresql": {}, "mysql": {} })), ["mysql"]);
        assert_eq!(fields(json!({ "sqlite": { "paths": ["x"] } })), ["sqlite.paths[0]"]);
        for taken in ["/postgresql", "/sqlite/x", "/strongroom.json"] {
            assert_eq!(fields(json!({ "sqlite": sqlite, "files": files(taken) })), ["files.paths[0]"]);
        }
        assert_eq!(fields(json!({ "sqlite": sqlite, "files": files("/postgresql2") })), Vec::<String>::new());
    }
}
