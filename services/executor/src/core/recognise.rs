//! What a file is, by what it begins with: names are given by people, and say what they please.

/// How much of a file is looked at.
pub const HEAD_BYTES: usize = 64 << 10;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Something with a dump in it, perhaps.
    Wrapped(Wrapper),
    /// A dump.
    Dump(Form),
    /// Something else, in a few words.
    Other(&'static str),
}

/// What a dump is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapper {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// By the program of that name.
    Xz,
    /// By the program of that name.
    Bzip2,
    /// With one member.
    Zip,
    /// age-encryption.org/v1, binary.
    Age,
    /// With any number of members.
    Tar,
    /// OpenPGP (RFC 9580), to keys: binary or in its form for texts.
    Gpg,
}

impl Wrapper {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zip => "zip",
            Self::Age => "age",
            Self::Tar => "tar",
            Self::Gpg => "gpg",
        }
    }
}

/// How a dump is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `pg_dump -Fc`.
    PostgresqlCustom,
    /// `pg_dump -Ft`.
    PostgresqlTar,
    /// `pg_dump`.
    PostgresqlPlain,
    /// `pg_dumpall`.
    PostgresqlCluster,
    /// `mysqldump`, `mariadb-dump`, and what writes alike.
    Mysql,
    /// A database of SQLite.
    Sqlite,
}

impl Form {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::PostgresqlCustom => "a dump of PostgreSQL in the custom format",
            Self::PostgresqlTar => "a dump of PostgreSQL in the tar format",
            Self::PostgresqlPlain => "a dump of PostgreSQL as SQL",
            Self::PostgresqlCluster => {
                "a dump of a whole PostgreSQL cluster, which makes roles and databases by itself and is restored with psql"
            }
            Self::Mysql => "a dump of MySQL or MariaDB",
            Self::Sqlite => "a database of SQLite, which is a file and is put in its place by copying it",
        }
    }

    /// The database system that takes it, when one does.
    pub fn system(self) -> Option<&'static str> {
        match self {
            Self::PostgresqlCustom | Self::PostgresqlTar | Self::PostgresqlPlain => Some("postgresql"),
            Self::Mysql => Some("mysql"),
            Self::PostgresqlCluster | Self::Sqlite => None,
        }
    }

    /// Whether it is SQL.
    pub fn is_sql(self) -> bool {
        matches!(self, Self::PostgresqlPlain | Self::Mysql)
    }
}

/// What begins like this.
pub fn recognise(head: &[u8]) -> Content {
    let begins = |magic: &[u8]| head.starts_with(magic);
    if head.is_empty() {
        return Content::Other("nothing");
    }
    let wrapped = [
        (&b"\x1f\x8b"[..], Wrapper::Gzip),
        (b"\x28\xb5\x2f\xfd", Wrapper::Zstd),
        (b"\xfd7zXZ\0", Wrapper::Xz),
        (b"BZh", Wrapper::Bzip2),
        (b"PK\x03\x04", Wrapper::Zip),
        (b"age-encryption.org/v1\n", Wrapper::Age),
    ];
    if let Some((_, wrapper)) = wrapped.iter().find(|(magic, _)| begins(magic)) {
        return Content::Wrapped(*wrapper);
    }
    if head.get(257..262) == Some(b"ustar") {
        let dump = begins(b"toc.dat\0");
        return if dump { Content::Dump(Form::PostgresqlTar) } else { Content::Wrapped(Wrapper::Tar) };
    }
    if begins(b"PGDMP") {
        return Content::Dump(Form::PostgresqlCustom);
    }
    match openpgp(head) {
        Some(To::Keys) => return Content::Wrapped(Wrapper::Gpg),
        Some(To::Passphrase) => {
            return Content::Other("encrypted by gpg with a passphrase; decrypt it with gpg first");
        }
        None => {}
    }
    if begins(b"SQLite format 3\0") {
        return Content::Dump(Form::Sqlite);
    }
    for (magic, words) in [
        (
            &b"-----BEGIN AGE ENCRYPTED FILE-----"[..],
            "age in its form for texts; turn it into the binary form first",
        ),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!", "rar"),
        (b"Salted__", "encrypted by openssl"),
    ] {
        if begins(magic) {
            return Content::Other(words);
        }
    }
    if head.contains(&0) {
        return Content::Other("data of no form that is known");
    }
    sql(&String::from_utf8_lossy(head))
}

