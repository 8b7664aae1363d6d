//! What allow rules give.

use crate::issuance::at::At;
use crate::issuance::compile::Problems;
use crate::issuance::dns::{self, Allowance};
use crate::issuance::glob::Glob;
use crate::issuance::rule::{Dns, Gives, IdSource, Profile, Ttl, USUAL_KEYS};
use crate::issuance::schema::{self, Output};
use crate::issuance::template::Template;
use crate::issue::KeyType;

/// What the rule gives; none if something of it is wrong.
pub(super) fn gives(
    raw: &schema::Rule,
    at: &At<schema::Rule>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Gives> {
    let profile = raw.profile.unwrap_or_default();
    let id = match &raw.spiffe_id {
        Some(text) => id_source(text, &format!("{path}.spiffeId"), problems),
        None => {
            problems.at(
                at,
                &format!("{path}.spiffeId"),
                "is required of an allow rule",
            );
            None
        }
    };
    let dns = raw
        .dns_sans
        .as_ref()
        .map(|dns| dns_sans(dns, &format!("{path}.dnsSans"), problems));
    match (profile, &dns) {
        (Profile::Ingress, None) => {
            let problem = "is required of the profile ingress: its clients look for a DNS name";
            problems.at(at, &format!("{path}.dnsSans"), problem);
        }
        (Profile::Egress, Some(_)) => {
            let problem = "is not for the profile egress: nobody looks for a client's DNS name";
            problems.at(at, &format!("{path}.dnsSans"), problem);
        }
        _ => {}
    }
    let ttl = raw
        .ttl
        .as_ref()
        .map(|written| ttl(written, &format!("{path}.ttl"), problems))
        .unwrap_or_default();
    Some(Gives {
        keys: keys(raw, at, path, problems),
        metadata: metadata(raw, at, path, problems),
        id: id?,
        profile,
        dns,
        ttl,
    })
}

/// A deny rule gives nothing; a field that says otherwise is a misunderstanding.
pub(super) fn refuse_in_deny(
    raw: &schema::Rule,
    at: &At<schema::Rule>,
    path: &str,
    problems: &mut Problems<'_>,
) {
    for (field, is_there) in [
        ("spiffeId", raw.spiffe_id.is_some()),
        ("profile", raw.profile.is_some()),
        ("dnsSans", raw.dns_sans.is_some()),
        ("ttl", raw.ttl.is_some()),
        ("keyAlgorithms", raw.key_algorithms.is_some()),
        ("output", raw.output != Output::default()),
        ("requireMetadata", !raw.require_metadata.is_empty()),
    ] {
        if is_there {
            problems.at(at, &format!("{path}.{field}"), "is only for allow rules");
        }
    }
}

fn id_source(text: &At<String>, path: &str, problems: &mut Problems<'_>) -> Option<IdSource> {
    if !problems.text(text, path) {
        return None;
    }
    match text.value.as_str() {
        "{requested}" => return Some(IdSource::Requested),
        "{caller}" => return Some(IdSource::Caller),
        _ => {}
    }
    let template = match Template::compile(&text.value) {
        Ok(template) => template,
        Err(error) => {
            problems.at(text, path, error.to_string());
            return None;
        }
    };
    let problem = if template
        .variables()
        .any(|name| matches!(name, "requested" | "caller"))
    {
        "{requested} and {caller} stand for a whole identity, and must stand alone"
    } else if !text.value.starts_with("spiffe://{trustDomain}/") {
        "does not begin with spiffe://{trustDomain}/"
    } else if let Some(problem) = bad_path(&template) {
        problem
    } else {
        return Some(IdSource::Template(template));
    };
    problems.at(text, path, format!("{problem}: {:?}", text.value));
    None
}

/// What is wrong with the path, whatever the variables' values are.
fn bad_path(template: &Template) -> Option<&'static str> {
    // In its shape a variable is shown as one.
    if template.as_str().contains('*') {
        return Some("has a character that no SPIFFE ID has");
    }
    let shape = template.shape();
    let path = shape
        .strip_prefix("spiffe://{trustDomain}/")
        .unwrap_or_default();
    for segment in path.split('/') {
        if segment.is_empty() {
            return Some("has an empty segment");
        }
        if segment == "{trustDomain}" {
            continue;
        }
        if matches!(segment, "." | "..") {
            return Some("has a segment `.` or `..`");
        }
        // `{a}{b}` would let two pairs of values give one identity.
        if segment.contains("**") {
            return Some("has two variables with nothing between them");
        }
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
        if !segment.bytes().all(is_allowed) {
            return Some("has a character that no SPIFFE ID has");
        }
    }
    None
}

