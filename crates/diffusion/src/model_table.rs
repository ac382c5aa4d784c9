//! `[model]` of a spec: diffusers' config has nulls, which TOML lacks, and tolerates unknown keys, which a spec must
//! not. What is not named is as in the default network.

use dreamsmith_nets::UNet2DConfig;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::spec::small_network;

pub fn serialize<S: Serializer>(config: &UNet2DConfig, serializer: S) -> Result<S::Ok, S::Error> {
    let mut table = keys(config).map_err(S::Error::custom)?;
    table.retain(|_, value| !value.is_null());
    table.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UNet2DConfig, D::Error> {
    let table = Map::<String, Value>::deserialize(deserializer)?;
    let known = keys(&small_network()).map_err(D::Error::custom)?;
    if let Some(key) = table.keys().find(|key| !known.contains_key(*key)) {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(D::Error::custom(format!(
            "unknown key `model.{key}`, expected one of {}",
            known.join(", ")
        )));
    }
    let whole = known.into_iter().chain(table).collect();
    UNet2DConfig::from_json(&Value::Object(whole).to_string()).map_err(D::Error::custom)
}

fn keys(config: &UNet2DConfig) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(config)? {
        Value::Object(table) => Ok(table),
        _ => Ok(Map::new()),
    }
}
