//! Length-prefixed frames out of a stream of bytes (`NetworkReceive`).

use bytes::{Buf, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// Why a connection's bytes are not frames. Nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// The announced length is zero or negative.
    #[error("invalid frame length {0}")]
    Length(i32),
    /// The announced length is above the limit.
    #[error("frame of {announced} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was announced.
        announced: i32,
        /// What is allowed.
        limit: usize,
    },
}

/// Bytes before a frame that say how long it is.
const PREFIX_BYTES: usize = 4;
/// What is read into when nothing is known of the next frame, once a connection is busy.
pub(crate) const READ_BYTES: usize = 16 << 10;
/// What is read into when a connection begins, or begins again after a rest: most of many connections ask little.
const FIRST_READ_BYTES: usize = 512;
/// How much room the first bytes of a frame that announces more may take.
const FIRST_ROOM_BYTES: usize = 64 << 10;
/// How much room they may take once the connection has completed a frame as large.
const MAX_EARNED_BYTES: usize = 1 << 20;
/// The factor by which room grows once it is full.
const GROWTH: usize = 4;

/// Takes frames from the bytes of one connection. A frame is one slice of one buffer, so that whatever is
/// cut from it stays a slice.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    max_frame_bytes: usize,
    /// The length of the frame whose prefix has been read but which is not complete.
    announced: Option<usize>,
    /// The room for the next read when nothing is known of the next frame. Grows each time it is used up.
    read_bytes: usize,
    /// The room that the connection's frames so far have earned the next one.
    earned_bytes: usize,
}

impl FrameReader {
    pub(crate) fn new(max_frame_bytes: usize) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            max_frame_bytes,
            announced: None,
            read_bytes: FIRST_READ_BYTES,
            earned_bytes: FIRST_ROOM_BYTES,
        }
    }

    /// Whether part of a frame has been read.
    pub(crate) fn is_inside_frame(&self) -> bool {
        self.announced.is_some() || !self.buffer.is_empty()
    }

    /// Takes the next frame, without its length, if all of it has been read.
    pub(crate) fn take_frame(&mut self) -> Result<Option<Bytes>, InvalidFrame> {
        let len = match self.announced {
            Some(len) => len,
            None => match self.take_length()? {
                Some(len) => len,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < len {
            self.announced = Some(len);
            return Ok(None);
        }
        self.announced = None;
        self.earned_bytes = len.clamp(FIRST_ROOM_BYTES, MAX_EARNED_BYTES);
        let frame = self.buffer.split_to(len).freeze();
        if len > MAX_EARNED_BYTES {
            // The memory goes with the frame, instead of coming back to this buffer.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(Some(frame))
    }

    fn take_length(&mut self) -> Result<Option<usize>, InvalidFrame> {
        if self.buffer.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let announced = self.buffer.get_i32();
        match usize::try_from(announced) {
            Ok(0) | Err(_) => Err(InvalidFrame::Length(announced)),
            Ok(len) if len > self.max_frame_bytes => {
                Err(InvalidFrame::TooLarge { announced, limit: self.max_frame_bytes })
            }
            Ok(len) => Ok(Some(len)),
        }
    }

    /// How much memory the next read may grow the buffer to; no more than now if there is room already.
    pub(crate) fn wanted_bytes(&self) -> usize {
        let held = self.buffer.len();
        let Some(len) = self.announced else {
            return held.max(self.read_bytes);
        };
        let capacity = self.buffer.capacity();
        if held < capacity && capacity >= len.min(self.earned_bytes) {
            return capacity;
        }
        len.min((held * GROWTH).max(self.earned_bytes)).max(READ_BYTES)
    }

    /// The buffer, with room for the next read.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let wanted = self.wanted_bytes();
        let held = self.buffer.len();
        // A little room at the end of a shared buffer is not worth a read of its own.
        let enough = if self.announced.is_some() { wanted - held } else { self.read_bytes / 4 };
        if self.buffer.capacity() - held < enough {
            if self.buffer.capacity() > 0 {
                self.read_bytes = (self.read_bytes * GROWTH).min(READ_BYTES);
            }
            self.buffer.reserve(wanted.max(held + 1) - held);
        }
        &mut self.buffer
    }

    /// How many bytes of the frame that is being read are here.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How much memory the buffer holds.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives up the buffer of a connection that is quiet.
    pub(crate) fn release(&mut self) {
        if !self.is_inside_frame() {
            self.buffer = BytesMut::new();
            self.read_bytes = FIRST_READ_BYTES;
        }
    }
}