/// Who can open a message of OpenPGP.
enum To {
    Keys,
    Passphrase,
}

/// A message of OpenPGP begins with a packet for each key (tag 1) or passphrase (tag 3) that opens it, and this with its
/// version (RFC 9580, 4.2 and 5.1 to 5.3). What is in a form for texts says no more than that it is one.
fn openpgp(head: &[u8]) -> Option<To> {
    if head.starts_with(b"-----BEGIN PGP MESSAGE-----") {
        return Some(To::Keys);
    }
    let (first, rest) = head.split_first()?;
    let (tag, length_bytes) = match first {
        0x80..=0xbf => (first >> 2 & 0x0f, [1, 2, 4].get(usize::from(first & 3)).copied()?),
        0xc0..=0xff => (first & 0x3f, if *rest.first()? < 192 { 1 } else { 2 }),
        _ => return None,
    };
    match (tag, rest.get(length_bytes)?) {
        (1, 3 | 6) => Some(To::Keys),
        (3, 4..=6) => Some(To::Passphrase),
        _ => None,
    }
}

/// Which system's words a text is written in.
fn sql(text: &str) -> Content {
    if text.contains("-- PostgreSQL database cluster dump") {
        return Content::Dump(Form::PostgresqlCluster);
    }
    let count = |signs: &[&str]| signs.iter().filter(|sign| text.contains(**sign)).count();
    let postgresql = count(&[
        "-- PostgreSQL database dump",
        "SELECT pg_catalog.set_config(",
        "SET client_encoding = ",
        "SET statement_timeout",
        " FROM stdin;",
        "\n\\restrict ",
        " OWNER TO ",
        "CREATE TABLE public.",
    ]);
    let mysql = count(&[
        "-- MySQL dump",
        "-- MariaDB dump",
        "-- phpMyAdmin SQL Dump",
        "/*!40",
        "/*!50",
        "/*M!",
        ") ENGINE=",
        "CREATE TABLE `",
        "DROP TABLE IF EXISTS `",
        "INSERT INTO `",
    ]);
    match postgresql.cmp(&mysql) {
        std::cmp::Ordering::Greater => Content::Dump(Form::PostgresqlPlain),
        std::cmp::Ordering::Less => Content::Dump(Form::Mysql),
        std::cmp::Ordering::Equal => Content::Other("text in the words of no database system that is known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_what_it_begins_with() {
        let mut tar = vec![0; 512];
        tar.get_mut(257..262).into_iter().for_each(|at| at.copy_from_slice(b"ustar"));
        let mut toc = tar.clone();
        toc.get_mut(..7).into_iter().for_each(|at| at.copy_from_slice(b"toc.dat"));
        for (head, content) in [
            (&b"PGDMP\x01"[..], Content::Dump(Form::PostgresqlCustom)),
            (b"SQLite format 3\0...", Content::Dump(Form::Sqlite)),
            (b"\x1f\x8b\x08", Content::Wrapped(Wrapper::Gzip)),
            (b"PK\x03\x04", Content::Wrapped(Wrapper::Zip)),
            (&tar, Content::Wrapped(Wrapper::Tar)),
            (&toc, Content::Dump(Form::PostgresqlTar)),
            (b"--\n-- PostgreSQL database dump\n--\n", Content::Dump(Form::PostgresqlPlain)),
            (b"--\n-- PostgreSQL database cluster dump\n--\n", Content::Dump(Form::PostgresqlCluster)),
            (b"-- MariaDB dump 10.19\n/*!40101 SET x */;\n", Content::Dump(Form::Mysql)),
            (b"/*M!999999\\- enable the sandbox mode */ \n", Content::Dump(Form::Mysql)),
            (b"CREATE TABLE `a` (\n  n int\n) ENGINE=InnoDB;\n", Content::Dump(Form::Mysql)),
            (
                b"SET statement_timeout = 0;\nCREATE TABLE public.a (n integer);\n",
                Content::Dump(Form::PostgresqlPlain),
            ),
        ] {
            assert_eq!(recognise(head), content, "{}", String::from_utf8_lossy(head));
        }
        // In its form for texts, gpg alone can say who opens it.
        assert_eq!(recognise(b"-----BEGIN PGP MESSAGE-----\n"), Content::Wrapped(Wrapper::Gpg));
        for other in [&b""[..], b"hello", b"\x00\x01", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n"] {
            assert!(matches!(recognise(other), Content::Other(_)));
        }
    }
}
