//! SQL that somebody else has dumped, on its way into a database of our choice.
//!
//! The accident that this file prevents: a dump that names its database itself (`pg_dump -C`, `mysqldump --databases`)
//! drops and fills the one of that name, whatever one was asked for. Such words are left out where they stand at the
//! head of a dump, and anywhere else they end the restore: they could be a part of somebody's text.

use super::ending::Ending as End;
use super::recognise::Form;

/// How much of a line is looked at.
const LINE_BYTES: usize = 64 << 10;

/// What is said of a dump that names a second database.
const SEVERAL: &str = "the dump is of several databases; only one can be restored at a time";

/// What is not passed on, with what it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Refused {
    /// Which line, counted from 1.
    pub line: u64,
    /// Why.
    pub why: String,
}

/// Passes SQL on, line by line.
pub struct Filter {
    form: Form,
    /// The beginning of a line that has not ended.
    line: Vec<u8>,
    /// The rest of the line at hand goes the way of its beginning.
    rest: Option<Way>,
    lines: u64,
    /// Between `COPY ... FROM stdin` and its end, lines are data.
    copying: bool,
    /// A statement of several lines is left out until it ends.
    leaving: bool,
    /// What comes before anything of the database.
    head: bool,
    database: Option<String>,
    key: Option<String>,
    /// A comment at the head says which program has written it.
    signed: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Pass,
    Leave,
}

/// What was seen of a dump by its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It says that it is whole.
    Whole,
    /// It says who has written it, and not that it is whole.
    CutOff,
    /// It says neither.
    Unsigned,
}

