//! Files of another machine, piece by piece.

use super::connection::Connection;
use super::{FLYING, is_absent};
use bytes::Bytes;
use futures::stream::{FuturesOrdered, StreamExt};
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::mpsc;

/// How it went.
pub enum Read {
    /// All of it was given, or as much as was wanted.
    Whole,
    /// There is no such file.
    Absent,
    /// It has so many bytes.
    TooLarge(u64),
}

/// Gives a file piece by piece, in order, with several requests on their way.
pub async fn read(
    connection: &Connection,
    path: String,
    limit: Option<u64>,
    give: mpsc::Sender<Bytes>,
) -> Result<Read, Error> {
    let handle = match connection.session.open(path, OpenFlags::READ, FileAttributes::empty()).await {
        Err(e) if is_absent(&e) => return Ok(Read::Absent),
        opened => opened?.handle,
    };
    let reading = async {
        let size = connection.session.fstat(&handle).await?.attrs.size.unwrap_or_default();
        if limit.is_some_and(|limit| size > limit) {
            return Ok(Read::TooLarge(size));
        }
        let step = u64::from(connection.step_bytes);
        let mut flying = FuturesOrdered::new();
        let mut asked = 0;
        loop {
            while asked < size && flying.len() < FLYING {
                let length = step.min(size - asked);
                flying.push_back(read_at(connection, &handle, asked, length));
                asked += length;
            }
            match flying.next().await {
                None => return Ok(Read::Whole),
                Some(piece) => {
                    if give.send(piece?.into()).await.is_err() {
                        return Ok(Read::Whole);
                    }
                }
            }
        }
    };
    let read = reading.await;
    let _ = connection.session.close(handle).await;
    read
}

/// A part of a file; servers may give less than was asked for.
async fn read_at(connection: &Connection, handle: &str, from: u64, length: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let left = length - bytes.len() as u64;
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let data = connection.session.read(handle, from + bytes.len() as u64, left).await?.data;
        if data.is_empty() {
            return Err(Error::UnexpectedBehavior(
                "the server gave nothing where there is something".to_owned(),
            ));
        }
        bytes.extend(data);
    }
    Ok(bytes)
}
