//! [`Key`]: the declaration of a setting.
//!
//! The macro `declare!` makes a struct of settings and the table of its keys from one list. The
//! flags of the command, the tables of `docs/settings.md` and the JSON schema
//! ([`crate::recipe::schema()`]) are made from that table.

use serde_json::Value;

use super::SettingsError;

/// A key of the settings.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Key {
    /// Its name in TOML: `max-size`.
    pub name: &'static str,
    /// The documentation of its field.
    documentation: &'static str,
    /// The table of `docs/settings.md` that contains it.
    pub group: KeyGroup,
    /// The form of its values, as Markdown: `` `UID[:GID]` ``.
    pub form: &'static str,
    /// The files that may contain it.
    pub place: KeyPlace,
    /// The default where no compiled-in recipe has one, as Markdown.
    pub default: Option<&'static str>,
    /// Its flag.
    pub flag: Option<Flag>,
    schema: fn() -> Value,
}

/// A table of keys in `docs/settings.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyGroup {
    /// Configuration of the image, and its process.
    Image,
    /// The server and its health check.
    Server,
    /// Properties of the health check.
    Healthcheck,
    /// Distributions and the environment.
    Python,
    /// Files of the operating system and of the interpreter.
    System,
    /// The source tree.
    Source,
    /// Properties of files and folders of this machine.
    Files,
    /// Properties of commands that make files.
    Prepare,
    /// Properties of a process.
    Process,
    /// Layers and their limits.
    Layers,
    /// Properties of the check.
    Check,
    /// Packages of Debian archives.
    Apt,
    /// Deployment of the images.
    Deploy,
    /// Deployment of a process.
    DeployProcess,
    /// Keys about other settings.
    Scope,
}

/// The files that may contain a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPlace {
    /// `pyproject.toml` and recipes.
    Anywhere,
    /// Recipes only.
    Recipe,
    /// `pyproject.toml` only.
    Project,
}

/// A flag of `ipo-oci build`, with its environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flag {
    /// The long name, without hyphens.
    pub long: &'static str,
    /// The short name.
    pub short: Option<char>,
    /// The placeholder of its value: `N`.
    pub value_name: &'static str,
    /// The environment variable.
    pub variable: Option<&'static str>,
    /// The help, if it differs from the description of the key.
    pub help: Option<&'static str>,
    /// More for the long help, in sentences.
    pub details: Option<&'static str>,
    /// True if the short help lists it.
    pub is_common: bool,
    /// The number of values that it takes.
    pub repetition: Repetition,
    /// True if more than the key depends on it.
    pub is_shared: bool,
}

/// The number of values that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repetition {
    /// One value.
    Once,
    /// One value each time that it is given.
    Repeated,
    /// Several values separated by commas, each time that it is given.
    RepeatedOrCommas,
}

impl Key {
    /// Makes a key that is valid everywhere and has neither a flag nor a default.
    pub(super) const fn new(
        name: &'static str,
        documentation: &'static str,
        group: KeyGroup,
        form: &'static str,
        schema: fn() -> Value,
    ) -> Self {
        let (place, default, flag) = (KeyPlace::Anywhere, None, None);
        Self { name, documentation, group, form, place, default, flag, schema }
    }

    pub(super) const fn form(mut self, form: &'static str) -> Self {
        self.form = form;
        self
    }

    pub(super) const fn place(mut self, place: KeyPlace) -> Self {
        self.place = place;
        self
    }

    pub(super) const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub(super) const fn flag(mut self, flag: Flag) -> Self {
        self.flag = Some(flag);
        self
    }

    /// Returns the description: a sentence in Markdown, without the full stop.
    pub fn description(&self) -> &'static str {
        self.documentation.trim().trim_end_matches('.')
    }

    /// Returns the JSON schema of the values in TOML, without the description.
    pub(crate) fn schema(&self) -> Value {
        (self.schema)()
    }
}

impl Flag {
    pub(super) const fn new(long: &'static str, value_name: &'static str) -> Self {
        Self {
            long,
            short: None,
            value_name,
            variable: None,
            help: None,
            details: None,
            is_common: false,
            repetition: Repetition::Once,
            is_shared: false,
        }
    }

    pub(super) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub(super) const fn variable(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.help = Some(help);
        self
    }

    pub(super) const fn details(mut self, details: &'static str) -> Self {
        self.details = Some(details);
        self
    }

    pub(super) const fn common(mut self) -> Self {
        self.is_common = true;
        self
    }

    pub(super) const fn repeated(mut self, repetition: Repetition) -> Self {
        self.repetition = repetition;
        self
    }

    pub(super) const fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }
}

/// A field of settings, with the form of its values.
pub(super) trait SettingField {
    /// The form of its values, as Markdown.
    const FORM: &'static str;

    /// Returns the JSON schema of its values in TOML.
    fn schema() -> Value;

    /// Merges the values of two levels; `self` takes precedence.
    fn over(self, below: Self) -> Self;

    /// Sets the value of a flag or variable; a list or table grows by it.
    fn set(&mut self, text: &str) -> Result<(), SettingsError>;
}

/// Declares a struct of settings with the table of its keys: for each, documentation, field, type, name
/// in TOML, group, and calls of [`Key`]'s methods.
macro_rules! declare {
    (
        $(#[doc = $about:literal])+
        $(#[derive($derive:ident)])?
        pub struct $name:ident with $keys:ident;
        $(
            $(#[doc = $doc:literal])+
            $(#[serde($($serde:tt)+)])?
            $field:ident: $type:ty = $key:literal, $group:ident $(, $method:ident($($argument:expr),*))*;
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default, PartialEq, $($derive,)? serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[serde(rename = $key $(, $($serde)+)?)]
                pub $field: $type,
            )+
        }

        #[doc = concat!("The keys of [`", stringify!($name), "`], in the order of `docs/settings.md`.")]
        pub const $keys: &[Key] = &[$(
            Key::new(
                $key,
                concat!($($doc),+),
                KeyGroup::$group,
                <$type as SettingField>::FORM,
                <$type as SettingField>::schema,
            )$(.$method($($argument),*))*
        ),+];

        impl $name {
            /// Sets `key` to the value of a flag or variable; a list or table grows by it.
            pub fn set(&mut self, key: &str, text: &str) -> Result<(), SettingsError> {
                match key {
                    $($key => SettingField::set(&mut self.$field, text),)+
                    _ => {
                        let near = crate::suggest::nearest(key, $keys.iter().map(|key| key.name));
                        let help = near.map_or("run `ipo-oci help settings` for all keys".to_owned(), |near| format!("write {near}"));
                        Err(SettingsError::value("key", key, help))
                    }
                }
            }

            #[allow(dead_code)] // The tables of a list replace those of lower precedence.
            pub(super) fn merged(self, below: Self) -> Self {
                Self { $($field: SettingField::over(self.$field, below.$field)),+ }
            }
        }
    };
}
pub(super) use declare;
