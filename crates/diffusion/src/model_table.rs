//! `[model]` of a spec: diffusers' config has nulls, which TOML lacks, and tolerates unknown keys, which a spec must
//! not. What is not named is as in the default network of its `_class_name`.

use dreamsmith_nets::{UNet2DConditionConfig, UNet2DConfig};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::spec::{small_network, small_text_network};
use crate::unet::UNetConfig;

const CLASS_NAME: &str = "_class_name";

pub fn serialize<S: Serializer>(config: &UNetConfig, serializer: S) -> Result<S::Ok, S::Error> {
    let mut table = keys(config).map_err(S::Error::custom)?;
    table.retain(|_, value| !value.is_null());
    let name = (CLASS_NAME.to_owned(), config.class_name().into());
    Map::from_iter([name].into_iter().chain(table)).serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UNetConfig, D::Error> {
    let mut table = Map::<String, Value>::deserialize(deserializer)?;
    let names = [small_network(), small_text_network()].map(|config| (config.class_name(), config));
    let default = match table.remove(CLASS_NAME) {
        None => small_network(),
        Some(name) => match names.into_iter().find(|(known, _)| name == *known) {
            Some((_, config)) => config,
            None => {
                return Err(D::Error::custom(format!(
                    "`model._class_name` is {name}, expected \"UNet2DModel\" or \"UNet2DConditionModel\""
                )));
            }
        },
    };
    let known = keys(&default).map_err(D::Error::custom)?;
    if let Some(key) = table.keys().find(|key| !known.contains_key(*key)) {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(D::Error::custom(format!(
            "unknown key `model.{key}`, expected one of {}",
            known.join(", ")
        )));
    }
    let whole = Value::Object(known.into_iter().chain(table).collect()).to_string();
    match default {
        UNetConfig::Plain(_) => UNet2DConfig::from_json(&whole).map(UNetConfig::Plain),
        UNetConfig::Text(_) => UNet2DConditionConfig::from_json(&whole).map(UNetConfig::Text),
    }
    .map_err(D::Error::custom)
}

fn keys(config: &UNetConfig) -> serde_json::Result<Map<String, Value>> {
    let value = match config {
        UNetConfig::Plain(config) => serde_json::to_value(config)?,
        UNetConfig::Text(config) => serde_json::to_value(config)?,
    };
    match value {
        Value::Object(table) => Ok(table),
        _ => Ok(Map::new()),
    }
}
