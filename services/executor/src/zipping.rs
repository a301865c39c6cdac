//! Zips that are written as they come, into what cannot go back.
//!
//! The accident that this file prevents: a zip that ends well although what it is made of broke off. The library writes the
//! end of a zip also when its writer is dropped; so the way out is closed before that.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// A zip, and the way out of it.
pub struct Zipping<W: Write> {
    /// Fields are dropped in their order: it is closed before the library writes an end.
    way: Way<W>,
    zip: ZipWriter<StreamWriter<Gate<W>>>,
}

/// What closes the way out.
struct Way<W>(Rc<RefCell<Option<W>>>);

impl<W> Drop for Way<W> {
    fn drop(&mut self) {
        self.0.borrow_mut().take();
    }
}

/// The way out: what comes when it is closed is for nobody.
struct Gate<W>(Rc<RefCell<Option<W>>>);

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.borrow_mut() {
            Some(out) => out.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().as_mut().map_or(Ok(()), Write::flush)
    }
}

/// How a member is described: its rights, and when it was changed, in seconds since 1970.
pub fn options(mode: u32, at_s: u64) -> SimpleFileOptions {
    // How large it is is not known before its end, and what reads a zip as it comes must know how its size will be told.
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .large_file(true)
        .unix_permissions(mode)
        .last_modified_time(date(at_s))
}

/// A time as a zip has it: from 1980 on, in UTC.
fn date(at_s: u64) -> DateTime {
    let at = i64::try_from(at_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let part = |n: i8| u8::try_from(n).unwrap_or_default();
    let year = u16::try_from(at.year()).unwrap_or_default();
    let (month, day) = (part(at.month()), part(at.day()));
    DateTime::from_date_and_time(year, month, day, part(at.hour()), part(at.minute()), part(at.second()))
        .unwrap_or_else(|_| DateTime::default_for_write())
}

impl<W: Write> Zipping<W> {
    /// An empty one.
    pub fn new(out: W) -> Self {
        let out = Rc::new(RefCell::new(Some(out)));
        Self { way: Way(out.clone()), zip: ZipWriter::new_stream(Gate(out)) }
    }

    /// Begins a file; its content is written after that.
    pub fn file(&mut self, name: &str, options: SimpleFileOptions) -> io::Result<()> {
        self.zip.start_file(name, options).map_err(io::Error::other)
    }

    /// A folder.
    pub fn folder(&mut self, name: &str, options: SimpleFileOptions) -> io::Result<()> {
        self.zip.add_directory(name, options.large_file(false)).map_err(io::Error::other)
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str, options: SimpleFileOptions) -> io::Result<()> {
        self.zip.add_symlink(name, target, options.large_file(false)).map_err(io::Error::other)
    }

    /// That was all; gives the way out back.
    pub fn end(self) -> io::Result<W> {
        self.zip.finish().map_err(io::Error::other)?;
        let out = self.way.0.borrow_mut().take();
        out.ok_or_else(|| io::Error::other("its way out is closed"))
    }
}

impl<W: Write> Write for Zipping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.zip.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.zip.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn sizes_behind_a_member_are_told_in_the_form_that_its_beginning_promises() {
        let mut zipping = Zipping::new(Vec::new());
        zipping.file("shop.dump", options(0o600, 1_763_750_000)).unwrap();
        zipping.write_all(&[7; 5000]).unwrap();
        let bytes = zipping.end().unwrap();
        let mark = bytes.windows(4).position(|four| four == b"PK\x07\x08").unwrap();
        let size = |at: usize| u64::from_le_bytes(bytes.get(at..at + 8).unwrap().try_into().unwrap());
        assert_eq!(size(mark + 16), 5000, "of eight bytes, as a zip of large files has it");
        let data = 30 + usize::from(bytes[26]) + usize::from(bytes[28]);
        assert_eq!(size(mark + 8), (mark - data) as u64);
        assert_eq!(bytes.get(mark + 24..mark + 28).unwrap(), b"PK\x01\x02");
    }

    #[test]
    fn what_breaks_off_has_no_end() {
        let kept = Kept::default();
        let mut zipping = Zipping::new(kept.clone());
        zipping.file("a", options(0o600, 0)).unwrap();
        zipping.write_all(b"half").unwrap();
        drop(zipping);
        assert!(!kept.0.borrow().windows(4).any(|four| four == b"PK\x05\x06"));
    }
}