fn dns_sans(raw: &At<schema::DnsSans>, path: &str, problems: &mut Problems<'_>) -> Dns {
    let schema::DnsSans {
        names,
        allow,
        wildcard_names,
    } = &raw.value;
    if names.is_empty() && allow.is_empty() {
        problems.at(raw, path, "has neither `names` nor `allow`");
    }
    for (field, list) in [("names", names), ("allow", allow)] {
        if !list.is_empty() {
            problems.list(list, raw, &format!("{path}.{field}"));
        }
    }
    let mut templates = Vec::new();
    for (index, text) in names.iter().enumerate() {
        let path = format!("{path}.names[{index}]");
        match Template::compile(&text.value) {
            Ok(template) => {
                // What stands for any label stands for this one, too.
                let sample = template.shape().replace("{trustDomain}", "x");
                let sample = match sample.strip_prefix("*.") {
                    Some(rest) if !text.value.starts_with("*.") => format!("x.{rest}"),
                    _ => sample,
                };
                let body = sample
                    .strip_prefix("*.")
                    .unwrap_or(&sample)
                    .replace('*', "x");
                let is_wildcard = sample.starts_with("*.");
                if !dns::is_name(&body) || is_wildcard && !body.contains('.') {
                    let problem = format!("is no DNS name: {:?}", text.value);
                    problems.at(text, &path, problem);
                } else if is_wildcard && !wildcard_names {
                    let problem = format!("{:?} needs wildcardNames: true", text.value);
                    problems.at(text, &path, problem);
                }
                templates.push(template);
            }
            Err(error) => problems.at(text, &path, error.to_string()),
        }
    }
    let mut allowances = Vec::new();
    for (index, text) in allow.iter().enumerate() {
        match Allowance::parse(&text.value) {
            Some(allowance) => allowances.push(allowance),
            None => {
                let path = format!("{path}.allow[{index}]");
                let problem = format!(
                    "is neither a DNS name in lower case nor `*.` and a name of two labels or more: {:?}",
                    text.value
                );
                problems.at(text, &path, problem);
            }
        }
    }
    Dns {
        names: templates,
        allow: allowances,
        wildcards: *wildcard_names,
    }
}

fn ttl(raw: &At<schema::Ttl>, path: &str, problems: &mut Problems<'_>) -> Ttl {
    let mut seconds = |field: &str, text: &Option<At<String>>| {
        let text = text.as_ref()?;
        let found = duration(&text.value);
        if found.is_none() {
            let problem = format!(
                "is no duration such as 90s, 15m, 24h or 7d, at most {MAX_DAYS}d: {:?}",
                text.value
            );
            problems.at(text, &format!("{path}.{field}"), problem);
        }
        found
    };
    let schema::Ttl {
        default,
        max,
        min,
        jitter_percent,
    } = &raw.value;
    let (default, max, min) = (
        seconds("default", default),
        seconds("max", max),
        seconds("min", min),
    );
    let least_above = |low: Option<i64>, high: Option<i64>| matches!((low, high), (Some(low), Some(high)) if low > high);
    if least_above(min, max) || least_above(min, default) || least_above(default, max) {
        problems.at(raw, path, "is not min ≤ default ≤ max");
    }
    let jitter = jitter_percent.map_or(0, |jitter| jitter.value);
    if let Some(written) = jitter_percent.filter(|jitter| jitter.value > MAX_JITTER) {
        let problem = format!("is {}, limit is {MAX_JITTER}", written.value);
        problems.at(&written, &format!("{path}.jitterPercent"), problem);
    }
    Ttl {
        default,
        max,
        min,
        jitter_percent: jitter.min(MAX_JITTER),
    }
}

fn keys(
    raw: &schema::Rule,
    at: &At<schema::Rule>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Vec<KeyType> {
    let path = format!("{path}.keyAlgorithms");
    let Some(listed) = &raw.key_algorithms else {
        return USUAL_KEYS.to_vec();
    };
    problems.list(listed, at, &path);
    let mut keys = Vec::new();
    for (index, name) in listed.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match name.value.parse::<KeyType>() {
            Ok(KeyType::Ed25519) if raw.output != Output::Files => {
                let problem = "ed25519 needs `output: files`: Envoy refuses such leaves";
                problems.at(name, &path, problem);
            }
            Ok(key) => keys.push(key),
            Err(error) => problems.at(name, &path, error.to_string()),
        }
    }
    keys
}

fn metadata(
    raw: &schema::Rule,
    at: &At<schema::Rule>,
    path: &str,
    problems: &mut Problems<'_>,
) -> Vec<(String, Glob)> {
    let path = format!("{path}.requireMetadata");
    if raw.require_metadata.len() > MAX_METADATA {
        let problem = format!(
            "has {} keys, limit is {MAX_METADATA}",
            raw.require_metadata.len()
        );
        problems.at(at, &path, problem);
    }
    raw.require_metadata
        .iter()
        .map(|(key, pattern)| {
            problems.text(pattern, &format!("{path}.{key}"));
            (key.clone(), Glob::new(&pattern.value))
        })
        .collect()
}

/// `90`, `90s`, `15m`, `24h`, `7d` as seconds.
fn duration(text: &str) -> Option<i64> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let (digits, factor) = units
        .iter()
        .find_map(|&(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))
        .unwrap_or((text, 1));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<i64>().ok()?.checked_mul(factor)?;
    (1..=MAX_DAYS * 86_400)
        .contains(&seconds)
        .then_some(seconds)
}

/// Longest lifetime a rule may name, in days.
const MAX_DAYS: i64 = 3650;
/// Largest `jitterPercent`: renewals are due at half of a lifetime.
const MAX_JITTER: u32 = 50;
/// Most keys of metadata a rule may require.
const MAX_METADATA: usize = 16;
