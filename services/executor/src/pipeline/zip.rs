//! A dump as the only member of a zip, for people who open it with what their desktop has.

use super::{Flow, Out, next};
use crate::core::members::{self, ZIP_HEADER};
use crate::zipping::{Zipping, options};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use strongroom_service::clock;
use tokio::sync::mpsc;

/// Only who has made it is to read what is unpacked.
const MODE: u32 = 0o600;

/// Packs what comes, under this name.
pub fn write(name: &str, mut input: mpsc::Receiver<Flow>, out: Out) -> io::Result<u64> {
    let mut zipping = Zipping::new(out);
    let mut bytes = 0;
    zipping.file(name, options(MODE, u64::try_from(clock::now().as_second()).unwrap_or_default()))?;
    while let Some(piece) = next(&mut input)? {
        bytes += piece.len() as u64;
        zipping.write_all(&piece)?;
    }
    zipping.end()?.end()?;
    Ok(bytes)
}

/// Gives what is in it. What comes after its member (sums and lists) is passed over: who reads compares digests of all of it.
pub fn read<'a>(input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let cut_off = || io::Error::new(ErrorKind::InvalidData, "it is no zip");
    let mut input = BufReader::new(input);
    let mut bytes = [0; ZIP_HEADER];
    input.read_exact(&mut bytes)?;
    let header = members::zip_header(&bytes).filter(|header| header.method == 8).ok_or_else(cut_off)?;
    let names = u64::from(header.name_bytes) + u64::from(header.extra_bytes);
    if io::copy(&mut (&mut input).take(names), &mut io::sink())? < names {
        return Err(cut_off());
    }
    Ok(Box::new(flate2::bufread::DeflateDecoder::new(input)))
}
