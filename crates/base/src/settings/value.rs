//! Text to typed value and back, by the rules of Kafka's `ConfigDef`.

use std::fmt;

use super::InvalidSetting;

/// The type of a setting, as `DescribeConfigs` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 16-bit number.
    Short = 4,
    /// A 64-bit number.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts between commas.
    List = 7,
    /// The name of a Java class, kept as text.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

impl Kind {
    /// The number in a `DescribeConfigs` answer; 0 would mean unknown.
    pub const fn id(self) -> i8 {
        self as i8
    }

    /// Kafka's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    /// Whether values of this type are kept from answers and logs.
    pub const fn is_sensitive(self) -> bool {
        matches!(self, Kind::Password)
    }

    /// Reads `text` as a value of this type for the setting `name`.
    pub fn parse(self, name: &str, text: &str) -> Result<Value, InvalidSetting> {
        let trimmed = java_trim(text);
        let not_a_number =
            || InvalidSetting::value(name, text, &format!("Not a number of type {}", self.name()));
        Ok(match self {
            Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
            Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
            Kind::Boolean => {
                let reason = "Expected value to be either true or false";
                return Err(InvalidSetting::value(name, text, reason));
            }
            Kind::String => Value::String(trimmed.to_owned()),
            Kind::Int => Value::Int(trimmed.parse().map_err(|_| not_a_number())?),
            Kind::Short => Value::Short(trimmed.parse().map_err(|_| not_a_number())?),
            Kind::Long => Value::Long(trimmed.parse().map_err(|_| not_a_number())?),
            Kind::Double => Value::Double(parse_double(trimmed).ok_or_else(not_a_number)?),
            Kind::List => Value::List(split_list(trimmed)),
            Kind::Class if trimmed.is_empty() || trimmed.contains(char::is_whitespace) => {
                let reason = format!("Class {text} could not be found.");
                return Err(InvalidSetting::value(name, text, &reason));
            }
            Kind::Class => Value::Class(ClassName(trimmed.to_owned())),
            Kind::Password => Value::Password(Password(trimmed.to_owned())),
        })
    }
}

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// See [`Kind::Boolean`].
    Boolean(bool),
    /// See [`Kind::String`].
    String(String),
    /// See [`Kind::Int`].
    Int(i32),
    /// See [`Kind::Short`].
    Short(i16),
    /// See [`Kind::Long`].
    Long(i64),
    /// See [`Kind::Double`].
    Double(f64),
    /// See [`Kind::List`].
    List(Vec<String>),
    /// See [`Kind::Class`].
    Class(ClassName),
    /// See [`Kind::Password`].
    Password(Password),
}

impl Value {
    /// The value as a number, if it is one. Exact up to 2^53, as Kafka's ranges are.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(f64::from(*number)),
            Value::Short(number) => Some(f64::from(*number)),
            Value::Long(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The value as one text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            Value::Class(name) => Some(name.as_str()),
            _ => None,
        }
    }

    /// The value as texts, if it is a list.
    pub fn as_list(&self) -> Option<&[String]> {
        match self {
            Value::List(texts) => Some(texts),
            _ => None,
        }
    }

    /// The text that stands for the value in an answer: lists joined by commas, passwords hidden.
    pub fn to_text(&self) -> String {
        match self {
            Value::List(texts) => texts.join(","),
            Value::Class(name) => name.as_str().to_owned(),
            other => other.to_string(),
        }
    }
}

/// As Java prints the value inside a message.
impl fmt::Display for Value {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(flag) => write!(to, "{flag}"),
            Value::String(text) => to.write_str(text),
            Value::Int(number) => write!(to, "{number}"),
            Value::Short(number) => write!(to, "{number}"),
            Value::Long(number) => write!(to, "{number}"),
            Value::Double(number) => to.write_str(&java_double(*number)),
            Value::List(texts) => write!(to, "[{}]", texts.join(", ")),
            Value::Class(name) => write!(to, "class {}", name.as_str()),
            Value::Password(_) => to.write_str(Password::HIDDEN),
        }
    }
}

/// Text that shows itself only to who asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// What is shown instead.
    pub const HIDDEN: &'static str = "[hidden]";

    /// The secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(Password::HIDDEN)
    }
}

/// The name of a Java class: a name under which Ottla may know something of its own, never code to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassName(String);

impl ClassName {
    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Rust type that a setting's field may have.
pub trait Typed: Sized {
    /// The type in Kafka's terms.
    const KIND: Kind;
    /// Whether the field can say that nothing was set.
    const NULLABLE: bool = false;
    /// The field from a parsed value; `None` when the value does not fit, which only a wrong row can cause.
    fn from_value(value: Option<Value>) -> Option<Self>;
}

macro_rules! typed {
    ($($rust:ty = $kind:ident;)*) => {
        $(impl Typed for $rust {
            const KIND: Kind = Kind::$kind;
            fn from_value(value: Option<Value>) -> Option<$rust> {
                match value {
                    Some(Value::$kind(inner)) => Some(inner),
                    _ => None,
                }
            }
        })*
    };
}

typed! {
    bool = Boolean;
    String = String;
    i32 = Int;
    i16 = Short;
    i64 = Long;
    f64 = Double;
    Vec<String> = List;
    ClassName = Class;
    Password = Password;
}

impl<T: Typed> Typed for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    fn from_value(value: Option<Value>) -> Option<Option<T>> {
        match value {
            None => Some(None),
            some => T::from_value(some).map(Some),
        }
    }
}

/// `String.trim`: everything up to a space is white.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|it: char| it <= ' ')
}

/// Splits at commas, with the white space around them, keeping empty parts.
pub(super) fn split_list(trimmed: &str) -> Vec<String> {
    if trimmed.is_empty() {
        return Vec::new();
    }
    let white = |it: char| matches!(it, ' ' | '\t' | '\n' | '\x0B' | '\x0C' | '\r');
    let parts: Vec<&str> = trimmed.split(',').collect();
    let last = parts.len() - 1;
    parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let part = if at == 0 { part } else { part.trim_start_matches(white) };
            let part = if at == last { part } else { part.trim_end_matches(white) };
            part.to_owned()
        })
        .collect()
}

/// `Double.parseDouble`, hexadecimal notation apart.
fn parse_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain = digits.bytes().all(|it| it.is_ascii_digit() || b"+-.eE".contains(&it));
    if plain { digits.parse().ok() } else { None }
}

/// `Double.toString`: plain between 10^-3 and 10^7, with an exponent outside.
fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}
