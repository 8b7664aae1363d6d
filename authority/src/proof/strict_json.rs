//! JSON as tokens hold it, in which no field stands twice.
//!
//! Of a field that stands twice one reader takes the first, another the last: a token that two
//! readers understand differently proves nothing.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Why bytes are not such JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StrictJsonError {
    /// Not JSON, or nested too deeply.
    Malformed,
    /// A field stands twice.
    Duplicate,
}

/// Parses `bytes` as one JSON object.
///
/// # Errors
/// [`StrictJsonError`].
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, StrictJsonError> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(map))) => Ok(map),
        Ok(_) => Err(StrictJsonError::Malformed),
        Err(error) if error.is_data() && error.to_string().starts_with(DUPLICATE) => {
            Err(StrictJsonError::Duplicate)
        }
        Err(_) => Err(StrictJsonError::Malformed),
    }
}

const DUPLICATE: &str = "a field stands twice";

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Builder.deserialize(from).map(Self)
    }
}

struct Builder;

impl<'de> DeserializeSeed<'de> for Builder {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Builder {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(Self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let value = from.next_value_seed(Self)?;
            if map.insert(key, value).is_some() {
                return Err(de::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_stands_twice_is_refused_at_any_depth() {
        let plain = object(br#"{"a":1,"b":{"a":[true,null,"x",1.5,-2]}}"#).unwrap();
        assert_eq!(plain.get("a"), Some(&Value::from(1)));
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(
                object(twice.as_bytes()),
                Err(StrictJsonError::Duplicate),
                "{twice}"
            );
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        for bad in [
            "",
            "1",
            "[]",
            "{",
            "{}x",
            "{\"a\":}",
            "\u{feff}{}",
            deep.as_str(),
        ] {
            assert_eq!(
                object(bad.as_bytes()),
                Err(StrictJsonError::Malformed),
                "{bad:.20}"
            );
        }
    }
}
