//! The layers of a configuration, laid over each other; every value remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keys::{ALL, Key};

/// The commented defaults: the lowest layer.
pub const DEFAULT_TOML: &str = include_str!("../config.default.toml");

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in defaults.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Flag(name) => write!(f, "the flag --{name}"),
        }
    }
}

/// A value before it is given a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// One value.
    Text(String),
    /// A whole number, as TOML writes it.
    Number(i64),
    /// A list of values.
    List(Vec<String>),
    /// Something that no key has: a table, a date, a list of lists.
    Other(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Raw,
    /// Where it came from.
    pub source: Source,
}

/// A flag that was given: the key it sets, its own name, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key.
    pub key: Key,
    /// The flag, without dashes.
    pub name: &'static str,
    /// The value.
    pub value: String,
}

/// Why a configuration cannot be used. Each says the key, the value, where it came from and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown key {key} = {value} (from {from}): {hint}")]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// Its value.
        value: Raw,
        /// Where it stands.
        from: Source,
        /// What may have been meant.
        hint: String,
    },
    /// A value that makes no sense.
    #[error("{key} = {value} (from {from}) cannot be used: expected {allowed}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// The value.
        value: Raw,
        /// Where it stands.
        from: Source,
        /// What is allowed.
        allowed: String,
    },
    /// A file that cannot be read.
    #[error(
        "cannot read the configuration file {path}: {error}. Check the path after --config and who may read it"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A file that is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
}

/// The layers, merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Lays the defaults, a file, the environment and the flags over each other.
    pub fn collect(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Vec<Flag>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        settings.add_toml(DEFAULT_TOML, Path::new("config.default.toml"), Source::Default)?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
            settings.add_toml(&text, path, Source::File(path.to_owned()))?;
        }
        settings.add_environment(environment)?;
        for flag in flags {
            let value = split(flag.key, flag.value);
            settings.set(flag.key, value, Source::Flag(flag.name.to_owned()));
        }
        Ok(settings)
    }

    /// The value of a key, if any layer has one.
    pub fn get(&self, key: Key) -> Option<&Setting> {
        self.0.get(key.name)
    }

    fn set(&mut self, key: Key, value: Raw, source: Source) {
        self.0.insert(key.name, Setting { value, source });
    }

    fn add_toml(&mut self, text: &str, path: &Path, source: Source) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        for (name, value) in flatten(table) {
            let value = raw(value);
            let Some(key) = Key::named(&name) else {
                let hint = hint(&name, |key| key.name.to_owned());
                return Err(ConfigError::UnknownKey { key: name, value, from: source, hint });
            };
            self.set(key, value, source.clone());
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in environment {
            if !variable.starts_with("SOTTO_") || is_of_another_program(&variable) {
                continue;
            }
            let source = Source::Variable(variable.clone());
            let Some(key) = ALL.into_iter().find(|key| key.variable() == variable) else {
                let name = variable["SOTTO_".len()..].to_ascii_lowercase();
                let hint = hint(&name, |key| key.variable());
                return Err(ConfigError::UnknownKey {
                    key: variable,
                    value: Raw::Text(value),
                    from: source,
                    hint,
                });
            };
            self.set(key, split(key, value), source);
        }
        Ok(())
    }
}

/// `SOTTO_CONFIG` names the file itself. The peer, the tests and the benches have variables of their own, and Kubernetes makes
/// `SOTTO_SERVICE_*` and `SOTTO_PORT*` for a service that is called sotto.
fn is_of_another_program(variable: &str) -> bool {
    let exactly = ["SOTTO_CONFIG", "SOTTO_PROFILE", "SOTTO_LOG", "SOTTO_PORT"];
    let prefixes =
        ["SOTTO_PEER_", "SOTTO_SIM_", "SOTTO_TEST_", "SOTTO_BENCH_", "SOTTO_SERVICE_", "SOTTO_PORT_"];
    exactly.contains(&variable) || prefixes.iter().any(|prefix| variable.starts_with(prefix))
}

fn hint(name: &str, write: impl Fn(Key) -> String) -> String {
    match Key::nearest(&name.replace('-', "_")) {
        Some(key) => format!("did you mean {}?", write(key)),
        None => {
            let all: Vec<String> = ALL.into_iter().map(write).collect();
            format!("expected one of {}", all.join(", "))
        }
    }
}

fn split(key: Key, value: String) -> Raw {
    if !key.list {
        return Raw::Text(value);
    }
    Raw::List(value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

fn flatten(table: toml::Table) -> Vec<(String, toml::Value)> {
    let mut flat = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) if ALL.iter().any(|key| key.name.starts_with(&format!("{name}."))) => {
                flat.extend(inner.into_iter().map(|(leaf, value)| (format!("{name}.{leaf}"), value)));
            }
            value => flat.push((name, value)),
        }
    }
    flat
}

fn raw(value: toml::Value) -> Raw {
    match value {
        toml::Value::String(text) => Raw::Text(text),
        toml::Value::Integer(number) => Raw::Number(number),
        toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
            Raw::List(items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        other => Raw::Other(other.to_string()),
    }
}
