#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;
use proptest::prelude::*;

/// Writes an archive as pg_dump does.
struct Writer {
    version: (u8, u8),
    number_bytes: u8,
    out: Vec<u8>,
}

/// What is to be in it.
#[derive(Debug, Clone)]
enum Item {
    /// A table and its rows.
    Table(String, Vec<String>),
    /// Large objects.
    Objects(Vec<Vec<u8>>),
    /// What has no data.
    View(String),
}

impl Writer {
    fn number(&mut self, n: i64) {
        self.out.push(u8::from(n < 0));
        let bytes = n.unsigned_abs().to_le_bytes();
        self.out.extend(&bytes[..usize::from(self.number_bytes)]);
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.number(i64::try_from(text.len()).unwrap());
                self.out.extend(text.as_bytes());
            }
            None => self.number(-1),
        }
    }

    fn piece(&mut self, bytes: &[u8]) {
        self.number(i64::try_from(bytes.len()).unwrap());
        self.out.extend(bytes);
    }

    fn write(version: (u8, u8), number_bytes: u8, items: &[Item], piece_bytes: usize) -> Vec<u8> {
        let mut w = Self { version, number_bytes, out: b"PGDMP".to_vec() };
        w.out.extend([version.0, version.1, 0, number_bytes, 8, 1]);
        if version >= WITH_COMPRESSION {
            w.out.push(0)
        } else {
            w.number(0)
        }
        for n in [59, 59, 23, 31, 11, 126, 0] {
            w.number(n);
        }
        for text in ["shop", "15.18 (Debian 15.18-0+deb12u1)", "15.18"] {
            w.text(Some(text));
        }
        w.number(i64::try_from(items.len() + 1).unwrap());
        // What every dump begins with.
        w.entry(1, "ENCODING", "ENCODING", false);
        for (n, item) in items.iter().enumerate() {
            let id = i64::try_from(n + 2).unwrap();
            match item {
                Item::Table(name, _) => w.entry(id, name, "TABLE DATA", true),
                Item::Objects(_) => w.entry(id, "BLOBS", "BLOBS", true),
                Item::View(name) => w.entry(id, name, "VIEW", false),
            }
        }
        for (n, item) in items.iter().enumerate() {
            let id = i64::try_from(n + 2).unwrap();
            match item {
                Item::Table(_, rows) => {
                    w.out.push(1);
                    w.number(id);
                    let data: String =
                        rows.iter().map(|row| format!("{row}\n")).collect::<String>() + "\\.\n\n\n";
                    data.as_bytes().chunks(piece_bytes).for_each(|piece| w.piece(piece));
                    w.number(0);
                }
                Item::Objects(all) => {
                    w.out.push(3);
                    w.number(id);
                    for (oid, bytes) in all.iter().enumerate() {
                        w.number(i64::try_from(oid + 1).unwrap());
                        bytes.chunks(piece_bytes).for_each(|piece| w.piece(piece));
                        w.number(0);
                    }
                    w.number(0);
                }
                Item::View(_) => {}
            }
        }
        w.out
    }

    fn entry(&mut self, id: i64, tag: &str, what: &str, has_data: bool) {
        self.number(id);
        self.number(has_data.into());
        self.text(Some("1259"));
        self.text(Some("16385"));
        self.text(Some(tag));
        self.text(Some(what));
        self.number(3);
        self.text((!has_data).then_some("CREATE VIEW"));
        self.text(None);
        self.text((what == "TABLE DATA").then_some("COPY public.t (id) FROM stdin;\n"));
        self.text(Some("public"));
        self.text(Some(""));
        if self.version >= WITH_ACCESS_METHOD {
            self.text(Some("heap"));
        }
        if self.version >= WITH_KIND {
            self.number(114);
        }
        self.text(Some("postgres"));
        self.text(Some("false"));
        for n in 0..id % 3 {
            self.text(Some(&n.to_string()));
        }
        self.text(None);
        self.out.push(2);
        self.out.extend([0; 8]);
    }
}

fn read(bytes: &[u8], piece_bytes: usize) -> Result<Option<Rows>, Wrong> {
    let mut archive = Archive::default();
    for piece in bytes.chunks(piece_bytes) {
        archive.take(piece)?;
    }
    archive.finish()
}

fn table(name: &str) -> Table {
    Table { schema: Some("public".into()), name: name.into(), estimate: None }
}

