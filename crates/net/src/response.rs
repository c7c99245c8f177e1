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

/// How far ahead of what is sent it is looked whether the page cache has it.
const LOOK_AHEAD_BYTES: u32 = 4 << 20;
/// How much is read from the disk at a time if it has not.
const LOAD_BYTES: u32 = 1 << 20;

/// What is to be sent, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    memory_bytes: usize,
    /// How many of the next bytes of files are in the page cache.
    loaded_bytes: u32,
    /// Reads what comes after them from the disk. A box of a box, since every connection has room for it and few need it.
    loading: Option<Box<Loading>>,
}

type Loading = Pin<Box<dyn Future<Output = Loaded> + Send>>;

struct Loaded {
    bytes: u32,
    /// Whether some of them had to be read from the disk.
    were_cold: bool,
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
            self.read_small_files()?;
            let Some(Piece::File { file, offset, len }) = self.pieces.front() else {
                return Poll::Ready(Ok(()));
            };
            if self.loaded_bytes > 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(loading) = &mut self.loading {
                let Loaded { bytes, were_cold } = ready!((**loading).as_mut().poll(cx));
                self.loading = None;
                self.loaded_bytes = bytes;
                // The disk has something to do while these are sent.
                if were_cold {
                    self.load_next(host);
                }
                continue;
            }
            let next = at_most(LOOK_AHEAD_BYTES, *len);
            self.loaded_bytes = at_most(next, file.cached_len(*offset..*offset + u64::from(next))?);
            if self.loaded_bytes == 0 {
                self.load_next(host);
            }
        }
    }

    /// Begins to read into the page cache what comes after what is loaded, where that may block.
    fn load_next(&mut self, host: &Host) {
        let (mut skipped, mut missing) = (u64::from(self.loaded_bytes), LOAD_BYTES);
        let mut ranges: SmallVec<[_; 4]> = SmallVec::new();
        for piece in self.pieces.iter().take(MAX_SLICES) {
            let Piece::File { file, offset, len } = piece else { continue };
            let already = skipped.min(*len);
            skipped -= already;
            let now = at_most(missing, *len - already);
            missing -= now;
            if now > 0 {
                let start = *offset + already;
                ranges.push((file.clone(), start..start + u64::from(now)));
            }
        }
        if ranges.is_empty() {
            return;
        }
        let loading = host.reading(move || {
            let mut were_cold = false;
            for (file, range) in ranges {
                if !file.is_cached(range.clone()).unwrap_or(false) {
                    were_cold = true;
                    // What cannot be read is told by sending it; what can (there were no descriptors here) is sent.
                    let _ = file.load(range);
                }
            }
            Loaded { bytes: LOAD_BYTES - missing, were_cold }
        });
        self.loading = Some(Box::new(Box::pin(loading)));
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
            let loaded = u64::from(self.loaded_bytes).saturating_sub(before).min(*len);
            if loaded == *len {
                file.read_exact_at(&mut content, *offset)?;
            } else if self.loading.is_some() || !file.read_cached_exact_at(&mut content, *offset)? {
                return Ok(());
            }
            self.loaded_bytes -= loaded as u32;
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
        if self.pieces.is_empty() {
            debug_assert!(self.loaded_bytes == 0 && self.loading.is_none(), "more was loaded than there was");
        }
    }
}

fn at_most(limit: u32, len: u64) -> u32 {
    u32::try_from(len).map_or(limit, |len| len.min(limit))
}
