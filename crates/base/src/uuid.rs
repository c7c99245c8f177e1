//! Kafka's 128-bit ids and their 22-character base64url text (`org.apache.kafka.common.Uuid`).

use std::fmt;
use std::str::FromStr;

/// A 128-bit id: of a topic, a directory, a cluster, a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Text that is not a 22-character base64url id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUuid;

impl Uuid {
    /// No id.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata` (`Uuid.METADATA_TOPIC_ID`).
    pub const METADATA_TOPIC: Uuid = Uuid::from_number(1);

    /// The id whose big-endian number is `number`.
    pub const fn from_number(number: u128) -> Uuid {
        Uuid(number.to_be_bytes())
    }

    /// The id as a big-endian number.
    pub const fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }

    /// Marks 16 random bytes as a version 4 UUID. Draw again if [`Uuid::is_reserved`] says so or its text
    /// begins with a dash, as Kafka does.
    pub const fn from_random(mut bytes: [u8; 16]) -> Uuid {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uuid(bytes)
    }

    /// Whether Kafka keeps this id for itself: the first hundred numbers.
    pub const fn is_reserved(self) -> bool {
        self.number() < 100
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        let mut number = self.number();
        // 128 bits are 21 sextets and two bits, padded on the right with four zero bits.
        text[21] = ALPHABET[((number & 0x3) << 4) as usize];
        number >>= 2;
        for place in text[..21].iter_mut().rev() {
            *place = ALPHABET[(number & 0x3f) as usize];
            number >>= 6;
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Uuid, InvalidUuid> {
        let text = text.as_bytes();
        let text = if let [body @ .., b'=', b'='] = text { body } else { text };
        if text.len() != 22 {
            return Err(InvalidUuid);
        }
        let mut number: u128 = 0;
        for (index, letter) in text.iter().enumerate() {
            let sextet = ALPHABET.iter().position(|it| it == letter).ok_or(InvalidUuid)? as u128;
            number = if index < 21 { number << 6 | sextet } else { number << 2 | sextet >> 4 };
        }
        Ok(Uuid::from_number(number))
    }
}

impl fmt::Display for InvalidUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a 22-character base64url id, as `ottla cluster random-id` prints")
    }
}

impl std::error::Error for InvalidUuid {}