fn shop() -> Vec<Item> {
    vec![
        Item::Table("orders".into(), vec!["1\ta".into(), "2\t\\\\.".into(), "3\tx\\ny".into()]),
        Item::View("open orders".into()),
        Item::Objects(vec![b"a\nb\n".to_vec(), Vec::new()]),
        Item::Table("empty".into(), Vec::new()),
    ]
}

#[test]
fn the_rows_of_each_table_are_counted() {
    for version in [(1, 12), (1, 13), (1, 14), (1, 15), (1, 16)] {
        let rows = read(&Writer::write(version, 4, &shop(), 10), 7).unwrap().unwrap();
        assert_eq!(rows.of(&table("orders")), Some(3), "{version:?}");
        assert_eq!(rows.of(&table("empty")), Some(0));
        assert_eq!((rows.of(&table("open orders")), rows.0.len()), (None, 2));
    }
}

#[test]
fn what_is_no_archive_of_pg_dump_is_known() {
    assert_eq!(read(b"-- PostgreSQL database dump\n", 5), Err(Wrong::Magic));
    assert_eq!(read(b"", 1), Err(Wrong::CutOff));
}

#[test]
fn of_what_is_in_another_form_nothing_is_said() {
    let whole = Writer::write((1, 16), 4, &shop(), 10);
    for (at, other) in [(6, 17), (6, 11), (5, 2), (8, 0), (8, 9), (10, 3), (11, 1)] {
        let mut bytes = whole.clone();
        bytes[at] = other;
        assert_eq!(read(&bytes, 64), Ok(None), "byte {at}");
    }
}

#[test]
fn a_name_of_any_length_is_no_reason_to_refuse_a_dump() {
    // That of a function has all of its arguments in it.
    let function = format!("f({})", "x".repeat(100_000));
    let items = [Item::View(function), Item::Table("t".into(), vec!["1".into()])];
    let rows = read(&Writer::write((1, 16), 4, &items, 10), 64).unwrap().unwrap();
    assert_eq!(rows.of(&table("t")), Some(1));
}

#[test]
fn a_table_without_its_last_line_is_not_counted() {
    let mut bytes = Writer::write((1, 14), 4, &[Item::Table("t".into(), vec!["1".into()])], 100);
    let at = bytes.len() - 5 - LAST.len();
    bytes[at] = b'x';
    let rows = read(&bytes, 64).unwrap().unwrap();
    assert_eq!(rows.of(&table("t")), None);
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let rows = proptest::collection::vec("[a-z\\\\.\t]{0,20}", 0..20);
    let objects = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..4);
    let item = prop_oneof![
        ("[^\0]{1,20}", rows).prop_map(|(name, rows)| {
            // In a row a backslash is written as two.
            let rows = rows.into_iter().map(|row| row.replace('\\', "\\\\")).collect();
            Item::Table(name, rows)
        }),
        objects.prop_map(Item::Objects),
        "[a-z]{1,9}".prop_map(Item::View),
    ];
    proptest::collection::vec(item, 0..6).prop_map(|mut items| {
        // No two tables have one name.
        for (n, item) in items.iter_mut().enumerate() {
            if let Item::Table(name, _) = item {
                *name = format!("{name}{n}");
            }
        }
        items
    })
}

proptest! {
    #[test]
    fn what_was_written_is_counted_however_it_comes(
        items in items(), minor in 12_u8..=16, number_bytes in 4_u8..=8, written in 1_usize..40, read_by in 1_usize..100,
    ) {
        let bytes = Writer::write((1, minor), number_bytes, &items, written);
        let rows = read(&bytes, read_by).unwrap().unwrap();
        for item in &items {
            if let Item::Table(name, lines) = item {
                prop_assert_eq!(rows.of(&table(name)), Some(lines.len() as u64));
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_never_whole(items in items(), minor in 12_u8..=16, cut in any::<prop::sample::Index>()) {
        prop_assume!(items.iter().any(|item| !matches!(item, Item::View(_))));
        let bytes = Writer::write((1, minor), 4, &items, 30);
        // What follows the list counts: before the last block is there to its end, it is not whole.
        let wrong = read(&bytes[..cut.index(bytes.len())], 13);
        prop_assert!(wrong.is_err(), "{:?}", wrong);
    }

    #[test]
    fn whatever_comes_it_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut given = b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec();
        given.extend(bytes);
        let _ = read(&given, 17);
    }
}