impl Filter {
    /// Of SQL in this form.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            line: Vec::new(),
            rest: None,
            lines: 0,
            copying: false,
            leaving: false,
            head: true,
            database: None,
            key: None,
            signed: false,
            end: End::default(),
        }
    }

    /// Some more of it; what goes on is added to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Refused> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.end.take(part);
            let ends = part.ends_with(b"\n");
            if let Some(way) = self.rest {
                if way == Way::Pass {
                    out.extend_from_slice(part);
                }
                if ends {
                    self.rest = None;
                }
                continue;
            }
            self.line.extend_from_slice(part);
            if ends || self.line.len() >= LINE_BYTES {
                let way = self.take(out)?;
                self.rest = (!ends).then_some(way);
            }
        }
        Ok(())
    }

    /// That was all.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Ending, Refused> {
        if !self.line.is_empty() {
            self.take(out)?;
        }
        if self.copying {
            return Err(self.refused("the file ends in the middle of a table"));
        }
        Ok(match (self.end.says_so(), self.signed) {
            (true, _) => Ending::Whole,
            (false, true) => Ending::CutOff,
            (false, false) => Ending::Unsigned,
        })
    }

    /// Takes a line, or the beginning of a long one; the rest of it goes the same way.
    fn take(&mut self, out: &mut Vec<u8>) -> Result<Way, Refused> {
        self.lines += 1;
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = text.trim_end_matches(['\n', '\r']);
        let way = if self.copying {
            self.copying = text != "\\.";
            Way::Pass
        } else if self.leaving {
            self.leaving = !text.trim_end().ends_with(';');
            Way::Leave
        } else if self.form == Form::Mysql {
            match self.of_mysql(text)? {
                Ok(way) => way,
                Err(other) => {
                    out.extend_from_slice(other.as_bytes());
                    out.push(b'\n');
                    return Ok(Way::Leave);
                }
            }
        } else {
            self.of_postgresql(text)?
        };
        if way == Way::Pass {
            out.extend_from_slice(&line);
        }
        Ok(way)
    }

    fn of_postgresql(&mut self, text: &str) -> Result<Way, Refused> {
        if let Some(key) = text.strip_prefix("\\restrict ").filter(|_| self.head) {
            // We have one of our own.
            self.key = Some(key.to_owned());
            return Ok(Way::Leave);
        }
        if text.strip_prefix("\\unrestrict ").is_some_and(|key| self.key.as_deref() == Some(key)) {
            return Ok(Way::Leave);
        }
        if self.head && (text.starts_with("\\connect ") || text.starts_with("\\c ")) {
            return self.names(text.to_owned());
        }
        let upper: String = text.chars().take(200).collect::<String>().to_ascii_uppercase();
        if is_about_databases(&upper) {
            return self.only_at_head(text);
        }
        if upper.starts_with("COPY ") && text.trim_end().to_ascii_uppercase().ends_with(" FROM STDIN;") {
            self.copying = true;
        }
        self.sign(text, "-- PostgreSQL database dump");
        let is_head = text.trim().is_empty()
            || text.starts_with("--")
            || text.starts_with('\\')
            || upper.starts_with("SET ")
            || upper.starts_with("SELECT PG_CATALOG.SET_CONFIG(");
        self.head &= is_head;
        Ok(Way::Pass)
    }

    /// The way of a line, or what goes on in its place.
    fn of_mysql(&mut self, text: &str) -> Result<Result<Way, String>, Refused> {
        let bare = without_condition(text);
        let upper: String = bare.chars().take(200).collect::<String>().to_ascii_uppercase();
        if upper.starts_with("USE ") {
            let name = bare.get(4..).unwrap_or_default().trim().trim_end_matches(';').trim().to_owned();
            return self.names(name).map(Ok);
        }
        if ["CREATE DATABASE", "CREATE SCHEMA", "DROP DATABASE", "DROP SCHEMA"]
            .iter()
            .any(|w| upper.starts_with(w))
        {
            if !self.head && self.database.is_some() && upper.starts_with("CREATE ") {
                return Err(self.refused(SEVERAL));
            }
            return self.only_at_head(text).map(Ok);
        }
        if let Some(rest) = bare.strip_prefix("ALTER DATABASE `") {
            // It is the one at hand that is meant: the name could be that of another by now.
            let rest = rest.split_once("` ").map(|(_, rest)| rest).unwrap_or_default();
            return Ok(Err(format!("ALTER DATABASE {rest}")));
        }
        if ["CHANGE MASTER", "CHANGE REPLICATION", "SET @@GLOBAL.GTID_PURGED", "SET @@GLOBAL.GTID_SLAVE_POS"]
            .iter()
            .any(|words| upper.starts_with(words))
        {
            // What the server is a copy of is not for a dump to say.
            self.leaving = !text.trim_end().ends_with(';');
            return Ok(Ok(Way::Leave));
        }
        self.sign(text, "-- MySQL dump");
        self.sign(text, "-- MariaDB dump");
        let is_head = text.trim().is_empty()
            || text.starts_with("--")
            || text.starts_with("/*")
            || upper.starts_with("SET ")
            || upper.starts_with("START TRANSACTION");
        self.head &= is_head;
        Ok(Ok(Way::Pass))
    }

    fn sign(&mut self, text: &str, words: &str) {
        self.signed |= self.head && text.starts_with(words);
    }

    /// A database is named: there may be one.
    fn names(&mut self, name: String) -> Result<Way, Refused> {
        match &self.database {
            Some(before) if *before == name => Ok(Way::Leave),
            None if self.head => {
                self.database = Some(name);
                Ok(Way::Leave)
            }
            _ => Err(self.refused(SEVERAL)),
        }
    }

    fn only_at_head(&self, text: &str) -> Result<Way, Refused> {
        if self.head {
            return Ok(Way::Leave);
        }
        let shown: String = text.chars().take(80).collect();
        Err(self.refused(&format!("this is about a database as such, and not passed on: {shown}")))
    }

    fn refused(&self, why: &str) -> Refused {
        Refused { line: self.lines, why: why.to_owned() }
    }
}

/// What makes, removes or changes whole databases in PostgreSQL.
fn is_about_databases(upper: &str) -> bool {
    let begins = ["CREATE DATABASE ", "DROP DATABASE ", "ALTER DATABASE ", "COMMENT ON DATABASE "];
    let rights = upper.starts_with("GRANT ") || upper.starts_with("REVOKE ");
    begins.iter().any(|words| upper.starts_with(words)) || (rights && upper.contains(" ON DATABASE "))
}

