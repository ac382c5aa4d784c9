//! What the configs of both U-Nets have in common: how they are read, written and checked.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::NetError;

/// The version of diffusers whose config format is written.
const DIFFUSERS_VERSION: &str = "0.42.0";

/// The largest channel count, feature count or table length that a config may ask for.
const MAX_SIZE: usize = 1 << 20;

/// One value for all blocks, or one for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock<T> {
    /// One for each block, in order.
    Each(Vec<T>),
    /// The same for all.
    Same(T),
}

impl<T: Clone + Serialize> PerBlock<T> {
    /// One value for each of `n` blocks.
    pub(crate) fn spread(&self, key: &'static str, n: usize) -> Result<Vec<T>, NetError> {
        match self {
            Self::Same(value) => Ok(vec![value.clone(); n]),
            Self::Each(values) if values.len() == n => Ok(values.clone()),
            Self::Each(values) => Err(NetError::config(
                key,
                values,
                format!("wanted {n} entries, one for each block"),
            )),
        }
    }
}

/// Reads a config, all of whose keys must have defaults. Unknown keys are passed over, as diffusers
/// does; an unsupported value is an error that names its key.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, NetError> {
    let keys: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| NetError::NotJson(e.to_string()))?;
    let whole = serde_json::from_value::<T>(Value::Object(keys.clone()));
    whole.map_err(|error| {
        // Every key alone is a config too, so the culprit is the one that fails alone.
        keys.into_iter()
            .find_map(|(key, value)| {
                let alone = Map::from_iter([(key.clone(), value.clone())]);
                let problem = serde_json::from_value::<T>(Value::Object(alone)).err()?;
                Some(NetError::ConfigValue {
                    key,
                    value: value.to_string(),
                    problem: problem.to_string(),
                })
            })
            .unwrap_or_else(|| NetError::NotJson(error.to_string()))
    })
}

/// Writes a config as diffusers does: with the name of the class.
pub(crate) fn to_json<T: Serialize>(config: &T, class_name: &str) -> String {
    let mut keys = Map::from_iter([
        ("_class_name".to_owned(), class_name.into()),
        ("_diffusers_version".to_owned(), DIFFUSERS_VERSION.into()),
    ]);
    if let Ok(Value::Object(rest)) = serde_json::to_value(config) {
        keys.extend(rest);
    }
    format!("{:#}\n", Value::Object(keys))
}

/// A size that a tensor can have.
pub(crate) fn check_size(key: &'static str, size: usize) -> Result<usize, NetError> {
    match size {
        1..=MAX_SIZE => Ok(size),
        _ => Err(NetError::config(
            key,
            size,
            format!("wanted 1 to {MAX_SIZE}"),
        )),
    }
}

/// A value that must be what it is by default, because nothing else is supported.
pub(crate) fn check_only<T: PartialEq + Serialize>(
    key: &'static str,
    value: &T,
    supported: &T,
) -> Result<(), NetError> {
    if value == supported {
        return Ok(());
    }
    let supported = serde_json::to_string(supported).unwrap_or_default();
    Err(NetError::config(
        key,
        value,
        format!("which is not supported, only {supported} is"),
    ))
}
