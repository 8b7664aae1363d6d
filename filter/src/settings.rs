//! The configuration in force.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use identity::SpiffeId;
use identity::x509::Sha256Digest;
use policy::config::{self, CompiledConfig};
use policy::{Peer, PolicySet};

use crate::certificates::{Certificates, Known, MAX_CERTIFICATES};
use crate::deny_list::settings::DenyListSettings;
use crate::link::{Link, Links, MAX_LINKS};
use crate::policy_bundle::BundleSettings;
use crate::recent::Recent;
use crate::{forwarded, summary};

pub use policy::config::{Direction, HoldLimits, MAX_CONFIG_BYTES};

/// A configuration, compiled, with the policies that are in force.
#[derive(Debug)]
pub struct Plugin {
    base: Rc<Base>,
    /// The configuration's, or those of its policy bundle.
    pub policies: Arc<PolicySet>,
    reads_headers: bool,
    decides_by_headers: bool,
    explains: bool,
}

/// What stays the same when policies come in a bundle.
#[derive(Debug)]
struct Base {
    compiled: CompiledConfig,
    deny_list: Option<Rc<DenyListSettings>>,
    policy_bundle: Option<Rc<BundleSettings>>,
    certificates: RefCell<Certificates>,
    links: RefCell<Links>,
    forwarded: RefCell<Recent<Box<[u8]>, Known>>,
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
        let policy_bundle = compiled.policy_bundle.take().zip(deny_list.as_ref());
        let policy_bundle =
            policy_bundle.map(|(bundle, list)| Rc::new(BundleSettings::new(bundle, list)));
        // With a bundle, whoever should ask the configuration for its policies is denied.
        let policies = Arc::clone(&compiled.policies);
        let base = Base {
            compiled,
            deny_list,
            policy_bundle,
            certificates: RefCell::new(Certificates::with_limit(MAX_CERTIFICATES)),
            links: RefCell::new(Links::with_limit(MAX_LINKS)),
            forwarded: RefCell::new(Recent::with_limit(forwarded::MAX_KEPT)),
        };
        Ok(Self::of(Rc::new(base), policies))
    }

    /// The same configuration with other policies.
    #[must_use]
    pub fn with_policies(&self, policies: Arc<PolicySet>) -> Self {
        Self::of(Rc::clone(&self.base), policies)
    }

    fn of(base: Rc<Base>, policies: Arc<PolicySet>) -> Self {
        let decides_by_headers =
            policies.needs().request_headers() || base.compiled.forwarded_client_cert.is_some();
        let explains = policies.rules().take(summary::MAX_RULES + 1).count();
        Self {
            reads_headers: decides_by_headers || policies.shadow_needs().request_headers(),
            decides_by_headers,
            explains: explains <= summary::MAX_RULES,
            base,
            policies,
        }
    }

    /// Where the deny list comes from, if there is one.
    #[must_use]
    pub fn deny_list(&self) -> Option<&Rc<DenyListSettings>> {
        self.base.deny_list.as_ref()
    }

    /// Which bundle holds the policies, if one does.
    #[must_use]
    pub fn policy_bundle(&self) -> Option<&Rc<BundleSettings>> {
        self.base.policy_bundle.as_ref()
    }

    /// What is known of a certificate.
    pub fn find_certificate(&self, digest: &Sha256Digest) -> Option<Known> {
        self.base.certificates.try_borrow_mut().ok()?.find(digest)
    }

    /// Remembers what was found out about one.
    pub fn keep_certificate(&self, digest: Sha256Digest, known: Known) {
        if let Ok(mut certificates) = self.base.certificates.try_borrow_mut() {
            certificates.keep(digest, known);
        }
    }

    /// What is known of a downstream connection.
    pub fn find_link(&self, id: u64) -> Option<Rc<Link>> {
        self.base.links.try_borrow_mut().ok()?.find(&id)
    }

    /// Remembers what was found out about one.
    pub fn keep_link(&self, id: u64, link: Rc<Link>) {
        if let Ok(mut links) = self.base.links.try_borrow_mut() {
            links.keep(id, link);
        }
    }

    /// What is known of a forwarded certificate, by its text in the header.
    pub fn find_forwarded(&self, text: &[u8]) -> Option<Known> {
        self.base.forwarded.try_borrow_mut().ok()?.find(text)
    }

    /// Remembers what was found out about one.
    pub fn keep_forwarded(&self, text: &[u8], known: Known) {
        if let Ok(mut forwarded) = self.base.forwarded.try_borrow_mut() {
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
        let hop = self.base.compiled.forwarded_client_cert.as_ref()?;
        matches!(peer, Peer::Workload(workload) if workload.id() == hop).then_some(hop)
    }

    /// Names of the headers whose values may be logged, in lower case.
    #[must_use]
    pub fn logged_headers(&self) -> &[String] {
        &self.base.compiled.decision_log.headers
    }

    /// Who the servers of a cluster may be; `None` for a cluster that is not named.
    #[must_use]
    pub fn servers(&self, cluster: &str) -> Option<&BTreeSet<SpiffeId>> {
        self.base
            .compiled
            .secure_naming
            .as_ref()?
            .clusters
            .get(cluster)
    }

    /// How long and how many requests are held.
    #[must_use]
    pub fn hold(&self) -> HoldLimits {
        self.base
            .compiled
            .secure_naming
            .as_ref()
            .map(|naming| naming.hold)
            .unwrap_or_default()
    }
}

impl Deref for Plugin {
    type Target = CompiledConfig;

    fn deref(&self) -> &CompiledConfig {
        &self.base.compiled
    }
}
