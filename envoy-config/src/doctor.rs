//! What in a configuration, ours or anybody's, takes the filter's checks away.
//!
//! Reads a bootstrap or a `/config_dump` as JSON, wherever in it a setting is; it knows messages by their
//! `@type` and fields by their protobuf names, and our filter by its root id.

mod chain;
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

/// Every weakness in `config`, in the order they come; last, filters that share a name.
///
/// Not seen: what extensions do that are configured by other names, and what a control plane sends later.
#[must_use]
pub fn inspect(config: &Value) -> Vec<Finding> {
    let plugins = Plugins::find(config);
    let mut findings = Vec::new();
    walk("", config, &plugins, &mut findings);
    findings.extend(names::shared(config));
    findings
}

fn walk(path: &str, value: &Value, plugins: &Plugins<'_>, findings: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            let own = message::weaknesses(value).into_iter();
            let own = own.map(|weakness| (weakness, String::new()));
            for (weakness, below) in own.chain(chain::weaknesses(value, plugins)) {
                let path = format!("{path}{below}");
                findings.push(Finding { weakness, path });
            }
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{name}"), field, plugins, findings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}[{index}]"), item, plugins, findings);
            }
        }
        _ => {}
    }
}

/// Whether a message is of this type, by the last part of its name.
fn is_type(message: &Value, name: &str) -> bool {
    let url = message.get("@type").and_then(Value::as_str);
    url.is_some_and(|url| url.rsplit('.').next() == Some(name))
}
