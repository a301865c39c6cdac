//! How a dump in SQL ends, by which one that was cut off is known from a whole one.
//!
//! The accident that this file prevents is P1: a dump whose end was lost on its way, and which nobody misses before it is
//! restored. Each program has last words, and it writes them when all else is written.

/// How much of the end is kept.
const END_BYTES: usize = 1024;

/// The last words of `pg_dump` and `pg_dumpall`.
pub const POSTGRESQL: &[&str] =
    &["-- PostgreSQL database dump complete", "-- PostgreSQL database cluster dump complete"];
/// Those of `mysqldump` and `mariadb-dump`, as they are called by others.
pub const MYSQL: &[&str] = &["-- Dump completed"];
/// And when they are to write no comments: what they have changed is set back (`write_footer` of `mysqldump.c`).
pub const MYSQL_WITHOUT_COMMENTS: &[&str] =
    &["SET SQL_NOTES=@OLD_SQL_NOTES", "SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY"];

/// The end of what was seen so far.
#[derive(Debug, Default)]
pub struct Ending(Vec<u8>);

impl Ending {
    /// Some more of it.
    pub fn take(&mut self, part: &[u8]) {
        self.0.extend_from_slice(part.get(part.len().saturating_sub(END_BYTES)..).unwrap_or_default());
        let more = self.0.len().saturating_sub(END_BYTES);
        self.0.drain(..more);
    }

    /// Whether one of these stands there.
    pub fn has(&self, words: &[&str]) -> bool {
        let end = String::from_utf8_lossy(&self.0);
        words.iter().any(|words| end.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_known_however_they_come() {
        let dump = format!("{}\n{}\n\n\\unrestrict x\n", "x".repeat(5000), POSTGRESQL.concat());
        for size in [1, 7, 1000, 10_000] {
            let mut ending = Ending::default();
            dump.as_bytes().chunks(size).for_each(|part| ending.take(part));
            assert!(ending.has(POSTGRESQL) && !ending.has(MYSQL), "{size}");
            ending.take(" ".repeat(END_BYTES).as_bytes());
            assert!(!ending.has(POSTGRESQL), "{size}");
        }
    }
}
