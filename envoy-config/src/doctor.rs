//! What in a configuration, ours or anybody's, takes the filter's checks away.
//!
//! Reads a bootstrap or a `/config_dump` as JSON, wherever in it a setting is; it knows messages by their
//! `@type` and fields by their protobuf names, and our filter by its root id.

mod chain;
mod keys;
mod message;
mod names;
mod plugin;
mod weakness;

use std::fmt;

use serde_json::Value;

pub use self::weakness::Weakness;

use self::plugin::Plugins;

/// A weakness and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What.
    pub weakness: Weakness,
    /// JSON path, such as `static_resources.clusters[0].transport_socket.typed_config`.
    pub path: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.weakness)
    }
}

/// Every weakness in `config`, in the order they come; last, keys that come in plaintext and filters that share a name.
///
/// Not seen: what extensions do that are configured by other names, and what a control plane sends later.
#[must_use]
pub fn inspect(config: &Value) -> Vec<Finding> {
    let plugins = Plugins::find(config);
    let mut findings = Vec::new();
    each_object("", config, every_field, &mut |path, object| {
        let own = message::weaknesses(object).into_iter();
        let own = own.map(|weakness| (weakness, String::new()));
        for (weakness, below) in own.chain(chain::weaknesses(object, &plugins)) {
            let path = format!("{path}{below}");
            findings.push(Finding { weakness, path });
        }
    });
    findings.extend(keys::over_plaintext(config));
    findings.extend(names::shared(config));
    findings
}

/// Calls `visit` with each object in `value` and the path of it, outer ones first. What is in a field whose name
/// `enters` says no to is left out.
fn each_object<'c>(
    path: &str,
    value: &'c Value,
    enters: fn(&str) -> bool,
    visit: &mut dyn FnMut(&str, &'c Value),
) {
    match value {
        Value::Object(fields) => {
            visit(path, value);
            for (name, field) in fields.iter().filter(|(name, _)| enters(name)) {
                let dot = if path.is_empty() { "" } else { "." };
                each_object(&format!("{path}{dot}{name}"), field, enters, visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_object(&format!("{path}[{index}]"), item, enters, visit);
            }
        }
        _ => {}
    }
}

const fn every_field(_name: &str) -> bool {
    true
}

/// Whether a message is of this type, by the last part of its name.
fn is_type(message: &Value, name: &str) -> bool {
    let url = message.get("@type").and_then(Value::as_str);
    url.is_some_and(|url| url.rsplit('.').next() == Some(name))
}
