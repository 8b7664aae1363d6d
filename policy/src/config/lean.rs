//! Reading and compiling a configuration one policy at a time.
//!
//! A proxy's VM never gives memory back, and ten thousand policies as JSON values are twenty times their text.
//! So the text of each policy is only cut out at first; then one after another is read, compiled and let go.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use identity::policy_bundle::MAX_BODY_BYTES;

use crate::{
    engine::PolicySet,
    json::{self, ShapeError},
    resources::Resource,
    scope::Scope,
};

use super::{
    CompiledConfig, ConfigError, ConfigProblem, PluginConfig, check::Errors,
    compiled::MAX_CONFIG_BYTES, compiled::compile_with,
};

/// Reads and compiles a configuration as the host hands it over: [`PluginConfig::from_json`] and
/// [`super::compile`] in one, in a fraction of their memory.
///
/// `RequestAuthentication` resources are left unread: they are the proxy's to enforce, and decide nothing here.
///
/// # Errors
/// Every problem, each with its path; nothing is used then.
pub fn compile_json(text: &[u8]) -> Result<CompiledConfig, Vec<ConfigError>> {
    check_length(text, MAX_CONFIG_BYTES)?;
    let one = |error: ShapeError| vec![ConfigError::from(error)];
    let Cut { rest, policies } = cut(text).map_err(one)?;
    let config: PluginConfig = json::shape(&rest).map_err(one)?;
    compile_with(&config, policies.len(), &mut policies.iter().map(read))
}

/// Reads and compiles the policies of a bundle for the workload of `scope`: a JSON list of what `policies` of a
/// configuration may hold, all of it or nothing. A list in which nothing is for the filter is refused, be it empty:
/// it would let everybody in. What is for other workloads is not looked at that way.
///
/// `RequestAuthentication` resources are left unread, as by [`compile_json`].
///
/// # Errors
/// Every problem, each with its path, which begins with `policies` as it does for those of a configuration.
pub fn compile_policies(text: &[u8], scope: &Scope) -> Result<PolicySet, Vec<ConfigError>> {
    check_length(text, MAX_BODY_BYTES)?;
    let policies: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| {
        // The strict reader says where, as for a configuration.
        let problem = error.to_string();
        let path = String::new();
        let found = json::parse(text).err();
        let error = found.unwrap_or(ShapeError { path, problem });
        vec![ConfigError::from(error).within(POLICIES)]
    })?;
    let mut errors = Errors::default();
    let mut decided_on = 0_usize;
    let mut written = policies.iter().map(read).inspect(|resource| {
        // One that cannot be read is a problem of its own.
        if !matches!(resource, Ok(None)) {
            decided_on = decided_on.saturating_add(1);
        }
    });
    let compiled = errors.policies(policies.len(), &mut written, scope);
    if decided_on == 0 {
        let expected = "a bundle without policies would let everybody in";
        errors.add(POLICIES, ConfigProblem::Empty { expected });
    }
    match compiled {
        Some(compiled) if errors.is_empty() => Ok(compiled),
        _ => Err(errors.finish()),
    }
}

fn read(text: &&RawValue) -> Result<Option<Resource>, ShapeError> {
    let value = json::parse(text.get().as_bytes())?;
    Resource::decided_on(&value)
}

fn check_length(text: &[u8], limit: usize) -> Result<(), Vec<ConfigError>> {
    if text.len() <= limit {
        return Ok(());
    }
    let (found, unit) = (text.len(), "bytes");
    let problem = ConfigProblem::TooMany { found, unit, limit };
    Err(vec![ConfigError::new("", problem)])
}

/// A configuration without its policies, and those as they are written.
struct Cut<'t> {
    rest: Value,
    policies: Vec<&'t RawValue>,
}

fn cut(text: &[u8]) -> Result<Cut<'_>, ShapeError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let place = Cell::new("");
    let found = reader
        .deserialize_any(TopLevel { place: &place })
        .and_then(|cut| reader.end().map(|()| cut));
    match found {
        Ok(cut) => Ok(cut),
        // The strict reader says where; it fails on whatever this one fails on, unless policies is no list.
        Err(error) => Err(json::parse(text).err().unwrap_or_else(|| ShapeError {
            path: place.get().to_owned(),
            problem: error.to_string(),
        })),
    }
}

#[derive(Clone, Copy)]
struct TopLevel<'p> {
    place: &'p Cell<&'static str>,
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = Cut<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct PluginConfig")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut rest = Map::new();
        let mut policies = None;
        while let Some(key) = from.next_key::<String>()? {
            if rest.contains_key(&key) || (key == POLICIES && policies.is_some()) {
                return Err(A::Error::custom("this key occurs twice"));
            }
            if key == POLICIES {
                self.place.set(POLICIES);
                policies = Some(from.next_value()?);
                self.place.set("");
            } else {
                rest.insert(key, from.next_value_seed(StrictValue)?);
            }
        }
        Ok(Cut {
            rest: Value::Object(rest),
            policies: policies.unwrap_or_default(),
        })
    }
}

/// A value read as strictly as [`json::parse`] does.
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        json::strict(from)
    }
}

const POLICIES: &str = "policies";
