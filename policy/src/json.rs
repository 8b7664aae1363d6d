//! Strict JSON: what a lenient reader would silently drop is an error.

mod read;

use std::{cell::RefCell, fmt};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use crate::authorization_policy::AuthorizationPolicy;

/// Why a document does not have the expected shape.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{prefix}{problem}", prefix = Prefix(path))]
pub struct ShapeError {
    /// Where, e.g. `spec.rules[0].from[1].source`; empty for the document as a whole.
    pub path: String,
    /// What is wrong there, e.g. an unknown field.
    pub problem: String,
}

/// Reads JSON; unlike `serde_json`'s own reading into a [`Value`], a key that occurs twice is an error.
///
/// # Errors
/// The text is not JSON, is nested too deep, has a key twice, or a number that is not whole or beyond 64 bits.
pub fn parse(text: &[u8]) -> Result<Value, ShapeError> {
    let path = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(text);
    Strict { path: &path }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| ShapeError {
            path: path.borrow().concat().trim_start_matches('.').to_owned(),
            problem: error.to_string(),
        })
}

/// Reads a [`Value`] without duplicate keys from any reader; where it fails is not told.
pub(crate) fn strict<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    let path = RefCell::new(Vec::new());
    Strict { path: &path }.deserialize(from)
}

/// Reads a type from a JSON value.
///
/// # Errors
/// Where and how the value does not fit the type; unknown fields, nulls and wrong types among them.
pub fn shape<T: DeserializeOwned>(value: &Value) -> Result<T, ShapeError> {
    read::read(value)
}

impl AuthorizationPolicy {
    /// Reads one resource in JSON.
    ///
    /// # Errors
    /// Where and how it is not an `AuthorizationPolicy`. What its fields mean is not checked here.
    pub fn from_json(text: &[u8]) -> Result<Self, ShapeError> {
        shape(&parse(text)?)
    }
}

/// A [`Value`] without duplicate keys, keeping the path of where it is.
#[derive(Clone, Copy)]
struct Strict<'p> {
    path: &'p RefCell<Vec<String>>,
}

impl<'p> Strict<'p> {
    /// Leaves the path in place on an error, so that it can be reported.
    fn within<T, E>(self, step: String, read: impl FnOnce(Self) -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let read = read(self)?;
        self.path.borrow_mut().pop();
        Ok(read)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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

    /// Nothing in a configuration or policy is a fraction; read and written again it would not even stay the same.
    fn visit_f64<E: Error>(self, _value: f64) -> Result<Value, E> {
        Err(E::custom(
            "a number that is not whole or has more than 64 bits",
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let element = |step: usize| format!("[{step}]");
        while let Some(value) =
            self.within(element(list.len()), |seed| from.next_element_seed(seed))?
        {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            let step = format!(".{key}");
            let value = self.within(step, |seed| {
                if map.contains_key(&key) {
                    return Err(A::Error::custom("this key occurs twice"));
                }
                from.next_value_seed(seed)
            })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// `path: `, or nothing for the document as a whole.
struct Prefix<'p>(&'p str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            path => write!(f, "{path}: "),
        }
    }
}
