//! Bytes for the outside, written to the end.

use bytes::{BufMut, Bytes, BytesMut};
use ottla_base::Uuid;

use crate::{EncodeError, UnknownTaggedField};

/// A place in the written bytes where external bytes belong: records that leave straight from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How many written bytes come before it.
    pub position: usize,
    /// How many external bytes belong there.
    pub len: usize,
}

/// Records in an answer that is written straight from state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Records<'a> {
    /// They are copied into the frame.
    Inline(&'a [u8]),
    /// So many bytes are spliced into the frame when it is sent: a [`Cut`].
    External(usize),
}

/// Writes one frame. Records need not pass through it: a [`Cut`] says where they belong.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
    cuts: Vec<Cut>,
    external_len: usize,
}

type Result<T = ()> = std::result::Result<T, EncodeError>;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident, $type:ty, $put:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self, value: $type) {
            self.bytes.$put(value);
        })*
    };
}

impl Writer {
    /// A frame with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { bytes: BytesMut::with_capacity(capacity), ..Writer::default() }
    }

    /// How long the frame is so far, external bytes included.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.external_len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame; there must be no cuts.
    pub fn into_bytes(self) -> Bytes {
        assert!(self.cuts.is_empty(), "a frame with cuts is taken with `into_parts`");
        self.bytes.freeze()
    }

    /// The written bytes and where external bytes belong between them, in order.
    pub fn into_parts(self) -> (Bytes, Vec<Cut>) {
        (self.bytes.freeze(), self.cuts)
    }

    /// Overwrites four bytes that were written before, such as a length that was not known then.
    pub fn patch_i32(&mut self, position: usize, value: i32) {
        self.bytes[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }

    numbers! {
        /// An `int8`.
        i8, i8, put_i8;
        /// An `int16`.
        i16, i16, put_i16;
        /// A `uint16`.
        u16, u16, put_u16;
        /// An `int32`.
        i32, i32, put_i32;
        /// A `uint32`.
        u32, u32, put_u32;
        /// An `int64`.
        i64, i64, put_i64;
        /// A `float64`.
        f64, f64, put_f64;
    }

    /// A `bool`.
    pub fn bool(&mut self, value: bool) {
        self.bytes.put_u8(u8::from(value));
    }

    /// A `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.bytes.put_slice(&value.0);
    }

    /// Bytes without a length in front.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    /// An unsigned varint.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    fn compact_length(&mut self, length: usize) -> Result {
        let shown = u32::try_from(length + 1).ok().filter(|it| *it <= i32::MAX as u32);
        self.unsigned_varint(shown.ok_or(EncodeError::Length(length))?);
        Ok(())
    }

    fn wide_length(&mut self, flexible: bool, length: usize) -> Result {
        if flexible {
            return self.compact_length(length);
        }
        self.i32(i32::try_from(length).map_err(|_| EncodeError::Length(length))?);
        Ok(())
    }

    /// Text.
    pub fn string(&mut self, flexible: bool, text: &str) -> Result {
        let length = i16::try_from(text.len()).map_err(|_| EncodeError::Length(text.len()))?;
        if flexible {
            self.compact_length(text.len())?;
        } else {
            self.i16(length);
        }
        self.raw(text.as_bytes());
        Ok(())
    }

    /// Text or null.
    pub fn nullable_string(&mut self, flexible: bool, text: Option<&str>) -> Result {
        match text {
            Some(text) => return self.string(flexible, text),
            None if flexible => self.unsigned_varint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// Bytes or records.
    pub fn bytes(&mut self, flexible: bool, bytes: &[u8]) -> Result {
        self.wide_length(flexible, bytes.len())?;
        self.raw(bytes);
        Ok(())
    }

    /// Bytes, records or null.
    pub fn nullable_bytes(&mut self, flexible: bool, bytes: Option<&[u8]>) -> Result {
        match bytes {
            Some(bytes) => self.bytes(flexible, bytes),
            None => {
                self.null_list(flexible);
                Ok(())
            }
        }
    }

    /// Records, or the room for external ones.
    pub fn records(&mut self, flexible: bool, records: Records<'_>) -> Result {
        match records {
            Records::Inline(bytes) => self.bytes(flexible, bytes),
            Records::External(len) => self.external_bytes(flexible, len),
        }
    }

    /// Records, the room for external ones, or null.
    pub fn nullable_records(&mut self, flexible: bool, records: Option<Records<'_>>) -> Result {
        match records {
            Some(records) => self.records(flexible, records),
            None => {
                self.null_list(flexible);
                Ok(())
            }
        }
    }

    /// Bytes or records that stay where they are: only their length is written, and a [`Cut`] noted.
    pub fn external_bytes(&mut self, flexible: bool, len: usize) -> Result {
        self.wide_length(flexible, len)?;
        if len > 0 {
            self.cuts.push(Cut { position: self.bytes.len(), len });
            self.external_len += len;
        }
        Ok(())
    }

    /// The length of a list whose elements the caller writes.
    pub fn array_len(&mut self, flexible: bool, length: usize) -> Result {
        self.wide_length(flexible, length)
    }

    /// Null in place of a list or of bytes.
    pub fn null_list(&mut self, flexible: bool) {
        if flexible { self.unsigned_varint(0) } else { self.i32(-1) }
    }

    /// A list.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        list: &[T],
        mut write: impl FnMut(&mut Writer, &T) -> Result,
    ) -> Result {
        self.array_len(flexible, list.len())?;
        list.iter().try_for_each(|it| write(self, it))
    }

    /// A list or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        list: Option<&[T]>,
        write: impl FnMut(&mut Writer, &T) -> Result,
    ) -> Result {
        match list {
            Some(list) => self.array(flexible, list, write),
            None => {
                self.null_list(flexible);
                Ok(())
            }
        }
    }

    /// A list out of whatever iterates and knows its length.
    pub fn items<I: ExactSizeIterator>(
        &mut self,
        flexible: bool,
        items: I,
        mut write: impl FnMut(&mut Writer, I::Item) -> Result,
    ) -> Result {
        let announced = items.len();
        self.array_len(flexible, announced)?;
        let mut written = 0;
        for item in items {
            write(self, item)?;
            written += 1;
        }
        assert_eq!(written, announced, "an iterator knows how many items it has");
        Ok(())
    }

    /// A list out of whatever iterates and knows its length, or null.
    pub fn nullable_items<I: ExactSizeIterator>(
        &mut self,
        flexible: bool,
        items: Option<I>,
        write: impl FnMut(&mut Writer, I::Item) -> Result,
    ) -> Result {
        match items {
            Some(items) => self.items(flexible, items, write),
            None => {
                self.null_list(flexible);
                Ok(())
            }
        }
    }

    /// Says that a nullable structure follows.
    pub fn present(&mut self) {
        self.i8(1);
    }

    /// Null in place of a structure.
    pub fn absent(&mut self) {
        self.i8(-1);
    }

    /// Null in place of a structure in a tagged field.
    pub fn tagged_absent(&mut self) {
        self.i8(0);
    }

    /// How many tagged fields follow.
    pub fn tagged_field_count(&mut self, count: usize) -> Result {
        self.plain_length(count)
    }

    /// A tagged field; its length is known only once it is written.
    pub fn tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Writer) -> Result) -> Result {
        self.unsigned_varint(tag);
        let mut field = Writer::default();
        write(&mut field)?;
        assert!(field.cuts.is_empty(), "records are never tagged");
        self.plain_length(field.len())?;
        self.raw(&field.bytes);
        Ok(())
    }

    /// Tagged fields of a later release, as they came, in order, as far as they come before the tag that is written
    /// next. They leave `rest`.
    pub fn unknown_tagged_fields(&mut self, rest: &mut &[UnknownTaggedField], next: u32) -> Result {
        while let Some((field, later)) = rest.split_first().filter(|(field, _)| field.tag <= next) {
            if field.tag == next || later.first().is_some_and(|it| it.tag <= field.tag) {
                return Err(EncodeError::Tag(field.tag));
            }
            self.unsigned_varint(field.tag);
            self.plain_length(field.data.len())?;
            self.raw(&field.data);
            *rest = later;
        }
        Ok(())
    }

    /// A length that is never null, so that it is not one higher than it is.
    fn plain_length(&mut self, length: usize) -> Result {
        self.unsigned_varint(u32::try_from(length).map_err(|_| EncodeError::Length(length))?);
        Ok(())
    }
}
