//! What loaded policies look at.

use std::collections::BTreeSet;

use crate::{
    compile::Rules,
    peer_authentication::MtlsModes,
    rule::{Rule, Test},
};

/// What the loaded policies look at. Whoever builds a [`Request`] need not read the rest, and must deny
/// ([`crate::NotEvaluable`]) if something named here exists but cannot be read.
///
/// [`Request`]: crate::Request
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
    /// [`crate::Request::path`]; unless only AUDIT and dry-run policies look at it, paths must be in normal form.
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
pub(super) type MetadataKey = (Box<str>, [Box<str>; 1]);

/// [`Needs`] with the names of what is looked up by name.
#[derive(Default)]
pub(super) struct LookedAt {
    pub(super) needs: Needs,
    pub(super) claim_paths: BTreeSet<Box<[Box<str>]>>,
    pub(super) metadata_keys: BTreeSet<MetadataKey>,
}

impl LookedAt {
    pub(super) fn by(rules: &Rules, mtls: &MtlsModes) -> Self {
        let mut looked_at = Self::default();
        looked_at.needs.destination_port = mtls.ports().next().is_some();
        let verdicts = [&rules.enforced, &rules.dry_run];
        let rules = verdicts
            .into_iter()
            .flat_map(|verdicts| [&verdicts.deny, &verdicts.allow])
            .chain([&rules.audit]);
        for condition in rules.flatten().flat_map(Rule::conditions) {
            looked_at.add(&condition.test);
        }
        looked_at
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
                let paths = [&names.issuer, &names.subject].map(|path| path.clone().into());
                self.claim_paths.extend(paths);
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
