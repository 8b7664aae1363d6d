//! Two of our filters that take one another for versions of themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plugin::is_ours;
use super::{Finding, Weakness};

/// By VM and name: the configuration that was seen first, and where.
type Seen<'c> = BTreeMap<(&'c str, &'c str), &'c Value>;

/// Filters of one VM and name whose configurations differ: the filter takes the newer one for an update of the
/// other, and lets it decide about the other's open streams and connections.
pub(super) fn shared(config: &Value) -> Vec<Finding> {
    let (mut seen, mut findings) = (Seen::new(), Vec::new());
    walk("", config, &mut seen, &mut findings);
    findings
}

fn walk<'c>(path: &str, value: &'c Value, seen: &mut Seen<'c>, findings: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            if clashes(value, seen) {
                findings.push(Finding {
                    weakness: Weakness::SharedPluginName,
                    path: path.to_owned(),
                });
            }
            for (name, field) in fields {
                // In a dump, versions of one resource that are not in force together with the active one.
                if ["warming_state", "draining_state", "error_state"].contains(&name.as_str()) {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{name}"), field, seen, findings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}[{index}]"), item, seen, findings);
            }
        }
        _ => {}
    }
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
