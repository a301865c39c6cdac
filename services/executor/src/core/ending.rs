//! How a dump in SQL ends, by which one that was cut off is known from a whole one.
//!
//! The accident that this file prevents is P1: a dump whose end was lost on its way, and which nobody misses before it is
//! restored. Each program has last words, and it writes them when all else is written. They count only where they are the
//! very end: what people keep in a database may be the same words.

/// How much of the beginning is kept.
const HEAD_BYTES: usize = 4096;
/// How much of the end is kept.
const END_BYTES: usize = 1024;

/// The last words of `pg_dump` and `pg_dumpall`.
const POSTGRESQL: [&str; 2] =
    ["-- PostgreSQL database dump complete", "-- PostgreSQL database cluster dump complete"];
/// Those of `mysqldump` and `mariadb-dump`, as they are called by others.
const MYSQL: [&str; 1] = ["-- Dump completed"];
/// And when they are to write no comments: what they have changed is set back (`write_footer` of `mysqldump.c`).
const MYSQL_WITHOUT_COMMENTS: [&str; 2] =
    ["/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;", "/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;"];

/// Whose dump it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// `pg_dump` in its plain format, or `pg_dumpall`.
    Postgresql,
    /// `mysqldump` or `mariadb-dump`, without comments.
    Mysql,
}

/// The beginning and the end of what was seen so far.
#[derive(Debug, Default)]
pub struct Ending {
    head: Vec<u8>,
    end: Vec<u8>,
}

impl Ending {
    /// Some more of it.
    pub fn take(&mut self, part: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(part.len());
        self.head.extend_from_slice(part.get(..room).unwrap_or_default());
        self.end.extend_from_slice(part.get(part.len().saturating_sub(END_BYTES)..).unwrap_or_default());
        let more = self.end.len().saturating_sub(END_BYTES);
        self.end.drain(..more);
    }

    /// Whether somebody's last words stand near the end of what others have written, and perhaps changed.
    pub fn says_so(&self) -> bool {
        let end = String::from_utf8_lossy(&self.end);
        POSTGRESQL.iter().chain(&MYSQL).any(|words| end.contains(words))
    }

    /// Whether it ends with the last words of who has written it just now, and with nothing else.
    pub fn is_whole(&self, writer: Writer) -> bool {
        let end = String::from_utf8_lossy(&self.end);
        let Some(end) = end.strip_suffix('\n') else {
            return false;
        };
        let end = end.trim_end_matches('\n');
        match writer {
            Writer::Mysql => {
                MYSQL_WITHOUT_COMMENTS.iter().any(|words| end.rsplit('\n').next() == Some(words))
            }
            Writer::Postgresql => {
                let closed = |text: &str| {
                    POSTGRESQL
                        .iter()
                        .find_map(|words| {
                            let before =
                                text.strip_suffix("\n--")?.strip_suffix(words)?.strip_suffix("--\n")?;
                            before.is_empty().then_some(before).or_else(|| before.strip_suffix('\n'))
                        })
                        .map(|before| before.trim_end_matches('\n').to_owned())
                };
                let Some(key) = self.key() else {
                    return closed(end).is_some();
                };
                // The one program lifts its restriction after its last words, the other before them.
                let lifted = format!("\\unrestrict {key}");
                let last = |text: &str| text.rsplit('\n').next() == Some(lifted.as_str());
                match end.strip_suffix(&lifted).map(|before| before.trim_end_matches('\n')) {
                    Some(before) => last(end) && closed(before).is_some(),
                    None => closed(end).is_some_and(|before| last(&before)),
                }
            }
        }
    }

    /// The word by which psql is told to run nothing else (since August of 2025): drawn for each dump.
    fn key(&self) -> Option<String> {
        let head = String::from_utf8_lossy(&self.head);
        head.lines().find_map(|line| line.strip_prefix("\\restrict ")).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict 3cIK\n\nCREATE TABLE t ();\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict 3cIK\n\n";
    const OLD: &str = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE t ();\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
    const CLUSTER: &str = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict he3d\n\n\n\n\\unrestrict he3d\n\n--\n-- PostgreSQL database cluster dump complete\n--\n\n";
    const MARIADB: &str = "/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES */;\nINSERT INTO `t` VALUES (1);\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n";
    const NEW_MARIADB: &str = "CREATE TABLE `t`;\n/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;\n";

    fn whole(dump: &str, writer: Writer, pieces: usize) -> bool {
        let mut ending = Ending::default();
        dump.as_bytes().chunks(pieces).for_each(|part| ending.take(part));
        ending.is_whole(writer)
    }

    #[test]
    fn a_dump_is_whole_with_its_last_words_and_without_any_of_them_it_is_not() {
        let all = [
            (DUMP, Writer::Postgresql),
            (OLD, Writer::Postgresql),
            (CLUSTER, Writer::Postgresql),
            (MARIADB, Writer::Mysql),
            (NEW_MARIADB, Writer::Mysql),
        ];
        for (dump, writer) in all {
            // Empty lines at its end are nothing that could be missed.
            let least = dump.trim_end_matches('\n').len() + 1;
            for end in 0..=dump.len() {
                let cut = dump.get(..end).unwrap_or_default();
                for pieces in [1, 7, 4096] {
                    assert_eq!(whole(cut, writer, pieces), end >= least, "{cut:?}");
                }
            }
            let long = dump.replacen("TABLE t", &format!("TABLE t{}", "x".repeat(9000)), 1);
            assert!(whole(&long, writer, 1000));
        }
    }

    #[test]
    fn last_words_that_people_keep_in_a_table_end_nothing() {
        let words = "--\n-- PostgreSQL database dump complete\n--\n";
        let kept = |head: &str| format!("{head}COPY t (x) FROM stdin;\n{words}");
        assert!(!whole(&kept("--\n\\restrict 3cIK\n"), Writer::Postgresql, 100));
        let row = "COPY t (x) FROM stdin;\n1\t-- PostgreSQL database dump complete\n";
        assert!(!whole(row, Writer::Postgresql, 100));
        let row = "INSERT INTO t VALUES ('/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n";
        assert!(!whole(row, Writer::Mysql, 100));
        assert!(!whole(&DUMP.replace("unrestrict 3cIK", "unrestrict 3cI"), Writer::Postgresql, 100));
    }

    #[test]
    fn what_others_have_written_says_so_wherever_that_stands_near_the_end() {
        let mut ending = Ending::default();
        ending.take(b"INSERT INTO t VALUES (1);\n-- Dump completed on 2026-11-21\n-- and copied\n");
        assert!(ending.says_so());
        ending.take(" ".repeat(END_BYTES).as_bytes());
        assert!(!ending.says_so());
    }
}
