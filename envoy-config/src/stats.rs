//! How the filter's metrics, whose names carry their labels, become metrics with labels.

use serde::Serialize;

/// A label and the regular expression that takes it out of a metric's name: what the first group matches is cut,
/// what the second matches is the value. `docs/metrics.md` has them, too.
///
/// A filter in Wasm can only name metrics. Its names are made of fixed lists, so labels have few values.
const TAGS: [(&str, &str); 3] = [
    (
        "verdict",
        r"^wasmcustom\.countersign_decision(_(allow|deny))_[a-z0-9_]+$",
    ),
    (
        "reason",
        r"^wasmcustom\.countersign_decision_(?:allow|deny)(_([a-z0-9_]+))$",
    ),
    (
        "outcome",
        r"^wasmcustom\.countersign_shadow(_(audited|unreadable|would_allow|would_deny))$",
    ),
];

/// `envoy.config.metrics.v3.StatsConfig`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StatsConfig {
    stats_tags: Vec<TagSpecifier>,
}

#[derive(Clone, Debug, Serialize)]
struct TagSpecifier {
    tag_name: &'static str,
    regex: &'static str,
}

impl StatsConfig {
    /// Envoy's own labels are kept.
    pub(crate) fn new() -> Self {
        let tag = |(tag_name, regex)| TagSpecifier { tag_name, regex };
        Self {
            stats_tags: TAGS.map(tag).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TAGS;

    #[test]
    fn the_page_on_metrics_has_the_same_expressions() {
        let page = include_str!("../../docs/metrics.md");
        for (name, regex) in TAGS {
            let written = format!("  - tag_name: {name}\n    regex: '{regex}'\n");
            assert!(page.contains(&written), "docs/metrics.md lacks {written}");
        }
    }
}
