//! A dump as the only member of a zip, for people who open it with what their desktop has.

use super::{Out, next};
use crate::core::members::{self, ZIP_HEADER};
use async_zip::base::write::ZipFileWriter;
use async_zip::{AttributeCompatibility, Compression, ZipEntryBuilder};
use futures::io::{AllowStdIo, AsyncWriteExt};
use std::io::{self, BufReader, ErrorKind, Read};
use tokio::sync::mpsc;

/// Packs what comes, under this name.
pub fn write(name: &str, mut input: mpsc::Receiver<super::Flow>, out: Out) -> io::Result<u64> {
    let member = ZipEntryBuilder::new(name.into(), Compression::Deflate)
        .attribute_compatibility(AttributeCompatibility::Unix)
        .unix_permissions(0o100_600)
        .build();
    // The library is written for many at a time; here one waits, on a thread for that.
    let packing = async {
        let mut bytes = 0;
        let mut zip = ZipFileWriter::new(AllowStdIo::new(out));
        let mut writer = zip.write_entry_stream(member).await.map_err(io::Error::other)?;
        while let Some(piece) = next(&mut input)? {
            bytes += piece.len() as u64;
            writer.write_all(&piece).await?;
        }
        writer.close().await.map_err(io::Error::other)?;
        let out = zip.close().await.map_err(io::Error::other)?;
        out.into_inner().end()?;
        Ok(bytes)
    };
    futures::executor::block_on(packing)
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
