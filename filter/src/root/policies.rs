//! The policies of a root context, where a bundle holds them.

use std::rc::Rc;
use std::sync::Arc;

use policy::PolicySet;

use crate::host::Host;
use crate::policy_bundle::held::Around;

use super::{Root, replace};

impl<H: Host> Root<H> {
    /// Begins to look for the bundle of a configuration, with the policies that are at hand already.
    pub(super) fn begin_policy_bundle(&self, others: &[Rc<Self>]) {
        let now = self.now_on_clock();
        self.update_policies(now, |around| {
            let mut inherited = self.policy_bundle.newer(around.plugin, None);
            for other in others {
                inherited = other.policy_bundle.newer(around.plugin, inherited);
            }
            self.policy_bundle.configure(around, inherited)
        });
        self.reschedule(now);
    }

    /// Looks for a newer bundle if it is time. True where there are other policies now.
    pub(super) fn look_for_policies(&self, now: u64) -> bool {
        self.update_policies(now, |around| self.policy_bundle.on_tick(around))
    }

    /// A reply to a call, be it for the bundle or not. True where there are other policies now.
    pub(super) fn on_policies(&self, token: u32, headers: u32, body: usize, now: u64) -> bool {
        self.update_policies(now, |around| {
            self.policy_bundle.on_reply(token, headers, body, around)
        })
    }

    /// Puts the policies in force that `find` gives.
    fn update_policies(
        &self,
        now: u64,
        find: impl FnOnce(Around<'_>) -> Option<Arc<PolicySet>>,
    ) -> bool {
        let Some(plugin) = self.plugin() else {
            return false;
        };
        let list = self.deny_list();
        let around = Around {
            plugin: &plugin,
            denied: list.as_deref(),
            now,
        };
        let Some(policies) = find(around) else {
            return false;
        };
        replace(&self.plugin, Some(Rc::new(plugin.with_policies(policies))));
        true
    }
}
