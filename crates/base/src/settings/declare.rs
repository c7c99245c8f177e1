//! What a row says about a setting, and the macro that turns rows into a struct and a table.

use std::collections::BTreeMap;

use super::{Check, InvalidSetting, Kind, Typed, Value};

/// Settings as written: names and texts.
pub type Texts = BTreeMap<String, String>;

/// How much a setting matters to most people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Look at it before production.
    High,
    /// Look at it when there is a reason.
    Medium,
    /// Leave it.
    Low,
}

impl Importance {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Importance::High => "HIGH",
            Importance::Medium => "MEDIUM",
            Importance::Low => "LOW",
        }
    }
}

/// Who may change a setting while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Nobody: it is read at start.
    ReadOnly,
    /// An administrator, for one broker.
    PerBroker,
    /// An administrator, for one broker or for all.
    ClusterWide,
    /// An administrator, for one topic, group or subscription.
    Dynamic,
}

impl Scope {
    /// Kafka's name of the update mode.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::ReadOnly => "read-only",
            Scope::PerBroker => "per-broker",
            Scope::ClusterWide => "cluster-wide",
            Scope::Dynamic => "dynamic",
        }
    }
}

/// Whether answers list a setting that nobody has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Always listed.
    Public,
    /// Listed only where it was set.
    Internal,
}

/// Whether a setting changes what Ottla does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It means what it says.
    Honoured,
    /// It is checked and kept, and waits for this part of Ottla.
    Later(&'static str),
    /// It is checked and kept, and has nothing to act on in Ottla, for this reason.
    Never(&'static str),
}

/// The setting means what it says.
pub const fn honoured() -> Effect {
    Effect::Honoured
}

/// The setting waits for this part of Ottla.
pub const fn later(part: &'static str) -> Effect {
    Effect::Later(part)
}

/// The setting has nothing to act on, for this reason.
pub const fn never(reason: &'static str) -> Effect {
    Effect::Never(reason)
}

/// What holds when a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: it must be set.
    Required,
    /// The absence of a value.
    Null,
    /// This text.
    Text(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name, as Kafka writes it.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What holds when it is not set.
    pub fallback: Fallback,
    /// Which values it accepts.
    pub check: Check,
    /// How much it matters.
    pub importance: Importance,
    /// Who may change it.
    pub scope: Scope,
    /// Whether answers list it.
    pub visibility: Visibility,
    /// Whether it changes what Ottla does.
    pub effect: Effect,
    /// One sentence about it.
    pub documentation: &'static str,
}

impl Setting {
    /// Reads a text that somebody set.
    pub fn parse(&self, text: &str) -> Result<Option<Value>, InvalidSetting> {
        let value = self.kind.parse(self.name, text)?;
        self.check.admit(self, Some(value))
    }

    /// The value that `texts` give this setting, or else its default.
    pub fn read(&self, texts: &Texts) -> Result<Option<Value>, InvalidSetting> {
        match (texts.get(self.name), self.fallback) {
            (Some(text), _) => self.parse(text),
            (None, Fallback::Required) => Err(InvalidSetting::new(format!(
                "Missing required configuration \"{}\" which has no default value.",
                self.name
            ))),
            (None, Fallback::Null) => self.check.admit(self, None),
            (None, Fallback::Text(text)) => self.parse(text),
        }
    }

    /// The default as an answer shows it: `None` for the absence of a value.
    pub const fn default_text(&self) -> Option<&'static str> {
        match self.fallback {
            Fallback::Text(text) => Some(text),
            Fallback::Null | Fallback::Required => None,
        }
    }

    /// Whether the value is kept from answers and logs.
    pub const fn is_sensitive(&self) -> bool {
        self.kind.is_sensitive()
    }
}

/// A struct whose fields are settings.
pub trait Table: Sized {
    /// Its rows, in the order of the fields.
    const SETTINGS: &'static [Setting];

    /// Reads every field, or says what is wrong with the first that is wrong.
    fn read(texts: &Texts) -> Result<Self, InvalidSetting>;
}

/// Reads the field that the next row declares.
#[doc(hidden)]
pub fn read_next<T: Typed>(
    rows: &mut std::slice::Iter<'static, Setting>,
    texts: &Texts,
) -> Result<T, InvalidSetting> {
    let Some(setting) = rows.next() else { panic!("a field without a row") };
    let Some(field) = T::from_value(setting.read(texts)?) else {
        panic!("the row of {} allows values that its field cannot hold", setting.name)
    };
    Ok(field)
}

/// Declares settings: a struct with one typed field for each, and its [`Table`].
///
/// A row is `field: Type = "key", default, check, IMPORTANCE, scope, effect;` under its documentation, where
/// the default is a text, `null` or `required`, and an `internal` before the scope keeps the key out of
/// answers until somebody sets it. The type of the field is the type of the setting.
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visibility:vis struct $table:ident {
            $(
                $(#[doc = $documentation:literal])+
                $field:ident: $type:ty = $name:literal, $default:tt, $check:expr, $importance:ident,
                    $($scope:ident)+, $effect:expr;
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $table {
            $($(#[doc = $documentation])+ pub $field: $type,)*
        }

        impl $crate::settings::Table for $table {
            const SETTINGS: &'static [$crate::settings::Setting] = &[
                $($crate::settings::Setting {
                    name: $name,
                    kind: <$type as $crate::settings::Typed>::KIND,
                    fallback: $crate::settings!(@default $default),
                    check: $check,
                    importance: $crate::settings!(@importance $importance),
                    scope: $crate::settings!(@scope $($scope)+),
                    visibility: $crate::settings!(@visibility $($scope)+),
                    effect: $effect,
                    documentation: concat!($($documentation),+).trim_ascii_start(),
                },)*
            ];

            fn read(
                texts: &$crate::settings::Texts,
            ) -> Result<Self, $crate::settings::InvalidSetting> {
                let mut rows = Self::SETTINGS.iter();
                Ok(Self { $($field: $crate::settings::read_next(&mut rows, texts)?,)* })
            }
        }
    };
    (@default required) => { $crate::settings::Fallback::Required };
    (@default null) => { $crate::settings::Fallback::Null };
    (@default $text:literal) => { $crate::settings::Fallback::Text($text) };
    (@importance HIGH) => { $crate::settings::Importance::High };
    (@importance MEDIUM) => { $crate::settings::Importance::Medium };
    (@importance LOW) => { $crate::settings::Importance::Low };
    (@scope internal $scope:ident) => { $crate::settings!(@scope $scope) };
    (@scope read_only) => { $crate::settings::Scope::ReadOnly };
    (@scope per_broker) => { $crate::settings::Scope::PerBroker };
    (@scope cluster_wide) => { $crate::settings::Scope::ClusterWide };
    (@scope dynamic) => { $crate::settings::Scope::Dynamic };
    (@visibility internal $scope:ident) => { $crate::settings::Visibility::Internal };
    (@visibility $scope:ident) => { $crate::settings::Visibility::Public };
}
