//! Walking a `.log` file from batch to batch, looking at headers only or at every byte.

use ottla_base::{LeaderEpoch, Offset, Timestamp};
use ottla_host::File;
use ottla_record::{
    BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_PREFIX_BYTES, MAGIC_V2, StoredBatch,
};

use crate::error::StorageError;
use crate::file_names::FileName;
use crate::files::LogFiles;

/// How much is read at once to look at headers: batches near an index entry begin within this.
const HEADER_WINDOW_BYTES: usize = 4096;
/// How much is read at once to check every byte.
const CHECK_WINDOW_BYTES: usize = 1 << 20;
/// The smallest message of formats v0 and v1, whole: prefix, checksum, magic, attributes, two lengths.
const LEGACY_BYTES_MIN: usize = LENGTH_PREFIX_BYTES + 14;
/// Where a v1 message has its timestamp.
const LEGACY_TIMESTAMP_AT: usize = 18;

/// A batch in a file: what its header says and where it is.
#[derive(Debug, Clone, Copy)]
pub struct BatchAt {
    /// Where the batch begins.
    pub position: u32,
    /// Its size, header and all.
    pub size: u32,
    /// Its first offset. Of a compressed batch of formats v0 and v1 the last, which is all that its header knows.
    pub base_offset: Offset,
    /// Its last offset.
    pub last_offset: Offset,
    /// Its highest timestamp.
    pub max_timestamp: Timestamp,
    /// The epoch of the leader that appended it; none before format v2.
    pub leader_epoch: LeaderEpoch,
    /// The header, in format v2.
    pub header: Option<BatchHeader>,
}

impl BatchAt {
    /// Where the next batch begins.
    pub fn end_position(&self) -> u32 {
        self.position + self.size
    }

    /// The offset after the last.
    pub fn end_offset(&self) -> Offset {
        self.last_offset.after(1)
    }
}

/// Why a walk ended before the file did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Where the bytes begin that are no batch.
    pub position: u32,
    /// What is wrong with them.
    pub reason: String,
}

/// What comes next in a file.
#[derive(Debug)]
pub(crate) enum Step {
    /// A batch.
    Batch(BatchAt),
    /// The end.
    End,
    /// No batch, and so no way to know where the next one is.
    Torn(Torn),
}

/// How closely a walk looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At headers.
    Headers,
    /// At every byte: checksums are computed.
    Checksums,
}

/// A walk over part of a file.
pub(crate) struct Scan<'a> {
    files: &'a LogFiles,
    name: FileName,
    file: &'a File,
    depth: Depth,
    /// Where the next batch begins.
    position: u32,
    /// Where the walk ends.
    end: u32,
    /// The offset that the next batch may have at least.
    expected: Offset,
    window: Vec<u8>,
    window_at: u32,
    /// How much is read at once.
    window_bytes: usize,
    /// The largest batch that is taken for one.
    size_max: u32,
}

