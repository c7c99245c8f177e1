//! Records as people look at them: every field under Kafka's name, as Kafka's JSON has it.

use bytes::Bytes;
use ottla_base::{Str, Uuid};

/// A value to look at.
#[derive(Debug, Clone, PartialEq)]
pub enum Description {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A fraction.
    Float(f64),
    /// Text.
    Text(Str),
    /// Bytes; Kafka's JSON has them in Base64.
    Bytes(Bytes),
    /// An id.
    Uuid(Uuid),
    /// Several values.
    List(Vec<Description>),
    /// Values with names, in the schema's order.
    Fields(Vec<(&'static str, Description)>),
}

/// Something that can be looked at.
pub trait Describe {
    /// What is written of it in the layout of a version.
    fn describe(&self, version: i16) -> Description;
}

/// Collects the fields of a structure.
#[derive(Debug)]
pub struct DescribedFields {
    version: i16,
    fields: Vec<(&'static str, Description)>,
}

impl DescribedFields {
    /// No field so far.
    pub fn new(version: i16) -> DescribedFields {
        DescribedFields { version, fields: Vec::new() }
    }

    /// Adds a field.
    pub fn add(&mut self, name: &'static str, value: &impl Describe) {
        self.fields.push((name, value.describe(self.version)));
    }

    /// The fields as a value.
    pub fn finish(self) -> Description {
        Description::Fields(self.fields)
    }
}

macro_rules! describe {
    ($($kind:ty => $it:ident $description:expr;)*) => {
        $(impl Describe for $kind {
            fn describe(&self, _version: i16) -> Description {
                let $it = self;
                $description
            }
        })*
    };
}

describe! {
    bool => it Description::Bool(*it);
    i8 => it Description::Number(i64::from(*it));
    i16 => it Description::Number(i64::from(*it));
    u16 => it Description::Number(i64::from(*it));
    i32 => it Description::Number(i64::from(*it));
    u32 => it Description::Number(i64::from(*it));
    i64 => it Description::Number(*it);
    f64 => it Description::Float(*it);
    Str => it Description::Text(it.clone());
    Bytes => it Description::Bytes(it.clone());
    Uuid => it Description::Uuid(*it);
}

impl<T: Describe> Describe for Option<T> {
    fn describe(&self, version: i16) -> Description {
        self.as_ref().map_or(Description::Null, |it| it.describe(version))
    }
}

impl<T: Describe> Describe for Vec<T> {
    fn describe(&self, version: i16) -> Description {
        Description::List(self.iter().map(|it| it.describe(version)).collect())
    }
}
