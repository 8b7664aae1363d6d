//! What policies say that never change a verdict: AUDIT, and those on dry-run.

use policy::{DryRun, PolicySet, Request, Shadow};

use crate::host::Host;
use crate::metrics::Metrics;

/// What they say of a request or connection.
#[derive(Clone, Debug)]
pub enum Watched {
    /// This.
    Said(Shadow),
    /// Nothing, for an attribute that only they look at cannot be read. Those that decide were asked all the same.
    Unreadable {
        /// Its path.
        attribute: &'static str,
    },
}

impl Watched {
    /// Asks them about a request, unless something that they look at could not be read for it.
    pub fn ask(policies: &PolicySet, request: Result<Request<'_>, &'static str>) -> Self {
        match request {
            Ok(request) => Self::Said(policies.shadow(&request)),
            Err(attribute) => Self::Unreadable { attribute },
        }
    }

    /// Counts it. True where policies on dry-run would have changed the verdict.
    pub fn count<H: Host>(&self, metrics: &Metrics<H>, allowed: bool) -> bool {
        let Self::Said(shadow) = self else {
            metrics.count("countersign_shadow_unreadable");
            return false;
        };
        if shadow.audit.is_some() {
            metrics.count("countersign_shadow_audited");
        }
        let dry_run = shadow.dry_run.as_ref();
        let changes = dry_run.is_some_and(|dry_run| would_change(dry_run, allowed));
        if changes {
            metrics.count(if allowed {
                "countersign_shadow_would_deny"
            } else {
                "countersign_shadow_would_allow"
            });
        }
        changes
    }
}

/// Whether policies on dry-run would have changed the verdict.
#[must_use]
pub fn would_change(dry_run: &DryRun, allowed: bool) -> bool {
    dry_run.combined.is_allowed() != allowed
}
