//! Two of our filters that take one another for versions of themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plugin::is_ours;
use super::{Finding, Weakness, each_object};

/// By VM and name: the configuration that was seen first.
type Seen<'c> = BTreeMap<(&'c str, &'c str), &'c Value>;

/// Filters of one VM and name whose configurations differ: the filter takes the newer one for an update of the
/// other, and lets it decide about the other's open streams and connections.
pub(super) fn shared(config: &Value) -> Vec<Finding> {
    let (mut seen, mut findings) = (Seen::new(), Vec::new());
    each_object("", config, is_in_force, &mut |path, object| {
        if clashes(object, &mut seen) {
            findings.push(Finding {
                weakness: Weakness::SharedPluginName,
                path: path.to_owned(),
            });
        }
    });
    findings
}

/// No to what a dump has besides: versions of one resource that are not in force together with the active one.
fn is_in_force(field: &str) -> bool {
    !["warming_state", "draining_state", "error_state"].contains(&field)
}

fn clashes<'c>(message: &'c Value, seen: &mut Seen<'c>) -> bool {
    if !is_ours(message) {
        return false;
    }
    let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
    let vm = text("/config/vm_config/vm_id").unwrap_or_default();
    // Without a name the filter takes nothing for a version of itself.
    let Some(name) = text("/config/name").filter(|name| !name.is_empty()) else {
        return false;
    };
    let configuration = message.pointer("/config/configuration/value");
    let configuration = configuration.unwrap_or(&Value::Null);
    *seen.entry((vm, name)).or_insert(configuration) != configuration
}
