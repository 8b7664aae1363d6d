//! Istio's semantics over the resources as they are written, one value after the other.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::world::Asked;

/// Code and rule of the decision.
pub(crate) fn decide(policies: &[Value], asked: &Asked) -> (String, Option<String>) {
    let first = |action: &str| {
        let mut ids: Vec<String> = of_action(policies, action)
            .flat_map(|policy| {
                let name = policy["metadata"]["name"].as_str().unwrap();
                let rules = policy["spec"]["rules"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .enumerate();
                rules
                    .filter(|(_, rule)| rule_matches(rule, asked))
                    .map(move |(index, _)| format!("ns[default]-policy[{name}]-rule[{index}]"))
            })
            .collect();
        ids.sort();
        ids.into_iter().next()
    };
    if let Some(id) = first("DENY") {
        return ("matched_deny".to_owned(), Some(id));
    }
    if of_action(policies, "ALLOW").next().is_none() {
        return ("no_policy".to_owned(), None);
    }
    match first("ALLOW") {
        Some(id) => ("matched_allow".to_owned(), Some(id)),
        None => ("no_allow_matched".to_owned(), None),
    }
}

fn of_action<'p>(policies: &'p [Value], action: &str) -> impl Iterator<Item = &'p Value> {
    policies
        .iter()
        .filter(move |policy| policy["spec"]["action"] == action)
}

fn rule_matches(rule: &Value, asked: &Asked) -> bool {
    let any = |part: &str, inner: &str| match rule.get(part) {
        None => true,
        Some(alternatives) => alternatives
            .as_array()
            .unwrap()
            .iter()
            .any(|alternative| object_matches(&alternative[inner], asked)),
    };
    let conditions = rule.get("when").and_then(Value::as_array);
    any("from", "source")
        && any("to", "operation")
        && conditions.into_iter().flatten().all(|condition| {
            let key = condition["key"].as_str().unwrap();
            let list = |name: &str| condition.get(name);
            list("values").is_none_or(|values| any_value(key, values, asked))
                && list("notValues").is_none_or(|values| !any_value(key, values, asked))
        })
}

fn object_matches(object: &Value, asked: &Asked) -> bool {
    object.as_object().unwrap().iter().all(|(field, values)| {
        let key = |positive: &str| match positive {
            "principals" => "source.principal",
            "namespaces" => "source.namespace",
            "serviceAccounts" => "source.serviceAccount",
            "trustDomains" => "source.trustDomain",
            "ipBlocks" => "source.ip",
            "remoteIpBlocks" => "remote.ip",
            "requestPrincipals" => "request.auth.principal",
            "hosts" => "request.headers[:authority]",
            "ports" => "destination.port",
            "methods" => "method",
            "paths" => "path",
            other => panic!("{other}"),
        };
        match field.strip_prefix("not") {
            Some(rest) => {
                let positive = rest[..1].to_lowercase() + &rest[1..];
                // Unlike a condition on the header, `hosts` does not look at case.
                let key = if positive == "hosts" {
                    "host"
                } else {
                    key(&positive)
                };
                !any_value(key, values, asked)
            }
            None if field == "hosts" => any_value("host", values, asked),
            None => any_value(key(field), values, asked),
        }
    })
}

fn any_value(key: &str, values: &Value, asked: &Asked) -> bool {
    let mut values = values
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_str().unwrap());
    values.any(|value| value_matches(key, value, asked))
}

fn value_matches(key: &str, value: &str, asked: &Asked) -> bool {
    let text = |found: &Option<String>| {
        found
            .as_ref()
            .is_some_and(|found| text_matches(value, found, false))
    };
    let header = |found: &Option<String>| {
        found
            .as_ref()
            .is_some_and(|found| text_matches(value, found, true))
    };
    let claim = |path: &[&str]| {
        claims(asked, path)
            .iter()
            .any(|found| text_matches(value, found, false))
    };
    let path = asked
        .path
        .as_ref()
        .map(|path| path.split(['?', '#']).next().unwrap().to_owned());
    match key {
        "source.principal" => text(&asked.peer),
        "source.namespace" => asked
            .peer
            .as_ref()
            .is_some_and(|peer| in_namespace(value, peer)),
        "source.serviceAccount" => asked
            .peer
            .as_ref()
            .is_some_and(|peer| is_account(value, peer)),
        "source.trustDomain" => asked
            .peer
            .as_ref()
            .is_some_and(|peer| text_matches(value, peer.split('/').next().unwrap(), false)),
        "source.ip" => in_block(value, asked.source_ip),
        "remote.ip" => in_block(value, asked.remote_ip),
        "destination.ip" => in_block(value, asked.destination_ip),
        "destination.port" => asked.port.is_some_and(|port| port.to_string() == value),
        "connection.sni" => text(&asked.sni),
        "request.headers[x-tenant]" => asked
            .tenants
            .iter()
            .any(|found| text_matches(value, found, true)),
        "request.headers[:authority]" => header(&asked.host),
        "host" => asked
            .host
            .as_ref()
            .is_some_and(|host| text_matches(&value.to_lowercase(), &host.to_lowercase(), true)),
        "method" => header(&asked.method),
        "path" if value.contains("{*") => path.is_some_and(|path| template_matches(value, &path)),
        "path" => text(&path),
        "request.auth.principal" => token_matches(value, asked),
        "request.auth.audiences" => claim(&["aud"]),
        "request.auth.claims[group][name]" => claim(&["group", "name"]),
        other => panic!("{other}"),
    }
}

