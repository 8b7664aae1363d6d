//! The configuration in force.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::rc::Rc;

use identity::SpiffeId;
use identity::x509::Sha256Digest;
use policy::Peer;
use policy::config::{self, CompiledConfig};

use crate::certificates::{Certificates, Known, MAX_CERTIFICATES};
use crate::deny_list::settings::DenyListSettings;
use crate::link::{Link, Links, MAX_LINKS};
use crate::recent::Recent;
use crate::{forwarded, summary};

pub use policy::config::{Direction, HoldLimits, MAX_CONFIG_BYTES};

/// A configuration, compiled.
#[derive(Debug)]
pub struct Plugin {
    compiled: CompiledConfig,
    deny_list: Option<Rc<DenyListSettings>>,
    certificates: RefCell<Certificates>,
    links: RefCell<Links>,
    forwarded: RefCell<Recent<Box<[u8]>, Known>>,
    reads_headers: bool,
    decides_by_headers: bool,
    explains: bool,
}

impl Plugin {
    /// Reads and compiles a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its path.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<String>> {
        let mut compiled = config::compile_json(bytes)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let trust_domain = compiled.scope.trust_domain.to_string();
        let deny_list = compiled.deny_list.take();
        let deny_list = deny_list
            .map(|list| Rc::new(DenyListSettings::new(list, &trust_domain, &compiled.trust)));
        let policies = &compiled.policies;
        let decides_by_headers =
            policies.needs().request_headers() || compiled.forwarded_client_cert.is_some();
        let explains = policies.rules().take(summary::MAX_RULES + 1).count();
        Ok(Self {
            reads_headers: decides_by_headers || policies.shadow_needs().request_headers(),
            decides_by_headers,
            explains: explains <= summary::MAX_RULES,
            compiled,
            deny_list,
            certificates: RefCell::new(Certificates::with_limit(MAX_CERTIFICATES)),
            links: RefCell::new(Links::with_limit(MAX_LINKS)),
            forwarded: RefCell::new(Recent::with_limit(forwarded::MAX_KEPT)),
        })
    }

    /// Where the deny list comes from, if there is one.
    #[must_use]
    pub const fn deny_list(&self) -> Option<&Rc<DenyListSettings>> {
        self.deny_list.as_ref()
    }

    /// What is known of a certificate.
    pub fn find_certificate(&self, digest: &Sha256Digest) -> Option<Known> {
        self.certificates.try_borrow_mut().ok()?.find(digest)
    }

    /// Remembers what was found out about one.
    pub fn keep_certificate(&self, digest: Sha256Digest, known: Known) {
        if let Ok(mut certificates) = self.certificates.try_borrow_mut() {
            certificates.keep(digest, known);
        }
    }

    /// What is known of a downstream connection.
    pub fn find_link(&self, id: u64) -> Option<Rc<Link>> {
        self.links.try_borrow_mut().ok()?.find(&id)
    }

    /// Remembers what was found out about one.
    pub fn keep_link(&self, id: u64, link: Rc<Link>) {
        if let Ok(mut links) = self.links.try_borrow_mut() {
            links.keep(id, link);
        }
    }

    /// What is known of a forwarded certificate, by its text in the header.
    pub fn find_forwarded(&self, text: &[u8]) -> Option<Known> {
        self.forwarded.try_borrow_mut().ok()?.find(text)
    }

    /// Remembers what was found out about one.
    pub fn keep_forwarded(&self, text: &[u8], known: Known) {
        if let Ok(mut forwarded) = self.forwarded.try_borrow_mut() {
            forwarded.keep(text.into(), known);
        }
    }

    /// Whether anything looks at headers, be it only policies that never change a verdict.
    #[must_use]
    pub const fn reads_headers(&self) -> bool {
        self.reads_headers
    }

    /// Whether decisions look at headers.
    #[must_use]
    pub const fn decides_by_headers(&self) -> bool {
        self.decides_by_headers
    }

    /// Whether there are few enough rules for denials to be explained.
    #[must_use]
    pub const fn explains(&self) -> bool {
        self.explains
    }

    /// The proxy whose forwarded certificates count, if the other end of the connection is that one.
    #[must_use]
    pub fn hop_of(&self, peer: &Peer) -> Option<&SpiffeId> {
        let hop = self.compiled.forwarded_client_cert.as_ref()?;
        matches!(peer, Peer::Workload(id) if id == hop).then_some(hop)
    }

    /// Names of the headers whose values may be logged, in lower case.
    #[must_use]
    pub fn logged_headers(&self) -> &[String] {
        &self.compiled.decision_log.headers
    }

    /// Who the servers of a cluster may be; `None` for a cluster that is not named.
    #[must_use]
    pub fn servers(&self, cluster: &str) -> Option<&BTreeSet<SpiffeId>> {
        self.compiled.secure_naming.as_ref()?.clusters.get(cluster)
    }

    /// How long and how many requests are held.
    #[must_use]
    pub fn hold(&self) -> HoldLimits {
        self.compiled
            .secure_naming
            .as_ref()
            .map(|naming| naming.hold)
            .unwrap_or_default()
    }
}

impl Deref for Plugin {
    type Target = CompiledConfig;

    fn deref(&self) -> &CompiledConfig {
        &self.compiled
    }
}
