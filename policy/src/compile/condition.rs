//! `when`: attribute keys and their values.

use crate::{
    authorization_policy as schema,
    error::Problem,
    report::{Path, Report},
    rule::{Condition, Field},
};

use super::{certificate::Attribute, fields::Fields, limits, values::Kind};

/// Appends the conditions that `written` stands for: one for `values`, one for `notValues`.
pub(super) fn compile(
    index: usize,
    written: &schema::Condition,
    fields: &Fields<'_>,
    path: &Path,
    report: &mut Report,
    into: &mut Vec<Condition>,
) {
    if written.values.is_none() && written.not_values.is_none() {
        report.problem(
            path,
            Problem::Missing {
                expected: "values or notValues",
            },
        );
    }
    let lists = [
        ("values", &written.values, false),
        ("notValues", &written.not_values, true),
    ];
    for (turn, (name, values, negated)) in lists.into_iter().enumerate() {
        let Some(values) = values else { continue };
        let kind = match kind(&written.key) {
            Ok(kind) => kind,
            // Once is enough; it is the key that is wrong.
            Err(problem) => return report.problem(&path.field("key"), problem),
        };
        if turn == 0 || written.values.is_none() {
            fields.check_custom(&kind, &path.field("key"), report);
        }
        if let Some(test) = fields.test(kind, values, &path.field(name), report) {
            into.push(Condition {
                field: Field::When(index, name),
                negated,
                test,
            });
        }
    }
}

/// Istio's attribute names (security.istio.io "Authorization Policy Conditions") and `source.certificate.*`.
fn kind(key: &str) -> Result<Kind, Problem> {
    Ok(match key {
        "source.ip" => Kind::SourceIp,
        "remote.ip" => Kind::RemoteIp,
        "source.namespace" => Kind::Namespace,
        "source.serviceAccount" => Kind::ServiceAccount,
        "source.principal" => Kind::Principal,
        "source.trustDomain" => Kind::TrustDomain,
        "request.auth.principal" => Kind::RequestPrincipal,
        "request.auth.audiences" => Kind::Claim(["aud".into()].into()),
        "request.auth.presenter" => Kind::Claim(["azp".into()].into()),
        "destination.ip" => Kind::DestinationIp,
        "destination.port" => Kind::DestinationPort,
        "connection.sni" => Kind::Sni,
        "" => {
            return Err(Problem::Missing {
                expected: "the attribute's name",
            });
        }
        _ => match key.strip_prefix("source.certificate.") {
            Some(name) => Kind::Certificate(Attribute::named(name).ok_or_else(|| unknown(key))?),
            None => return map_kind(key),
        },
    })
}

/// Keys of the form `map[key]`.
fn map_kind(key: &str) -> Result<Kind, Problem> {
    let (map, rest) = key.split_once('[').ok_or_else(|| unknown(key))?;
    let name = rest
        .strip_suffix(']')
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid(key, "an attribute of the form name[key]"))?;
    match map {
        "request.headers" if is_header_name(name) => {
            Ok(Kind::Header(name.to_ascii_lowercase().into()))
        }
        "request.headers" => Err(invalid(name, "a header's name")),
        "request.auth.claims" => claim(name).map(Kind::Claim).ok_or_else(|| {
            invalid(
                key,
                "request.auth.claims[name] or [name][name]…, 16 at most",
            )
        }),
        map => match map.strip_prefix(EXPERIMENTAL) {
            Some(filter) if filter.strip_prefix(FILTERS).is_some_and(|f| !f.is_empty()) => {
                // Of a second pair of brackets, Istio would make part of the key.
                if name.contains(['[', ']']) {
                    return Err(invalid(key, "experimental.envoy.filters.FILTER[key]"));
                }
                Ok(Kind::Metadata(filter.into(), name.into()))
            }
            _ => Err(unknown(key)),
        },
    }
}

/// What is between the outermost brackets: `a`, or `a][b` of `[a][b]`.
fn claim(steps: &str) -> Option<Box<[Box<str>]>> {
    let steps: Box<[Box<str>]> = steps.split("][").map(Into::into).collect();
    let sound = |step: &str| !step.is_empty() && !step.contains(['[', ']']);
    (steps.len() <= limits::MAX_CLAIM_STEPS && steps.iter().all(|step| sound(step)))
        .then_some(steps)
}

fn unknown(key: &str) -> Problem {
    Problem::UnknownKey {
        key: key.to_owned(),
    }
}

fn invalid(value: &str, expected: &'static str) -> Problem {
    Problem::Invalid {
        value: value.to_owned(),
        expected,
    }
}

/// RFC 9110 §5.1 token, or a pseudo-header of it.
fn is_header_name(name: &str) -> bool {
    let token = name.strip_prefix(':').unwrap_or(name);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !token.is_empty() && token.bytes().all(is_token)
}

const EXPERIMENTAL: &str = "experimental.";
const FILTERS: &str = "envoy.filters.";