fn text_matches(pattern: &str, found: &str, may_be_empty: bool) -> bool {
    if pattern == "*" {
        return may_be_empty || !found.is_empty();
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => found.ends_with(suffix),
        (None, Some(prefix)) => found.starts_with(prefix),
        (None, None) => found == pattern,
    }
}

/// `.*/ns/VALUE/.*` on `spiffe://PEER`, `*` in the value as `.*`.
fn in_namespace(value: &str, peer: &str) -> bool {
    wild(&format!("*/ns/{value}/*"), &format!("spiffe://{peer}"))
}

/// Whether `*` in the pattern can be filled so that it is the text.
fn wild(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text
            .strip_prefix(before)
            .is_some_and(|text| (0..=text.len()).any(|from| wild(after, &text[from..]))),
    }
}

/// `spiffe://.+/ns/NS/(.+/|)sa/SA(/.+)?`.
fn is_account(value: &str, peer: &str) -> bool {
    let (namespace, account) = value.split_once('/').unwrap_or(("default", value));
    peer.match_indices('/').any(|(at, _)| {
        let rest = &peer[at..];
        let after = rest.strip_prefix(&format!("/ns/{namespace}/"));
        at > 0
            && after.is_some_and(|after| {
                let begins = |text: &str| {
                    text.strip_prefix(&format!("sa/{account}"))
                        .is_some_and(|end| end.is_empty() || end.starts_with('/') && end.len() > 1)
                };
                begins(after)
                    || after
                        .match_indices('/')
                        .any(|(slash, _)| slash > 0 && begins(&after[slash + 1..]))
            })
    })
}

fn in_block(value: &str, address: Option<IpAddr>) -> bool {
    let Some(address) = address else { return false };
    let block = match value {
        "::ffff:10.0.0.1" => "10.0.0.1/32".to_owned(),
        value if value.contains('/') => value.to_owned(),
        value if value.contains(':') => format!("{value}/128"),
        value => format!("{value}/32"),
    };
    block
        .parse::<IpNet>()
        .unwrap()
        .contains(&address.to_canonical())
}

fn claims(asked: &Asked, path: &[&str]) -> Vec<String> {
    let found = asked
        .claims
        .as_ref()
        .and_then(|claims| path.iter().try_fold(claims, |value, name| value.get(name)));
    let texts = |value: &Value| value.as_str().map(str::to_owned);
    match found {
        Some(Value::Array(list)) => list.iter().filter_map(texts).collect(),
        found => found.and_then(texts).into_iter().collect(),
    }
}

fn token_matches(value: &str, asked: &Asked) -> bool {
    let claim = |name| claims(asked, &[name]).into_iter().next();
    let (Some(issuer), Some(subject)) = (claim("iss"), claim("sub")) else {
        return false;
    };
    let (wanted_issuer, wanted_subject) = match value {
        "*" => ("*", "*"),
        value => value.rsplit_once('/').unwrap_or((value, "")),
    };
    let is = |wanted: &str, found: &str| {
        if wanted == "*" {
            !found.is_empty()
        } else {
            wanted == found
        }
    };
    is(wanted_issuer, &issuer) && is(wanted_subject, &subject)
}

/// `{*}` is one segment that is not empty, `{**}` any text.
fn template_matches(template: &str, path: &str) -> bool {
    match (template.find("{*}"), template.find("{**}")) {
        (one, Some(any)) if one.is_none_or(|one| any < one) => path
            .strip_prefix(&template[..any])
            .is_some_and(|rest| rest.ends_with(&template[any + 4..])),
        (Some(one), _) => path.strip_prefix(&template[..one]).is_some_and(|rest| {
            let end = rest.find('/').unwrap_or(rest.len());
            end > 0 && template_matches(&template[one + 3..], &rest[end..])
        }),
        _ => template == path,
    }
}
