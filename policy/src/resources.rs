//! Resources of every kind that is read, told apart by their `kind`.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    authorization_policy::AuthorizationPolicy,
    error::CompileError,
    json::{self, ShapeError},
    peer_authentication::{MtlsModes, PeerAuthentication},
    request_authentication::RequestAuthentication,
    scope::Scope,
};

/// One resource of a kind that is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Who may do what.
    AuthorizationPolicy(AuthorizationPolicy),
    /// Whether a port takes mutual TLS, plaintext or both.
    PeerAuthentication(PeerAuthentication),
    /// Which tokens the proxy validates.
    RequestAuthentication(RequestAuthentication),
}

/// Resources by kind, each list in the order they were read; compile errors count places in these lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Who may do what.
    pub authorization: Vec<AuthorizationPolicy>,
    /// Whether a port takes mutual TLS, plaintext or both.
    pub peer_authentication: Vec<PeerAuthentication>,
    /// Which tokens the proxy validates.
    pub request_authentication: Vec<RequestAuthentication>,
}

impl Resource {
    /// Reads one resource; what its fields mean is checked by [`crate::PolicySet::compile_resources`].
    ///
    /// # Errors
    /// A kind that is not read, or where and how the value is not of its kind's shape.
    pub fn from_value(value: &Value) -> Result<Self, ShapeError> {
        // Whatever is no object has no kind, and its own error is the better one.
        match Self::decided_on(value)? {
            Some(resource) => Ok(resource),
            None => json::shape(value).map(Self::RequestAuthentication),
        }
    }

    /// Reads a resource that this crate decides by; `None` for a `RequestAuthentication`, which is not looked at.
    ///
    /// # Errors
    /// As [`Resource::from_value`].
    pub(crate) fn decided_on(value: &Value) -> Result<Option<Self>, ShapeError> {
        match value.get("kind").and_then(Value::as_str) {
            Some(REQUEST_AUTHENTICATION) => Ok(None),
            Some(PEER_AUTHENTICATION) => json::shape(value).map(Self::PeerAuthentication).map(Some),
            Some(other) if other != AUTHORIZATION_POLICY && value.get("apiVersion").is_some() => {
                Err(ShapeError {
                    path: "kind".to_owned(),
                    problem: format!(
                        "{other:?} is not {AUTHORIZATION_POLICY}, {PEER_AUTHENTICATION} or {REQUEST_AUTHENTICATION}"
                    ),
                })
            }
            _ => json::shape(value).map(Self::AuthorizationPolicy).map(Some),
        }
    }

    /// Reads one resource in JSON.
    ///
    /// # Errors
    /// Not JSON, a key twice, or as [`Resource::from_value`].
    pub fn from_json(text: &[u8]) -> Result<Self, ShapeError> {
        Self::from_value(&json::parse(text)?)
    }

    /// The kind as it is written.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::AuthorizationPolicy(_) => AUTHORIZATION_POLICY,
            Self::PeerAuthentication(_) => PEER_AUTHENTICATION,
            Self::RequestAuthentication(_) => REQUEST_AUTHENTICATION,
        }
    }
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}

impl Resources {
    /// Adds a resource at the end of its kind's list; its place there.
    pub fn push(&mut self, resource: Resource) -> usize {
        match resource {
            Resource::AuthorizationPolicy(policy) => push(&mut self.authorization, policy),
            Resource::PeerAuthentication(one) => push(&mut self.peer_authentication, one),
            Resource::RequestAuthentication(one) => push(&mut self.request_authentication, one),
        }
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        [
            self.authorization.len(),
            self.peer_authentication.len(),
            self.request_authentication.len(),
        ]
        .iter()
        .sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the resources that no rule is made of say.
    ///
    /// # Errors
    /// Every problem of every one of them.
    pub(crate) fn authentication(&self, scope: &Scope) -> Result<MtlsModes, Vec<CompileError>> {
        let mut errors = Vec::new();
        let modes = MtlsModes::compile(&self.peer_authentication, scope)
            .map_err(|found| errors.extend(found))
            .unwrap_or_default();
        errors.extend(RequestAuthentication::validate_all(
            &self.request_authentication,
        ));
        if errors.is_empty() {
            Ok(modes)
        } else {
            Err(errors)
        }
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut all = Self::default();
        for resource in resources {
            all.push(resource);
        }
        all
    }
}

fn push<T>(list: &mut Vec<T>, one: T) -> usize {
    list.push(one);
    list.len().saturating_sub(1)
}

const AUTHORIZATION_POLICY: &str = crate::compile::resource::KIND;
const PEER_AUTHENTICATION: &str = crate::peer_authentication::KIND;
const REQUEST_AUTHENTICATION: &str = crate::request_authentication::KIND;

#[cfg(test)]
mod tests;
