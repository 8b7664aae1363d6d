//! Reading types from a [`Value`], with the path of what does not fit.
//!
//! `serde_json`'s own reading from a value has no paths, and wrapping it to get them makes the filter's code
//! for each type three times as long. It is also laxer: here an object is an object, never a list of its fields.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::ShapeError;

/// Reads a `T`.
///
/// # Errors
/// Where and how the value does not fit.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, ShapeError> {
    let root = At {
        value,
        place: &Place::Root,
    };
    T::deserialize(root).map_err(|fault| *fault.0)
}

/// Where a value is; a chain on the stack, written out only for an error.
enum Place<'p> {
    Root,
    Key(&'p Self, &'p str),
    Index(&'p Self, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// An error on its way to whoever knows where it happened.
#[derive(Debug)]
struct Fault(Box<ShapeError>, bool);

impl Fault {
    /// The first place that is told stays: it is the innermost.
    fn at(mut self, place: &Place<'_>) -> Self {
        if !self.1 {
            self.0.path = place.to_string();
            self.1 = true;
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        let error = ShapeError {
            path: String::new(),
            problem: problem.to_string(),
        };
        Self(Box::new(error), false)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        let found = match found {
            Unexpected::Unit => Unexpected::Other("null"),
            found => found,
        };
        Self::custom(format_args!("invalid type: {found}, expected {expected}"))
    }
}

/// A value and its place.
#[derive(Clone, Copy)]
struct At<'de, 'p> {
    value: &'de Value,
    place: &'p Place<'p>,
}

impl<'de> At<'de, '_> {
    fn mismatch(self, expected: &dyn serde::de::Expected) -> Fault {
        let found = match self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Unexpected::Unsigned(value),
                (None, Some(value)) => Unexpected::Signed(value),
                (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        };
        Fault::invalid_type(found, expected).at(self.place)
    }

    fn list<V: Visitor<'de>>(self, list: &'de [Value], visitor: V) -> Result<V::Value, Fault> {
        let mut items = Items {
            list,
            next: 0,
            place: self.place,
        };
        let read = visitor.visit_seq(&mut items)?;
        if items.next < list.len() {
            return Err(Fault::invalid_length(list.len(), &"fewer elements"));
        }
        Ok(read)
    }

    fn object<V: Visitor<'de>>(
        self,
        map: &'de Map<String, Value>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries {
            rest: map.iter(),
            value: None,
            place: self.place,
        })
    }
}

impl<'de> Deserializer<'de> for At<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let read = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(list) => self.list(list, visitor),
            Value::Object(map) => self.object(map, visitor),
        };
        read.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let read = match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        };
        read.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let read = visitor.visit_newtype_struct(self);
        read.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Array(list) = self.value else {
            return Err(self.mismatch(&visitor));
        };
        let read = self.list(list, visitor);
        read.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Object(map) = self.value else {
            return Err(self.mismatch(&visitor));
        };
        let read = self.object(map, visitor);
        read.map_err(|fault| fault.at(self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let chosen = match self.value {
            Value::String(variant) => Chosen {
                variant,
                content: None,
                place: self.place,
            },
            Value::Object(map) => match (map.iter().next(), map.len()) {
                (Some((variant, content)), 1) => Chosen {
                    variant,
                    content: Some(content),
                    place: self.place,
                },
                _ => return Err(self.mismatch(&"an object with exactly one key")),
            },
            _ => return Err(self.mismatch(&visitor)),
        };
        let read = visitor.visit_enum(chosen);
        read.map_err(|fault| fault.at(self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple_struct identifier ignored_any
    }
}

/// The elements of a list.
struct Items<'de, 'p> {
    list: &'de [Value],
    next: usize,
    place: &'p Place<'p>,
}

impl<'de> SeqAccess<'de> for &mut Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(value) = self.list.get(self.next) else {
            return Ok(None);
        };
        let place = &Place::Index(self.place, self.next);
        self.next = self.next.saturating_add(1);
        seed.deserialize(At { value, place }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.list.len().checked_sub(self.next)
    }
}

/// The fields of an object.
struct Entries<'de, 'p> {
    rest: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
    place: &'p Place<'p>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some((key, value));
        let key_only: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        let read = seed.deserialize(key_only);
        // An unknown field is told with its name.
        read.map(Some)
            .map_err(|fault| fault.at(&Place::Key(self.place, key)))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let Some((key, value)) = self.value.take() else {
            return Err(Fault::custom("a value without its key"));
        };
        let place = &Place::Key(self.place, key);
        seed.deserialize(At { value, place })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The variant of an enum, with its content if it has some.
struct Chosen<'de, 'p> {
    variant: &'de str,
    content: Option<&'de Value>,
    place: &'p Place<'p>,
}

impl<'de, 'p> EnumAccess<'de> for Chosen<'de, 'p> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> Chosen<'de, '_> {
    fn content<T>(&self, read: impl FnOnce(At<'de, '_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let Some(value) = self.content else {
            return Err(Fault::invalid_type(
                Unexpected::UnitVariant,
                &"a variant with content",
            ));
        };
        let place = &Place::Key(self.place, self.variant);
        read(At { value, place })
    }
}

impl<'de> VariantAccess<'de> for Chosen<'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Fault::invalid_type(
                Unexpected::Map,
                &"a variant without content",
            )),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.content(|at| seed.deserialize(at))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content(|at| at.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content(|at| at.deserialize_map(visitor))
    }
}

#[cfg(test)]
mod tests;
