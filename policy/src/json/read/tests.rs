use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    pairs: Vec<(String, bool)>,
    #[serde(default)]
    choice: Choice,
    #[serde(default)]
    inner: BTreeMap<String, Self>,
    #[serde(default)]
    any: Value,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Choice {
    #[default]
    None,
    OneIn(u32),
    Within {
        seconds: f64,
    },
}

#[test]
fn reads_what_serde_json_reads() {
    for value in [
        json!({}),
        json!({"names": ["a", "b"], "port": 65535, "pairs": [["x", true]], "any": {"a": [1, -1, 1.5, null]}}),
        json!({"port": null, "choice": "none"}),
        json!({"choice": {"oneIn": 3}, "inner": {"a": {"inner": {"b": {}}}}}),
        json!({"choice": {"within": {"seconds": 1}}}),
    ] {
        let own: Sample = read(&value).unwrap();
        assert_eq!(own, serde_json::from_value(value).unwrap());
    }
}

#[test]
fn says_where_and_what_does_not_fit() {
    for (value, path, problem) in [
        (
            json!([]),
            "",
            "invalid type: sequence, expected struct Sample",
        ),
        (
            json!(null),
            "",
            "invalid type: null, expected struct Sample",
        ),
        (json!({"nme": 1}), "nme", "unknown field `nme`"),
        (
            json!({"names": "a"}),
            "names",
            "invalid type: string \"a\", expected a sequence",
        ),
        (
            json!({"names": ["a", 1]}),
            "names[1]",
            "invalid type: integer `1`, expected a string",
        ),
        (
            json!({"port": 65536}),
            "port",
            "invalid value: integer `65536`, expected u16",
        ),
        (
            json!({"port": -1}),
            "port",
            "invalid value: integer `-1`, expected u16",
        ),
        (
            json!({"pairs": [["x", true, 3]]}),
            "pairs[0]",
            "invalid length 3",
        ),
        (json!({"pairs": [["x"]]}), "pairs[0]", "invalid length 1"),
        (json!({"choice": "all"}), "choice", "unknown variant `all`"),
        (
            json!({"choice": "oneIn"}),
            "choice",
            "invalid type: unit variant",
        ),
        (
            json!({"choice": {"none": 1}}),
            "choice",
            "invalid type: map",
        ),
        (
            json!({"choice": {"oneIn": "x"}}),
            "choice.oneIn",
            "invalid type: string \"x\"",
        ),
        (
            json!({"choice": {"within": []}}),
            "choice.within",
            "invalid type: sequence",
        ),
        (
            json!({"choice": {"oneIn": 1, "none": 2}}),
            "choice",
            "exactly one key",
        ),
        (
            json!({"choice": 7}),
            "choice",
            "invalid type: integer `7`, expected enum Choice",
        ),
        (
            json!({"inner": {"a": {"inner": {"b": {"port": []}}}}}),
            "inner.a.inner.b.port",
            "u16",
        ),
    ] {
        let error = read::<Sample>(&value).unwrap_err();
        assert_eq!(error.path, path, "{value}");
        assert!(error.problem.contains(problem), "{value}: {error}");
    }
}
