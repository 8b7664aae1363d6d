//! The protocol of one SDS stream: what Envoy asks for, what it has, and what it thinks of it.
//!
//! Pure. xDS, "state of the world": every response holds all subscribed secrets there are; Envoy
//! answers each with its nonce, either with the version it now uses (ACK) or with an error (NACK).

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::{
    pb::{
        envoy::{
            extensions::transport_sockets::tls::v3::Secret,
            service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        },
        google::protobuf::Any,
    },
    util::pack_any,
};
use prost::Name;

use super::secret::{Material, Refusal, Resolution};
use crate::svid::digest;

/// State of one stream.
#[derive(Debug, Default)]
pub(crate) struct Subscription {
    names: BTreeSet<String>,
    /// Digest of what was sent last for each subscribed name, taken or not.
    sent: BTreeMap<String, [u8; 32]>,
    responses: u64,
}

/// What a request means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// It opens the stream, or repeats itself before anything was sent.
    Subscribed,
    /// Envoy uses the last response.
    Accepted,
    /// Envoy keeps what it had before the last response.
    Rejected {
        /// Envoy's words.
        message: String,
        /// The version it keeps.
        keeps: String,
    },
    /// It answers a response that was followed by another, so the next request counts.
    Outdated,
}

impl Subscription {
    /// The most names on a stream. Envoy asks for one or two.
    pub(crate) const MOST_NAMES: usize = 256;

    /// Takes a request.
    pub(crate) fn hear(&mut self, request: &DiscoveryRequest) -> Result<Heard, RequestError> {
        if !request.type_url.is_empty() && request.type_url != Secret::type_url() {
            return Err(RequestError::OtherType {
                found: request.type_url.clone(),
            });
        }
        if request.resource_names.len() > Self::MOST_NAMES {
            return Err(RequestError::TooManyNames {
                found: request.resource_names.len(),
            });
        }
        let answers_last = request.response_nonce == self.nonce();
        if self.responses > 0 && !answers_last {
            return Ok(Heard::Outdated);
        }
        self.names = request.resource_names.iter().cloned().collect();
        // Who unsubscribes forgets; who subscribes again must be told again.
        let names = &self.names;
        self.sent.retain(|name, _| names.contains(name));
        Ok(match &request.error_detail {
            _ if self.responses == 0 => Heard::Subscribed,
            Some(error) => Heard::Rejected {
                message: error.message.clone(),
                keeps: request.version_info.clone(),
            },
            None => Heard::Accepted,
        })
    }

    /// The response that is due, if any: when something subscribed is new, or other than what was
    /// sent last. What Envoy refused is not sent again until it changes.
    ///
    /// # Errors
    /// [`Refusal`] for a name the process may not have: the stream must end with it.
    pub(crate) fn respond(
        &mut self,
        resolve: impl Fn(&str) -> Resolution,
    ) -> Result<Option<DiscoveryResponse>, Refusal> {
        let mut ready: Vec<(&String, Material, [u8; 32])> = Vec::new();
        for name in &self.names {
            match resolve(name) {
                Resolution::Ready(material) => {
                    let digest = material.digest();
                    ready.push((name, material, digest));
                }
                Resolution::Pending => {}
                Resolution::Refused(refusal) => return Err(refusal),
            }
        }
        let news = ready
            .iter()
            .any(|(name, _, digest)| self.sent.get(*name) != Some(digest));
        if !news {
            return Ok(None);
        }
        let version_info = version(&ready);
        let resources: Vec<Any> = ready
            .iter()
            .map(|(name, material, _)| pack_any(material.to_secret(name)))
            .collect();
        for (name, _, digest) in ready {
            self.sent.insert(name.clone(), digest);
        }
        self.responses += 1;
        Ok(Some(DiscoveryResponse {
            version_info,
            resources,
            type_url: Secret::type_url(),
            nonce: self.nonce(),
            ..DiscoveryResponse::default()
        }))
    }

    /// Nonce of the last response; empty before the first.
    fn nonce(&self) -> String {
        match self.responses {
            0 => String::new(),
            count => count.to_string(),
        }
    }
}

/// A request that breaks the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RequestError {
    /// It asks for something else than secrets.
    #[error("only {} is served here, not {found:?}", Secret::type_url())]
    OtherType {
        /// The type asked for.
        found: String,
    },
    /// It asks for too much.
    #[error("{found} names on a stream, the limit is {max}", max = Subscription::MOST_NAMES)]
    TooManyNames {
        /// How many.
        found: usize,
    },
}

/// A version that says what is in the response: equal for equal content, whoever asks, also after
/// a restart of the agent.
fn version(ready: &[(&String, Material, [u8; 32])]) -> String {
    let mut text = Vec::new();
    for (name, _, digest) in ready {
        text.extend_from_slice(name.as_bytes());
        text.push(0);
        text.extend_from_slice(digest);
    }
    let mut version = hex::encode(digest(&text));
    version.truncate(VERSION_DIGITS);
    version
}

const VERSION_DIGITS: usize = 16;

#[cfg(test)]
mod tests;
