//! Checks of the bundle that holds the policies in place of the configuration.

use super::{
    ConfigProblem, PluginConfig, PolicyBundleConfig, check::Errors, compiled::CompiledPolicyBundle,
};

impl Errors {
    /// Either policies or a bundle: of both together nobody could say what is in force while the bundle is awaited.
    pub(super) fn policy_bundle(
        &mut self,
        config: &PolicyBundleConfig,
        whole: &PluginConfig,
        policies: usize,
    ) -> Option<CompiledPolicyBundle> {
        let path = "policyBundle";
        if policies > 0 {
            let expected = "either policies or a bundle of them";
            self.add(path, ConfigProblem::Direction { expected });
        }
        if whole.deny_list.is_none() {
            let expected =
                "a bundle comes from where the deny list comes from, and denyList is not given";
            self.add(path, ConfigProblem::Direction { expected });
        }
        match config.name.parse() {
            Ok(name) => Some(CompiledPolicyBundle {
                name,
                at_least: config.at_least.unwrap_or(0),
            }),
            Err(error) => {
                self.add("policyBundle.name", ConfigProblem::BundleName(error));
                None
            }
        }
    }
}
