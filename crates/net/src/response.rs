//! What is sent: pieces of memory and of files, and the queue before the socket.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use ottla_host::{File, Host};
use ottla_wire::Cut;
use smallvec::{SmallVec, smallvec};

use crate::transport::Transport;

#[cfg(test)]
mod tests;

/// A part of what is sent.
#[derive(Debug, Clone)]
pub enum Piece {
    /// From memory.
    Bytes(Bytes),
    /// From a file, which must not be cut before it was sent.
    File {
        /// The file.
        file: File,
        /// Where in it.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

impl Piece {
    /// How many bytes it is.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece::Bytes(bytes)
    }
}

/// What becomes of a connection once a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Continue,
    /// It is closed.
    Close,
}

/// The answer to one request: whole frames, their lengths included.
#[derive(Debug, Clone)]
pub struct Response {
    /// What to send, in order; nothing at all is allowed.
    pub pieces: SmallVec<[Piece; 3]>,
    /// What becomes of the connection.
    pub then: Then,
}

impl Response {
    /// Sends these bytes.
    pub fn bytes(bytes: Bytes) -> Response {
        Response { pieces: smallvec![Piece::Bytes(bytes)], then: Then::Continue }
    }

    /// Sends these pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Response {
        Response { pieces: pieces.into_iter().collect(), then: Then::Continue }
    }

    /// Sends a written frame with external bytes at its cuts: `external` has the pieces of one cut after the
    /// other, and their lengths are the cuts'.
    pub fn spliced(frame: Bytes, cuts: &[Cut], external: impl IntoIterator<Item = Piece>) -> Response {
        let mut pieces = SmallVec::new();
        let mut external = external.into_iter();
        let mut written = 0;
        for cut in cuts {
            if written < cut.position {
                pieces.push(Piece::Bytes(frame.slice(written..cut.position)));
                written = cut.position;
            }
            let mut missing = cut.len as u64;
            while missing > 0 {
                let piece = external.next().expect("a cut without its bytes");
                assert!(piece.len() <= missing, "bytes beyond their cut");
                missing -= piece.len();
                pieces.push(piece);
            }
        }
        if written < frame.len() {
            pieces.push(Piece::Bytes(frame.slice(written..)));
        }
        Response { pieces, then: Then::Continue }
    }

    /// Sends nothing, as for a produce request that asked for no acknowledgement.
    pub fn nothing() -> Response {
        Response { pieces: SmallVec::new(), then: Then::Continue }
    }

    /// Sends nothing and closes the connection, once what was answered before has been sent.
    pub fn close() -> Response {
        Response { pieces: SmallVec::new(), then: Then::Close }
    }

    /// How many bytes of it are in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File { .. } => 0,
        });
        bytes.sum()
    }

    /// The same, and then closes the connection.
    pub fn then_close(self) -> Response {
        Response { then: Then::Close, ..self }
    }
}

/// The most pieces that one write takes.
const MAX_SLICES: usize = 64;

/// File ranges up to this length are copied through memory: cheaper than a system call for each.
const SMALL_FILE_BYTES: u64 = 8 << 10;

/// How much of files is known to be in the page cache at most before it is sent, so that sending does not keep its
/// thread for long, nor wait for the disk there.
const LOAD_BYTES: u32 = 1 << 20;

/// What is to be sent, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    memory_bytes: usize,
    /// How many of the next bytes of files are in the page cache.
    loaded_bytes: u32,
    /// Whether what comes after them is on its way there.
    is_coming: bool,
    /// Reads what is next from the disk. A box of a box, since every connection has room for it and few need it.
    loading: Option<Box<Loading>>,
}

type Loading = Pin<Box<dyn Future<Output = io::Result<Loaded>> + Send>>;

struct Loaded {
    bytes: u32,
    /// Whether the disk had to be asked, so that it was asked for more.
    was_cold: bool,
}

impl Outbox {
    pub(crate) fn push(&mut self, piece: Piece) {
        if piece.is_empty() {
            return;
        }
        if let Piece::Bytes(bytes) = &piece {
            self.memory_bytes += bytes.len();
        }
        self.pieces.push_back(piece);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many pieces there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.pieces.capacity()
    }

    /// Gives up the room if there is nothing in it.
    pub(crate) fn release(&mut self) {
        if self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
    }