/// `/*!40000 DROP DATABASE ...` without what makes it conditional.
fn without_condition(text: &str) -> &str {
    match text.strip_prefix("/*!").or_else(|| text.strip_prefix("/*M!")) {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn passed(form: Form, text: &str) -> Result<(String, Ending), Refused> {
        let mut filter = Filter::new(form);
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            filter.push(piece, &mut out)?;
        }
        let ending = filter.finish(&mut out)?;
        Ok((String::from_utf8(out).unwrap(), ending))
    }

    const CREATED: &str = "--\n-- PostgreSQL database dump\n--\n\\restrict abc\nSET a = 1;\nDROP DATABASE shop;\n\
        CREATE DATABASE shop WITH TEMPLATE = template0;\nALTER DATABASE shop OWNER TO o;\n\\connect shop\nSET b = 1;\n\
        REVOKE CONNECT ON DATABASE shop FROM PUBLIC;\nCREATE TABLE t (x text);\nCOPY public.t (x) FROM stdin;\n\
        DROP DATABASE x;\n\\connect y\n\\N\n\\.\n\\unrestrict abc\n-- PostgreSQL database dump complete\n";

    #[test]
    fn a_dump_of_postgresql_goes_where_it_is_to_go_and_its_data_is_left_alone() {
        let (text, ending) = passed(Form::PostgresqlPlain, CREATED).unwrap();
        assert_eq!(ending, Ending::Whole);
        assert_eq!(
            text,
            "--\n-- PostgreSQL database dump\n--\nSET a = 1;\nSET b = 1;\nCREATE TABLE t (x text);\n\
             COPY public.t (x) FROM stdin;\nDROP DATABASE x;\n\\connect y\n\\N\n\\.\n-- PostgreSQL database dump complete\n"
        );
        let late = CREATED.replace("\\.\n", "\\.\nDROP DATABASE other;\n");
        assert_eq!(passed(Form::PostgresqlPlain, &late).unwrap_err().line, 18);
        let cut = CREATED.split_once("\\N").unwrap().0;
        assert!(passed(Form::PostgresqlPlain, cut).unwrap_err().why.contains("middle of a table"));
        let cut = CREATED.split_once("COPY").unwrap().0;
        assert_eq!(passed(Form::PostgresqlPlain, cut).unwrap().1, Ending::CutOff);
        assert_eq!(passed(Form::PostgresqlPlain, "create table t (n int);").unwrap().1, Ending::Unsigned);
    }

    const DATABASES: &str = "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8 */;\nSET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-2,\nb:1-3';\n\
        CHANGE MASTER TO MASTER_LOG_FILE='x', MASTER_LOG_POS=1;\n/*!40000 DROP DATABASE IF EXISTS `shop`*/;\n\
        CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`;\nUSE `shop`;\nCREATE TABLE `t` (\n  `use` int\n) ENGINE=InnoDB;\n\
        ALTER DATABASE `shop` CHARACTER SET latin1 COLLATE latin1_swedish_ci ;\nINSERT INTO `t` VALUES (1);\n-- Dump completed on x\n";

    #[test]
    fn a_dump_of_mysql_goes_where_it_is_to_go() {
        let (text, ending) = passed(Form::Mysql, DATABASES).unwrap();
        assert_eq!(ending, Ending::Whole);
        assert_eq!(
            text,
            "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8 */;\nCREATE TABLE `t` (\n  `use` int\n) ENGINE=InnoDB;\n\
             ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_swedish_ci ;\nINSERT INTO `t` VALUES (1);\n-- Dump completed on x\n"
        );
        let two = DATABASES.replace("-- Dump", "USE `other`;\n-- Dump");
        assert!(passed(Form::Mysql, &two).unwrap_err().why.contains("several databases"));
        let late = DATABASES.replace("-- Dump", "DROP DATABASE other;\n-- Dump");
        assert!(passed(Form::Mysql, &late).is_err());
    }

    proptest! {
        #[test]
        fn what_is_no_word_about_databases_comes_through_however_it_is_cut(lines in prop::collection::vec("[a-z `;'()\\\\.-]{0,90}", 0..30), cut in 1_usize..50) {
            let text: String = lines.iter().map(|l| format!("insert {l}\n")).collect();
            for form in [Form::PostgresqlPlain, Form::Mysql] {
                let mut filter = Filter::new(form);
                let mut out = Vec::new();
                for piece in text.as_bytes().chunks(cut) {
                    filter.push(piece, &mut out).unwrap();
                }
                filter.finish(&mut out).unwrap();
                prop_assert_eq!(String::from_utf8(out).unwrap(), text.clone());
            }
        }

        #[test]
        fn a_line_of_any_length_comes_through(length in 60_000_usize..140_000) {
            let text = format!("INSERT INTO t VALUES ('{}');\n", "x".repeat(length));
            let mut filter = Filter::new(Form::Mysql);
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(4096) {
                filter.push(piece, &mut out).unwrap();
            }
            filter.finish(&mut out).unwrap();
            prop_assert!(out == text.as_bytes());
        }
    }
}
