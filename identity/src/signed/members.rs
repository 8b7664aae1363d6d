//! A JSON object as its members, each of which is to be taken by whoever reads it.
//!
//! Derived readers would do the same, in a kilobyte or three of each proxy's module for each type.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::UnixTime;

/// The members of a JSON object that nobody has taken yet.
///
/// A list, since a map that things are taken from is more code than all of this.
pub(crate) struct Members(Vec<(String, Value)>);

impl Members {
    /// Reads a text that is one object and nothing else.
    ///
    /// # Errors
    /// It is none, or has a key twice.
    pub(crate) fn read(text: &[u8]) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let members = reader.deserialize_map(EachOnce)?;
        reader.end()?;
        Ok(Self(members))
    }

    /// Whether all were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a member.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Takes what a string stands for.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Takes a whole number that is not negative.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Option<T> {
        self.take(name)?.as_u64()?.try_into().ok()
    }

    /// Takes seconds since 1970.
    pub(crate) fn time(&mut self, name: &str) -> Option<UnixTime> {
        self.take(name)?.as_i64().map(UnixTime::from_secs)
    }
}

/// Most members; looking for one that occurs twice takes a look at all.
const MAX_MEMBERS: usize = 16;

struct EachOnce;

impl<'de> Visitor<'de> for EachOnce {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        while let Some(key) = from.next_key::<String>()? {
            if members.len() == MAX_MEMBERS {
                return Err(A::Error::custom("more keys than any document has"));
            }
            if members.iter().any(|(own, _)| *own == key) {
                return Err(A::Error::custom("this key occurs twice"));
            }
            members.push((key, from.next_value()?));
        }
        Ok(members)
    }
}