    /// How many bytes wait in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Sends what the socket takes in one call; says how much.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        host: &Host,
        transport: &mut Transport,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_load(cx, host))?;
        let sent = match self.pieces.front() {
            None => return Poll::Ready(Ok(0)),
            Some(Piece::File { file, offset, len }) => {
                transport.poll_send_file(cx, file, *offset, u64::from(self.loaded_bytes).min(*len))
            }
            Some(Piece::Bytes(_)) => {
                let mut slices: SmallVec<[IoSlice<'_>; MAX_SLICES]> = SmallVec::new();
                let mut before_file = false;
                for piece in self.pieces.iter().take(MAX_SLICES) {
                    match piece {
                        Piece::Bytes(bytes) => slices.push(IoSlice::new(bytes)),
                        Piece::File { .. } => {
                            before_file = true;
                            break;
                        }
                    }
                }
                match before_file {
                    true => transport.poll_write_vectored_before_file(cx, &slices),
                    false => transport.poll_write_vectored(cx, &slices),
                }
            }
        };
        let sent = ready!(sent)?;
        if sent == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero)));
        }
        self.advance(sent);
        Poll::Ready(Ok(sent))
    }

    /// Ready once what is next can be sent without waiting for the disk.
    fn poll_load(&mut self, cx: &mut Context<'_>, host: &Host) -> Poll<io::Result<()>> {
        loop {
            if let Some(loading) = &mut self.loading {
                let loaded = ready!((**loading).as_mut().poll(cx));
                self.loading = None;
                let Loaded { bytes, was_cold } = loaded?;
                (self.loaded_bytes, self.is_coming) = (bytes, was_cold);
            }
            self.read_small_files()?;
            let Some(Piece::File { file, offset, len }) = self.pieces.front() else {
                return Poll::Ready(Ok(()));
            };
            if self.loaded_bytes > 0 {
                return Poll::Ready(Ok(()));
            }
            let next = at_most(LOAD_BYTES, *len);
            if !self.is_coming && file.is_cached(*offset..*offset + u64::from(next))? {
                self.loaded_bytes = next;
                return Poll::Ready(Ok(()));
            }
            self.loading = Some(Box::new(Box::pin(self.load(host))));
        }
    }

    /// Reads the next ranges of files into the page cache, where that may block. What comes after them is on its way
    /// then, so that the disk has something to do while they are sent.
    fn load(&self, host: &Host) -> impl Future<Output = io::Result<Loaded>> + Send + use<> {
        let mut missing = LOAD_BYTES;
        let mut ranges: SmallVec<[_; 4]> = SmallVec::new();
        for piece in self.pieces.iter().take(MAX_SLICES) {
            if let Piece::File { file, offset, len } = piece {
                let now = at_most(missing, *len);
                missing -= now;
                let end = *offset + u64::from(now);
                let ahead = (*len - u64::from(now)).min(u64::from(LOAD_BYTES));
                ranges.push((file.clone(), *offset..end, *offset..end + ahead));
            }
            if missing == 0 {
                break;
            }
        }
        host.reading(move || {
            let mut was_cold = false;
            for (file, _, with_ahead) in &ranges {
                if !file.is_cached(with_ahead.clone())? {
                    was_cold = true;
                    file.will_need(with_ahead.clone())?;
                }
            }
            for (file, range, _) in ranges {
                file.wait_until_cached(range)?;
            }
            Ok(Loaded { bytes: LOAD_BYTES - missing, was_cold })
        })
    }

    /// Reads the short file ranges that are next and need no waiting: many partitions with little each leave in one
    /// write.
    fn read_small_files(&mut self) -> io::Result<()> {
        let mut before = 0;
        for piece in self.pieces.iter_mut().take(MAX_SLICES) {
            let Piece::File { file, offset, len } = piece else { continue };
            if *len > SMALL_FILE_BYTES {
                before += *len;
                continue;
            }
            let mut content = vec![0; *len as usize];
            if before + *len <= u64::from(self.loaded_bytes) {
                file.read_exact_at(&mut content, *offset)?;
                self.loaded_bytes -= content.len() as u32;
            } else if !file.read_cached_exact_at(&mut content, *offset)? {
                return Ok(());
            }
            self.memory_bytes += content.len();
            *piece = Piece::Bytes(Bytes::from(content));
        }
        Ok(())
    }

    fn advance(&mut self, sent: usize) {
        let mut sent = sent;
        while sent > 0 {
            let Some(first) = self.pieces.front_mut() else {
                return;
            };
            let (taken, left) = match first {
                Piece::Bytes(bytes) => {
                    let taken = sent.min(bytes.len());
                    bytes.advance(taken);
                    self.memory_bytes -= taken;
                    (taken, bytes.len() as u64)
                }
                Piece::File { offset, len, .. } => {
                    let taken = usize::try_from(*len).map_or(sent, |len| sent.min(len));
                    *offset += taken as u64;
                    *len -= taken as u64;
                    self.loaded_bytes -= at_most(self.loaded_bytes, taken as u64);
                    (taken, *len)
                }
            };
            sent -= taken;
            if left == 0 {
                self.pieces.pop_front();
            }
        }
    }
}

fn at_most(limit: u32, len: u64) -> u32 {
    u32::try_from(len).map_or(limit, |len| len.min(limit))
}