impl<'a> Scan<'a> {
    /// A walk from `position`, where a batch begins that has no offset below `expected`, to `end`.
    pub(crate) fn new(
        files: &'a LogFiles,
        name: FileName,
        file: &'a File,
        depth: Depth,
        positions: std::ops::Range<u32>,
        expected: Offset,
    ) -> Scan<'a> {
        let (position, end) = (positions.start, positions.end);
        let window_bytes = match depth {
            Depth::Headers => HEADER_WINDOW_BYTES,
            Depth::Checksums => CHECK_WINDOW_BYTES,
        };
        Scan {
            files,
            name,
            file,
            depth,
            position,
            end,
            expected,
            window: Vec::new(),
            window_at: position,
            window_bytes,
            size_max: u32::MAX,
        }
    }

    /// The same, looking at every byte, in windows of `window_bytes`, and taking no batch that is larger than
    /// `size_max`.
    pub(crate) fn bounded(self, window_bytes: usize, size_max: u32) -> Scan<'a> {
        Scan { window_bytes: window_bytes.max(HEADER_WINDOW_BYTES), size_max, ..self }
    }

    /// The batch that comes next.
    pub(crate) fn next(&mut self) -> Result<Step, StorageError> {
        let remaining = self.end.saturating_sub(self.position) as usize;
        if remaining == 0 {
            return Ok(Step::End);
        }
        if remaining < LEGACY_BYTES_MIN {
            return Ok(self.torn("too short for a batch"));
        }
        let position = self.position;
        let head = self.bytes(remaining.min(HEADER_BYTES))?;
        let batch = match parse(position, head) {
            Ok(batch) => batch,
            Err(reason) => return Ok(self.torn(reason)),
        };
        if batch.size as usize > remaining {
            return Ok(self.torn("the batch ends after the file"));
        }
        if batch.size > self.size_max {
            return Ok(self.torn(format!("the batch has {} bytes, more than any may have", batch.size)));
        }
        if batch.base_offset < self.expected || batch.last_offset < batch.base_offset {
            return Ok(self.torn("the offsets are out of order"));
        }
        if batch.last_offset.get() - self.name.base.get() > i64::from(i32::MAX) {
            return Ok(self.torn("the offset is too far from the segment's"));
        }
        if self.depth == Depth::Checksums
            && let Err(error) =
                StoredBatch::new(self.bytes(batch.size as usize)?).and_then(|it| it.verify_crc())
        {
            return Ok(self.torn(error.to_string()));
        }
        self.position = batch.end_position();
        self.expected = batch.end_offset();
        Ok(Step::Batch(batch))
    }

    /// The bytes of the batch that [`Scan::next`] gave last.
    pub(crate) fn batch_bytes(&mut self, batch: &BatchAt) -> Result<&[u8], StorageError> {
        self.read(batch.position, batch.size as usize)
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u32 {
        self.position
    }

    /// The next `count` bytes, which are there.
    fn bytes(&mut self, count: usize) -> Result<&[u8], StorageError> {
        self.read(self.position, count)
    }

    fn read(&mut self, position: u32, count: usize) -> Result<&[u8], StorageError> {
        let inside = position.checked_sub(self.window_at).map(|at| at as usize);
        match inside {
            Some(at) if at + count <= self.window.len() => Ok(&self.window[at..at + count]),
            _ => {
                let window = self.window_bytes;
                let there = self.end.saturating_sub(position) as usize;
                // A window that a huge batch needed is not kept for the small ones after it.
                self.window.truncate(0);
                self.window.shrink_to(window);
                self.window.resize(window.max(count).min(there.max(count)), 0);
                self.window_at = position;
                let read = self.file.read_exact_at(&mut self.window, u64::from(position));
                if read.is_err() {
                    self.window.clear();
                }
                self.files.of(self.name, read)?;
                Ok(&self.window[..count])
            }
        }
    }

    fn torn(&self, reason: impl Into<String>) -> Step {
        Step::Torn(Torn { position: self.position, reason: reason.into() })
    }
}

fn be<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// What the first bytes of a batch say; `bytes` has [`HEADER_BYTES`] of it or as many as there are.
pub(crate) fn parse(position: u32, bytes: &[u8]) -> Result<BatchAt, &'static str> {
    if bytes.len() < LEGACY_BYTES_MIN {
        return Err("too short for a batch");
    }
    let base_offset = Offset(i64::from_be_bytes(be(bytes, 0)));
    let length = i32::from_be_bytes(be(bytes, 8));
    let size = u32::try_from(length).map_err(|_| "the length is negative")? as usize + LENGTH_PREFIX_BYTES;
    let magic = bytes[MAGIC_PREFIX_BYTES - 1] as i8;
    if base_offset < Offset::ZERO {
        return Err("the offset is negative");
    }
    let legacy = |max_timestamp| BatchAt {
        position,
        size: size as u32,
        base_offset,
        last_offset: base_offset,
        max_timestamp,
        leader_epoch: LeaderEpoch::NONE,
        header: None,
    };
    match magic {
        MAGIC_V2 if bytes.len() >= HEADER_BYTES && size >= HEADER_BYTES => {
            let header = BatchHeader::from_bytes(be(bytes, 0));
            if header.last_offset_delta() < 0 {
                return Err("the last offset is below the first");
            }
            Ok(BatchAt {
                position,
                size: size as u32,
                base_offset,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp(),
                leader_epoch: header.partition_leader_epoch(),
                header: Some(header),
            })
        }
        0 if size >= LEGACY_BYTES_MIN => Ok(legacy(Timestamp::NONE)),
        1 if size >= LEGACY_BYTES_MIN + 8 && bytes.len() >= LEGACY_TIMESTAMP_AT + 8 => {
            Ok(legacy(Timestamp(i64::from_be_bytes(be(bytes, LEGACY_TIMESTAMP_AT)))))
        }
        0..=2 => Err("too short for its format"),
        _ => Err("the format is unknown"),
    }
}
