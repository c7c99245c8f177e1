//! How a setting is declared, parsed and checked: one row gives a typed field, its default and its
//! documentation.
//!
//! | file | holds |
//! |---|---|
//! | `declare` | what a row says, and the macro that turns rows into a struct and a table |
//! | `value` | text to typed value and back, by Kafka's rules |
//! | `check` | which values a setting accepts |
//! | `address` | `host:port` and `NAME://host:port` |
//! | `properties` | the `.properties` file format |
//! | `reference` | `${provider:path:key}` inside values |
//!
//! Absent on purpose: which settings exist (their owners declare them), files, the environment.

pub mod address;
mod check;
mod declare;
mod properties;
pub mod reference;
#[cfg(test)]
mod tests;
mod value;

pub use check::{
    Check, Emptiness, any, at_least, between, between_real, custom, list, list_of, non_empty, non_null,
    one_of, one_of_any_case,
};
#[doc(hidden)]
pub use declare::read_next;
pub use declare::{
    Effect, Fallback, Importance, Scope, Setting, Table, Texts, Visibility, honoured, later, never,
};
pub use properties::{MalformedProperties, parse_properties};
pub use value::{ClassName, Kind, Password, Typed, Value};

use std::fmt;

/// Why a value was refused, in the words of Kafka's `ConfigException`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    message: String,
}

impl InvalidSetting {
    /// A refusal in these words.
    pub fn new(message: impl Into<String>) -> InvalidSetting {
        InvalidSetting { message: message.into() }
    }

    /// `Invalid value <value> for configuration <name>: <reason>`.
    pub fn value(name: &str, value: impl fmt::Display, reason: &str) -> InvalidSetting {
        let colon = if reason.is_empty() { "" } else { ": " };
        InvalidSetting { message: format!("Invalid value {value} for configuration {name}{colon}{reason}") }
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.message)
    }
}

impl std::error::Error for InvalidSetting {}
