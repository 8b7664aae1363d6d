//! What loaded policies look at: those that decide, and those that only watch.

use std::collections::BTreeSet;

use crate::{
    compile::{Rules, Verdicts},
    peer_authentication::MtlsModes,
    rule::{Rule, Test},
};

/// What loaded policies look at. Whoever builds a [`Request`] need not read the rest.
///
/// If something exists but cannot be read, the request is to be denied ([`crate::NotEvaluable`]) where
/// [`PolicySet::needs`] names it. Where only [`PolicySet::shadow_needs`] does, [`PolicySet::shadow`] is not to be
/// asked about that request, and the verdict stays what it is.
///
/// [`Request`]: crate::Request
/// [`PolicySet::needs`]: crate::PolicySet::needs
/// [`PolicySet::shadow_needs`]: crate::PolicySet::shadow_needs
/// [`PolicySet::shadow`]: crate::PolicySet::shadow
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Needs {
    /// [`crate::Request::source_ip`].
    pub source_ip: bool,
    /// [`crate::Request::destination_ip`].
    pub destination_ip: bool,
    /// [`crate::Request::destination_port`].
    pub destination_port: bool,
    /// [`crate::Request::sni`].
    pub sni: bool,
    /// [`crate::Request::host`].
    pub host: bool,
    /// [`crate::Request::method`].
    pub method: bool,
    /// [`crate::Request::path`]; of what is enforced, it says that paths must be in normal form, too.
    pub path: bool,
    /// [`crate::Request::headers`].
    pub headers: bool,
    /// [`crate::Request::remote_ip`].
    pub remote_ip: bool,
    /// [`crate::Request::claims`]; see [`crate::PolicySet::claim_paths`].
    pub claims: bool,
    /// [`crate::Request::metadata`]; see [`crate::PolicySet::metadata_keys`].
    pub metadata: bool,
    /// [`crate::Request::certificate`].
    pub certificate: bool,
    /// [`crate::Request::now`].
    pub now: bool,
}

/// A namespace of dynamic metadata and a path in it.
type MetadataKey = (Box<str>, [Box<str>; 1]);

impl Needs {
    /// Everything: what is to be provided for policies that are not known yet.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            source_ip: true,
            destination_ip: true,
            destination_port: true,
            sni: true,
            host: true,
            method: true,
            path: true,
            headers: true,
            remote_ip: true,
            claims: true,
            metadata: true,
            certificate: true,
            now: true,
        }
    }

    /// Whether something of it is among the headers of a request.
    #[must_use]
    pub const fn request_headers(self) -> bool {
        // Field by field, so that a new one cannot be forgotten here.
        let Self {
            host,
            method,
            path,
            headers,
            source_ip: _,
            destination_ip: _,
            destination_port: _,
            sni: _,
            remote_ip: _,
            claims: _,
            metadata: _,
            certificate: _,
            now: _,
        } = self;
        host || method || path || headers
    }

    /// What is in this one or in the other.
    pub(super) fn or(self, other: Self) -> Self {
        self.zip(other, |this, that| this || that)
    }

    /// What is in this one and not in the other.
    fn without(self, other: Self) -> Self {
        self.zip(other, |this, that| this && !that)
    }

    /// Each field of both.
    fn zip(self, other: Self, both: fn(bool, bool) -> bool) -> Self {
        Self {
            source_ip: both(self.source_ip, other.source_ip),
            destination_ip: both(self.destination_ip, other.destination_ip),
            destination_port: both(self.destination_port, other.destination_port),
            sni: both(self.sni, other.sni),
            host: both(self.host, other.host),
            method: both(self.method, other.method),
            path: both(self.path, other.path),
            headers: both(self.headers, other.headers),
            remote_ip: both(self.remote_ip, other.remote_ip),
            claims: both(self.claims, other.claims),
            metadata: both(self.metadata, other.metadata),
            certificate: both(self.certificate, other.certificate),
            now: both(self.now, other.now),
        }
    }
}

/// [`Needs`] with the names of what is looked up by name.
#[derive(Debug, Default)]
pub(super) struct LookedAt {
    pub(super) needs: Needs,
    claim_paths: BTreeSet<Box<[Box<str>]>>,
    metadata_keys: BTreeSet<MetadataKey>,
}

impl LookedAt {
    /// By what decides.
    pub(super) fn by_enforced(rules: &Rules, mtls: &MtlsModes) -> Self {
        let Verdicts { deny, allow, .. } = &rules.enforced;
        let mut looked_at = Self::default();
        looked_at.needs.destination_port = mtls.ports().next().is_some();
        looked_at.add_all(&[deny, allow]);
        looked_at
    }

    /// The needs are those of what never changes a verdict, besides those of what is enforced; the names are those
    /// of both. A claim is something besides also where what decides looks at other claims.
    pub(super) fn by_shadow(rules: &Rules, enforced: &Self) -> Self {
        let Verdicts { deny, allow, .. } = &rules.dry_run;
        let mut all = Self::default();
        let shadow = [deny, allow, &rules.audit];
        if shadow.iter().all(|rules| rules.is_empty()) {
            return all;
        }
        all.add_all(&[&rules.enforced.deny, &rules.enforced.allow]);
        all.add_all(&shadow);
        all.needs = Needs {
            claims: all.claim_paths.len() > enforced.claim_paths.len(),
            metadata: all.metadata_keys.len() > enforced.metadata_keys.len(),
            ..all.needs.without(enforced.needs)
        };
        all
    }

    /// The claims, each as a path.
    pub(super) fn claim_paths(&self) -> impl Iterator<Item = &[Box<str>]> {
        self.claim_paths.iter().map(AsRef::as_ref)
    }

    /// The keys of metadata.
    pub(super) fn metadata_keys(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        let keys = self.metadata_keys.iter();
        keys.map(|(namespace, path)| (namespace.as_ref(), path.as_slice()))
    }

    fn add_all(&mut self, rules: &[&Vec<Rule>]) {
        for rule in rules.iter().copied().flatten() {
            rule.conditions().for_each(|one| self.add(&one.test));
        }
    }

    fn add(&mut self, test: &Test) {
        let needs = &mut self.needs;
        needs.path |= test.looks_at_path();
        match test {
            Test::Principal(_)
            | Test::Namespace(_)
            | Test::ServiceAccount(_)
            | Test::TrustDomain(_)
            | Test::Path(_) => {}
            Test::SourceIp(_) => needs.source_ip = true,
            Test::RemoteIp(_) => needs.remote_ip = true,
            Test::DestinationIp(_) => needs.destination_ip = true,
            Test::DestinationPort(_) => needs.destination_port = true,
            Test::Sni(_) => needs.sni = true,
            Test::Host(_) => needs.host = true,
            Test::Method(_) => needs.method = true,
            Test::Header(name, _) => match name.as_ref() {
                ":method" => needs.method = true,
                ":authority" | "host" => needs.host = true,
                ":path" => {}
                _ => needs.headers = true,
            },
            Test::RequestPrincipal(_, names) => {
                needs.claims = true;
                for path in [&names.issuer, &names.subject] {
                    self.claim_paths.insert(path.as_slice().into());
                }
            }
            Test::Claim(path, _) => {
                needs.claims = true;
                self.claim_paths.insert(path.clone());
            }
            Test::Metadata(test) => {
                needs.metadata = true;
                let key = (test.namespace.clone(), test.path.clone());
                self.metadata_keys.insert(key);
            }
            Test::Certificate(test) => {
                needs.certificate = true;
                needs.now |= test.looks_at_time();
            }
        }
    }
}
