//! Closed enums on the command line: `kind` or `kind:name=value,name=value`, the same fields as in a file.
//! Leaves out the enums themselves: they are ordinary serde enums with `kind` as their tag.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Text that names no variant, or a field it has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}`: {reason}")]
pub struct KindError {
    what: &'static str,
    text: String,
    reason: String,
}

/// Reads `kind:name=value,...` as serde would read `{ kind = "kind", name = value, ... }`.
pub(crate) fn parse_kind<T: DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, KindError> {
    let fail = |reason: String| KindError {
        what,
        text: text.to_owned(),
        reason,
    };
    let (kind, fields) = text.split_once(':').unwrap_or((text, ""));
    let mut object = Map::from_iter([("kind".to_owned(), Value::from(kind.trim()))]);
    for field in fields.split(',').filter(|field| !field.trim().is_empty()) {
        let (name, value) = field.split_once('=').ok_or_else(|| {
            fail(format!(
                "found `{field}`, expected name=value, as in `ddim:eta=0.5`"
            ))
        })?;
        let value =
            serde_json::from_str(value.trim()).unwrap_or_else(|_| Value::from(value.trim()));
        object.insert(name.trim().to_owned(), value);
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| fail(error.to_string()))
}

/// Writes what [`parse_kind`] reads, with every field.
pub(crate) fn show_kind<T: Serialize>(value: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(Value::Object(object)) = serde_json::to_value(value) else {
        return Err(fmt::Error);
    };
    for (place, (name, field)) in object.iter().enumerate() {
        let field = field
            .as_str()
            .map_or_else(|| field.to_string(), str::to_owned);
        match place {
            0 => f.write_str(&field)?,
            1 => write!(f, ":{name}={field}")?,
            _ => write!(f, ",{name}={field}")?,
        }
    }
    Ok(())
}
