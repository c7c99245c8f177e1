//! Received bytes, read from the front.

use bytes::{Buf, Bytes};
use ottla_base::limits::{MAX_ARRAY_ELEMENTS, MAX_TAGGED_FIELDS};
use ottla_base::{Str, Uuid};

use crate::DecodeError;

/// For how many elements of a list there is always room before the first is read.
const FIRST_ROOM: usize = 4;

/// Reads values from the front of a frame. Text and bytes are slices of it.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

type Result<T> = std::result::Result<T, DecodeError>;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident, $type:ty, $get:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(&mut self) -> Result<$type> {
            if self.rest.len() < size_of::<$type>() {
                return Err(DecodeError::TooShort);
            }
            Ok(self.rest.$get())
        })*
    };
}

impl Reader {
    /// Reads a frame from its beginning.
    pub fn new(frame: Bytes) -> Reader {
        Reader { rest: frame }
    }

    /// How many bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes all that has not been read.
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// Fails if anything has not been read.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TooLong) }
    }

    numbers! {
        /// An `int8`.
        i8, i8, get_i8;
        /// An `int16`.
        i16, i16, get_i16;
        /// A `uint16`.
        u16, u16, get_u16;
        /// An `int32`.
        i32, i32, get_i32;
        /// A `uint32`.
        u32, u32, get_u32;
        /// An `int64`.
        i64, i64, get_i64;
        /// A `float64`.
        f64, f64, get_f64;
    }

    /// A `bool`: anything but zero is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// A `uuid`.
    pub fn uuid(&mut self) -> Result<Uuid> {
        let bytes = *self.rest.first_chunk().ok_or(DecodeError::TooShort)?;
        self.rest.advance(bytes.len());
        Ok(Uuid(bytes))
    }

    /// An unsigned varint of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for (index, byte) in self.rest.iter().take(5).enumerate() {
            let bits = u32::from(byte & 0x7f);
            if index == 4 && bits > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest.advance(index + 1);
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 5 { DecodeError::TooShort } else { DecodeError::Varint })
    }

    /// The next bytes, sharing memory with the frame.
    pub fn take(&mut self, len: usize) -> Result<Bytes> {
        if self.rest.len() < len {
            return Err(DecodeError::TooShort);
        }
        Ok(self.rest.split_to(len))
    }

    /// A length in front of bytes; nothing stands for null.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, true) => i64::from(self.i32()?),
            (false, false) => i64::from(self.i16()?),
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| DecodeError::Length(length)),
        }
    }

    /// Text.
    pub fn string(&mut self, flexible: bool) -> Result<Str> {
        self.nullable_string(flexible)?.ok_or(DecodeError::Null)
    }

    /// Text or null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>> {
        let Some(length) = self.length(flexible, false)? else { return Ok(None) };
        if length > i16::MAX as usize {
            return Err(DecodeError::Length(length as i64));
        }
        Str::from_utf8(self.take(length)?).map(Some).map_err(|_| DecodeError::Utf8)
    }

    /// Bytes or records.
    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null)
    }

    /// Bytes, records or null.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        self.length(flexible, true)?.map(|length| self.take(length)).transpose()
    }

    /// A list whose elements have at least `least` bytes each.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        least: usize,
        read: impl FnMut(&mut Reader) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.nullable_array(flexible, least, read)?.ok_or(DecodeError::Null)
    }

    /// A list whose elements have at least `least` bytes each, or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        least: usize,
        mut read: impl FnMut(&mut Reader) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(length) = self.length(flexible, true)? else { return Ok(None) };
        if length > MAX_ARRAY_ELEMENTS || length > self.rest.len() / least {
            return Err(DecodeError::Length(length as i64));
        }
        // Room for no more than what remains would fill; a list that is longer in memory than on the wire grows
        // as its elements are proved.
        let room = (self.rest.len() / size_of::<T>()).max(FIRST_ROOM);
        let mut list = Vec::with_capacity(length.min(room));
        for _ in 0..length {
            list.push(read(self)?);
        }
        Ok(Some(list))
    }

    /// Whether a nullable structure follows.
    pub fn is_present(&mut self) -> Result<bool> {
        Ok(self.i8()? >= 0)
    }

    /// Whether a nullable structure follows in a tagged field, where Kafka says so with an unsigned varint.
    pub fn is_tagged_present(&mut self) -> Result<bool> {
        Ok(self.unsigned_varint()? > 0)
    }

    /// How many tagged fields follow.
    pub fn tagged_field_count(&mut self) -> Result<usize> {
        let count = self.unsigned_varint()? as usize;
        // Every tagged field has at least a tag and a length.
        if count > MAX_TAGGED_FIELDS || count > self.rest.len() / 2 {
            return Err(DecodeError::Length(count as i64));
        }
        Ok(count)
    }

    /// The tag of a tagged field and a reader of its bytes.
    pub fn tagged_field(&mut self) -> Result<(u32, Reader)> {
        let tag = self.unsigned_varint()?;
        let length = self.unsigned_varint()? as usize;
        Ok((tag, Reader { rest: self.take(length)? }))
    }
}
