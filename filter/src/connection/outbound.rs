//! Connections going out: is the server the one that was named.
//!
//! Envoy's TCP proxy does not read from the client before it is connected to the server, so the first
//! bytes, whoever sends them, find the server's certificate there. Where it is set to read earlier,
//! they are held until it is connected.

use crate::decision_log::with_note;
use crate::host::Host;
use crate::peer::Seen;
use crate::root::Root;
use crate::settings::{Direction, Plugin};
use crate::time::Now;
use crate::upstream::{self, Check, NamingDenial};

use super::Occasion;
use super::verdict::{Outcome, Verdict};

/// Decides, or says what is missing.
pub(super) fn judge<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    occasion: Occasion,
) -> Outcome {
    if occasion == Occasion::New {
        return Outcome::NotYet;
    }
    let mut seen = Seen::default();
    let check = match upstream::cluster(root.host(), plugin) {
        Ok(cluster) => upstream::check(root, plugin, &cluster, now, &mut seen),
        Err(check) => check,
    };
    let milliseconds = plugin.hold().milliseconds;
    match (check, occasion) {
        (Check::Verified, _) => {
            let detail = "the server is one that the cluster names".to_owned();
            let mut verdict = Verdict::allowed(Direction::Outbound, "server_verified", detail);
            let known = seen
                .digest
                .and_then(|digest| plugin.find_certificate(&digest)?.ok());
            verdict.ends = known.map(|svid| svid.validity().not_after);
            Outcome::Allowed(verdict.seeing(seen))
        }
        (Check::Denied { denial, note }, _) => denied(&denial, note.as_deref(), seen),
        (Check::Pending, Occasion::Tick { last: true }) => {
            denied(&NamingDenial::HoldTimeout { milliseconds }, None, seen)
        }
        (Check::Pending, _) => Outcome::Unknown {
            limit: milliseconds.into(),
        },
    }
}

fn denied(denial: &NamingDenial, note: Option<&str>, seen: Seen) -> Outcome {
    let detail = with_note(denial.to_string(), note);
    Outcome::Denied(Verdict::denied(Direction::Outbound, denial.code(), detail).seeing(seen))
}
