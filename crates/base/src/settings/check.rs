//! Which values a setting accepts, and what the refusal says.

use std::collections::BTreeSet;
use std::fmt;

use super::value::{Kind, Value};
use super::{InvalidSetting, Setting};

/// What a value must satisfy beyond its type.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// Everything of the right type.
    Any,
    /// A number not below this.
    AtLeast(f64),
    /// A number between these, both included.
    Between(f64, f64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these texts, in upper or lower case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list without repeats, of these texts if any are named.
    List {
        /// The texts allowed; none named means all.
        of: &'static [&'static str],
        /// May the list be empty?
        empty: Emptiness,
    },
    /// Anything but the absence of a value.
    NonNull,
    /// A text that is not empty.
    NonEmpty,
    /// A function of its own.
    Custom {
        /// Refuses a value.
        refuse: fn(&str, Option<&Value>) -> Result<(), InvalidSetting>,
        /// What is accepted, for people.
        accepted: &'static str,
    },
}

/// Whether a list may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptiness {
    /// It may.
    MayBeEmpty,
    /// It must hold something.
    NeverEmpty,
}

/// Everything of the right type.
pub const fn any() -> Check {
    Check::Any
}

/// A number not below `least`.
pub const fn at_least(least: i64) -> Check {
    Check::AtLeast(least as f64)
}

/// A number between `least` and `most`, both included.
pub const fn between(least: i64, most: i64) -> Check {
    Check::Between(least as f64, most as f64)
}

/// A floating-point number between `least` and `most`, both included.
pub const fn between_real(least: f64, most: f64) -> Check {
    Check::Between(least, most)
}

/// One of these texts.
pub const fn one_of(texts: &'static [&'static str]) -> Check {
    Check::OneOf(texts)
}

/// One of these texts, whatever the case.
pub const fn one_of_any_case(texts: &'static [&'static str]) -> Check {
    Check::OneOfAnyCase(texts)
}

/// A list without repeats.
pub const fn list(empty: Emptiness) -> Check {
    Check::List { of: &[], empty }
}

/// A list without repeats, of these texts.
pub const fn list_of(of: &'static [&'static str], empty: Emptiness) -> Check {
    Check::List { of, empty }
}

/// A text that is not empty.
pub const fn non_empty() -> Check {
    Check::NonEmpty
}

/// Anything but the absence of a value.
pub const fn non_null() -> Check {
    Check::NonNull
}

/// A function of its own, and what it accepts, for people.
pub const fn custom(
    refuse: fn(&str, Option<&Value>) -> Result<(), InvalidSetting>,
    accepted: &'static str,
) -> Check {
    Check::Custom { refuse, accepted }
}

impl Check {
    /// Takes the value as it will be used: lists lose their repeats, as in Kafka, before they are checked.
    pub(super) fn admit(
        &self,
        setting: &Setting,
        mut value: Option<Value>,
    ) -> Result<Option<Value>, InvalidSetting> {
        if let (Check::List { .. }, Some(Value::List(texts))) = (self, &mut value) {
            let mut seen = BTreeSet::new();
            texts.retain(|text| seen.insert(text.clone()));
        }
        self.refuse(setting, value.as_ref())?;
        Ok(value)
    }

    fn refuse(&self, setting: &Setting, value: Option<&Value>) -> Result<(), InvalidSetting> {
        let name = setting.name;
        match self {
            Check::Any => Ok(()),
            Check::AtLeast(_) | Check::Between(..) => self.refuse_number(name, value),
            Check::OneOf(texts) => match value.and_then(Value::as_text) {
                Some(text) if texts.contains(&text) => Ok(()),
                _ => Err(one_of_refusal(name, value, "String must be one of: ", texts)),
            },
            Check::OneOfAnyCase(texts) => match value.and_then(Value::as_text) {
                Some(text) if texts.iter().any(|it| it.eq_ignore_ascii_case(text)) => Ok(()),
                _ => Err(one_of_refusal(name, value, "String must be one of (case insensitive): ", texts)),
            },
            Check::List { of, empty } => {
                let nullable = matches!(setting.fallback, super::Fallback::Null);
                refuse_list(name, value, of, *empty, nullable)
            }
            Check::NonNull if value.is_none() => {
                Err(InvalidSetting::value(name, "null", "entry must be non null"))
            }
            Check::NonNull => Ok(()),
            Check::NonEmpty => match value.and_then(Value::as_text) {
                Some("") => Err(InvalidSetting::value(name, "", "String must be non-empty")),
                _ => Ok(()),
            },
            Check::Custom { refuse, .. } => refuse(name, value),
        }
    }

