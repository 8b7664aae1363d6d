//! How much is let in at a time, and whose turn it is.
//!
//! A storm of requests must neither starve the quiet ones nor grow without bound. Requests whose
//! caller is proven wait in a fair queue: groups (namespaces) take turns, in a
//! group its members (an identity at an address) do. Beyond the bounds a request is shed with
//! `RESOURCE_EXHAUSTED`, which istio-agent retries, and with the time after which to come again.
//! One whose deadline has passed is dropped before anything is signed for it.

use std::time::Duration;

use identity::SpiffeId;
use serde::Deserialize;

pub(crate) use self::admission::{Admission, Overload, Permit};
pub(crate) use self::lane::Lane;
use crate::settings::SettingsError;

mod admission;
pub(crate) mod deadline;
mod fair_queue;
pub(crate) mod files;
mod lane;
pub(crate) mod peers;

/// Bounds of what is served at a time; section `limits` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Certificates in the making at a time. Enough of them share one sync to disk.
    pub concurrency: usize,
    /// Proofs under examination at a time; they take turns by the peer's address.
    pub proofs: usize,
    /// Requests that wait for their turn, of all groups together.
    pub queue: usize,
    /// Of these, of one group: a namespace, or one of our agents.
    pub queue_per_group: usize,
    /// Of these, of one member: an identity at an address.
    pub queue_per_member: usize,
    /// Longest wait, in seconds; then the request is shed.
    pub max_wait_seconds: u64,
    /// Connections open at a time, of everybody together. Never more than the process may have
    /// files, less a reserve.
    pub connections: usize,
    /// Of these, from one address (IPv6: one /64 network).
    pub connections_per_peer: usize,
    /// Of these, without a client certificate. Beyond it the one that came first has to go.
    pub connections_without_certificate: usize,
    /// Identities that ask for others on every node, such as ztunnel's: each of their addresses is
    /// a group of its own, so that a node's workloads are not one namespace's.
    pub node_accounts: Vec<SpiffeIdText>,
}

/// A SPIFFE ID in a configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct SpiffeIdText(pub SpiffeId);

impl TryFrom<String> for SpiffeIdText {
    type Error = NotASpiffeId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match SpiffeId::new(&text) {
            Ok(id) => Ok(Self(id)),
            Err(_bad) => Err(NotASpiffeId { text }),
        }
    }
}

/// A text that is no SPIFFE ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a SPIFFE ID")]
pub struct NotASpiffeId {
    /// The text.
    pub text: String,
}

impl Default for Limits {
    /// What one machine with two cores carries; see `docs/serving.md`.
    fn default() -> Self {
        Self {
            concurrency: 64,
            proofs: 64,
            queue: 8192,
            queue_per_group: 4096,
            queue_per_member: 256,
            max_wait_seconds: 10,
            connections: 16_384,
            connections_per_peer: 1024,
            connections_without_certificate: 12_288,
            node_accounts: Vec::new(),
        }
    }
}

impl Limits {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`SettingsError`], the first bound that cannot be.
    pub fn check(&self) -> Result<(), SettingsError> {
        let bounds = [
            ("limits.concurrency", self.concurrency, MAX_CONCURRENCY),
            ("limits.proofs", self.proofs, MAX_CONCURRENCY),
            ("limits.queue", self.queue, MAX_QUEUE),
            ("limits.queuePerGroup", self.queue_per_group, self.queue),
            (
                "limits.queuePerMember",
                self.queue_per_member,
                self.queue_per_group,
            ),
            ("limits.connections", self.connections, MAX_CONNECTIONS),
            (
                "limits.connectionsPerPeer",
                self.connections_per_peer,
                self.connections,
            ),
            (
                "limits.connectionsWithoutCertificate",
                self.connections_without_certificate,
                self.connections,
            ),
        ];
        for (setting, found, most) in bounds {
            if found < 1 || found > most {
                return Err(SettingsError {
                    setting,
                    found: found.to_string(),
                    expected: "at least 1, and no more than the bound it is part of",
                });
            }
        }
        if !(1..=MAX_WAIT_SECONDS).contains(&self.max_wait_seconds) {
            return Err(SettingsError {
                setting: "limits.maxWaitSeconds",
                found: self.max_wait_seconds.to_string(),
                expected: "1 to 60 s",
            });
        }
        Ok(())
    }

    /// Bounds of the queue for certificates.
    pub(crate) const fn issuing(&self) -> Bounds {
        Bounds {
            running: self.concurrency,
            waiting: self.queue,
            per_group: self.queue_per_group,
            per_member: self.queue_per_member,
            wait: Duration::from_secs(self.max_wait_seconds),
        }
    }

    /// Bounds of the queue for proofs, whose members are the addresses.
    pub(crate) const fn proving(&self) -> Bounds {
        Bounds {
            running: self.proofs,
            waiting: self.queue,
            per_group: self.queue,
            per_member: self.queue_per_group,
            wait: Duration::from_secs(self.max_wait_seconds),
        }
    }
}

/// Bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) per_group: usize,
    pub(crate) per_member: usize,
    pub(crate) wait: Duration,
}

/// More would only make each other slower.
const MAX_CONCURRENCY: usize = 4096;
/// A waiting request holds its message and a connection's stream: some 20 KiB.
const MAX_QUEUE: usize = 65_536;
const MAX_CONNECTIONS: usize = 1_000_000;
const MAX_WAIT_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_unknown_fields_are_not() {
        Limits::default().check().unwrap();
        let read: Limits = serde_json::from_str(r#"{"queue": 9000, "maxWaitSeconds": 3}"#).unwrap();
        assert_eq!((read.queue, read.max_wait_seconds), (9000, 3));
        assert_eq!(read.concurrency, Limits::default().concurrency);
        let bad = serde_json::from_str::<Limits>(r#"{"queues": 1}"#).unwrap_err();
        assert!(bad.to_string().contains("queues"), "{bad}");
        let bad = serde_json::from_str::<Limits>(r#"{"nodeAccounts": ["ztunnel"]}"#).unwrap_err();
        assert!(bad.to_string().contains("\"ztunnel\" is not a SPIFFE ID"));
    }

    #[test]
    fn a_bound_of_nothing_or_beyond_its_whole_is_named() {
        type Change = fn(&mut Limits);
        let cases: [(Change, &str); 6] = [
            (|l| l.concurrency = 0, "limits.concurrency"),
            (|l| l.queue = 1 << 20, "limits.queue"),
            (|l| l.queue_per_group = l.queue + 1, "limits.queuePerGroup"),
            (
                |l| l.queue_per_member = l.queue_per_group + 1,
                "limits.queuePerMember",
            ),
            (|l| l.connections_per_peer = 0, "limits.connectionsPerPeer"),
            (|l| l.max_wait_seconds = 61, "limits.maxWaitSeconds"),
        ];
        for (change, named) in cases {
            let mut limits = Limits::default();
            change(&mut limits);
            assert_eq!(limits.check().unwrap_err().setting, named);
        }
    }
}
