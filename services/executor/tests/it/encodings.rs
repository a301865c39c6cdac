//! Databases of PostgreSQL in other encodings than UTF-8.

use crate::databases::Databases;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// SQL_ASCII holds bytes that are no text in any encoding, and a name in LATIN1 has other bytes than in UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_form_in_utf_8_is_dumped_as_it_is_and_comes_back() -> Result<()> {
    let all = Databases::new().await?;
    for (name, encoding) in [("bytes", "SQL_ASCII"), ("latin", "LATIN1"), ("windows", "WIN1252")] {
        all.server.sql(
            "postgres",
            &format!(
                "create database {name} encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'"
            ),
        )?;
    }
    all.server.sql("bytes", "create table t as select 1 as n, E'\\xff\\xfe'::text as x")?;
    all.server.sql(
        "latin",
        "set client_encoding to utf8; create table \"été\" as select n, 'ça' as x from generate_series(1, 7) n",
    )?;
    // A byte that this encoding leaves without a meaning, and a server keeps all the same.
    all.server.sql(
        "windows",
        "set client_encoding to win1252; create table t as select 1 as n, E'\\x81'::text as x",
    )?;
    for format in ["custom", "plain"] {
        let archive =
            all.archive(json!({ "databases": ["bytes", "latin", "windows"], "format": format })).await?;
        let parts = archive["dump"]["artefacts"].as_array().context("it lists its parts")?;
        for (name, table, rows) in [("bytes", "t", 1), ("latin", "\"été\"", 7), ("windows", "t", 1)] {
            let part = parts.iter().find(|part| part["database"] == name).context("it is not there")?;
            let census: &Value = &part["census"];
            assert_eq!(
                (&census["tables_counted"], &census["rows_total"]),
                (&json!(1), &json!(rows)),
                "{name}"
            );
            let copy = format!("copy_{name}_{format}");
            let spec = all.restore(&archive, part["path"].as_str().unwrap(), &copy, json!({}));
            let done = serde_json::to_value(all.stage.success(spec).await?)?;
            assert_eq!(done["completeness"], "complete", "{done}");
            assert_eq!(done["result"]["check"]["tables_equal"], 1, "{done}");
            let sums = format!(
                "set client_encoding to utf8; select string_agg(encode(x::bytea, 'hex'), ',') from {table}"
            );
            let sums =
                if name == "bytes" || name == "windows" { "select md5(x) from t".to_owned() } else { sums };
            assert_eq!(all.server.sql(&copy, &sums)?, all.server.sql(name, &sums)?, "{name}");
        }
    }
    all.nothing_is_left();
    Ok(())
}