    /// Whether values of this type can be judged at all; a row that pairs others is a bug.
    pub const fn fits(&self, kind: Kind) -> bool {
        match self {
            Check::Any | Check::Custom { .. } | Check::NonNull => true,
            Check::AtLeast(_) | Check::Between(..) => {
                matches!(kind, Kind::Int | Kind::Short | Kind::Long | Kind::Double)
            }
            Check::OneOf(_) | Check::OneOfAnyCase(_) | Check::NonEmpty => matches!(kind, Kind::String),
            Check::List { .. } => matches!(kind, Kind::List),
        }
    }

    fn refuse_number(&self, name: &str, value: Option<&Value>) -> Result<(), InvalidSetting> {
        let (least, most) = match self {
            Check::AtLeast(least) => (*least, None),
            Check::Between(least, most) => (*least, Some(*most)),
            _ => return Ok(()),
        };
        let Some((value, number)) = value.and_then(|it| it.as_number().map(|number| (it, number))) else {
            return Err(InvalidSetting::value(name, "null", "Value must be non-null"));
        };
        if number < least {
            return Err(InvalidSetting::value(name, value, &format!("Value must be at least {least}")));
        }
        match most {
            Some(most) if number > most => {
                Err(InvalidSetting::value(name, value, &format!("Value must be no more than {most}")))
            }
            _ => Ok(()),
        }
    }
}

fn one_of_refusal(name: &str, value: Option<&Value>, reason: &str, texts: &[&str]) -> InvalidSetting {
    let value = value.map_or_else(|| "null".to_owned(), Value::to_string);
    InvalidSetting::value(name, value, &format!("{reason}{}", texts.join(", ")))
}

fn refuse_list(
    name: &str,
    value: Option<&Value>,
    of: &[&str],
    empty: Emptiness,
    nullable: bool,
) -> Result<(), InvalidSetting> {
    let Some(texts) = value.and_then(Value::as_list) else {
        if nullable {
            return Ok(());
        }
        return Err(InvalidSetting::new(format!("Configuration '{name}' values must not be null.")));
    };
    if texts.is_empty() && empty == Emptiness::NeverEmpty {
        let valid =
            if of.is_empty() { "any non-empty value".to_owned() } else { format!("[{}]", of.join(", ")) };
        return Err(InvalidSetting::new(format!(
            "Configuration '{name}' must not be empty. Valid values include: {valid}"
        )));
    }
    for text in texts {
        if text.is_empty() {
            return Err(InvalidSetting::new(format!("Configuration '{name}' values must not be empty.")));
        }
        if !of.is_empty() && !of.contains(&text.as_str()) {
            let reason = format!("String must be one of: {}", of.join(", "));
            return Err(InvalidSetting::value(name, text, &reason));
        }
    }
    Ok(())
}

/// What is accepted, in the notation of Kafka's reference; empty for everything.
impl fmt::Display for Check {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Any | Check::List { of: [], .. } => Ok(()),
            Check::AtLeast(least) => write!(to, "[{least},...]"),
            Check::Between(least, most) => write!(to, "[{least},...,{most}]"),
            Check::OneOf(texts) | Check::List { of: texts, .. } => write!(to, "[{}]", texts.join(", ")),
            Check::OneOfAnyCase(texts) => write!(to, "(case insensitive) [{}]", texts.join(", ")),
            Check::NonNull => to.write_str("non-null string"),
            Check::NonEmpty => to.write_str("non-empty string"),
            Check::Custom { accepted, .. } => to.write_str(accepted),
        }
    }
}
